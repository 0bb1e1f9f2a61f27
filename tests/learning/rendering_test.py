"""Autoencoders of INRs that are trained on warped networks."""

import jax
import numpy as np
import pytest

from symmerge_jax import learning, networks
from tests.learning import small

GRID = networks.coordinate_grid(3, 3)
WARP = learning.Warp(rotation=20.0, scale=0.2, shift=0.3)


def job_of(inrs, warp, **options):
    parts = {"train": np.arange(4, 20), "val": np.arange(4)}
    descriptions = {"encoder": small.PROBE, "decoder": {}}
    return learning.rendering_job(
        inrs, parts, GRID, warp=warp, **descriptions, **options
    )


@pytest.mark.parametrize("loss", ["function", "weights"])
def test_warped_networks_have_to_draw_their_own_renderings(key, loss):
    inrs = small.make_zoo(small.SIREN)
    warped, plain = (job_of(inrs, warp, loss=loss) for warp in (WARP, None))
    batch = warped.batches(0, 4)(0)
    assert batch.keys() == {"params"}
    variables = jax.jit(warped.model.init)(jax.random.key(1))
    params = learning.warp_coordinates(
        jax.random.fold_in(key, 3), batch["params"], WARP
    )
    network = networks.build(small.SIREN)
    targets = networks.render(network, params, GRID)
    found, _ = jax.jit(warped.loss_fn)(variables, batch, key)
    other = {"params": params, "targets": targets}
    expected, _ = jax.jit(plain.loss_fn)(variables, other, key)
    unwarped, _ = jax.jit(plain.loss_fn)(variables, plain.batches(0, 4)(0), key)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(found - unwarped) > 1e-3 * unwarped


def test_some_points_of_warped_networks_are_enough(key):
    job = job_of(small.make_zoo(small.SIREN), WARP, num_points=2)
    variables = jax.jit(job.model.init)(jax.random.key(1))
    loss, _ = jax.jit(job.loss_fn)(variables, job.batches(0, 4)(0), key)
    assert np.isfinite(loss)


def test_a_warp_of_zeros_changes_nothing(key):
    inrs = small.make_zoo(small.SIREN)
    with_zeros, without = (job_of(inrs, warp) for warp in (learning.Warp(), None))
    programs = [
        str(
            jax.make_jaxpr(job.loss_fn)(
                jax.eval_shape(job.model.init, key), job.batches(0, 4)(0), key
            )
        )
        for job in (with_zeros, without)
    ]
    assert programs[0] == programs[1]
