import jax
import numpy as np
import pytest

from experiments.compare import _repair
from tests.experiments import cnns

IMAGES = np.random.default_rng(0).uniform(-1, 1, (30, 8, 8, 1)).astype(np.float32)


def compiled(network):
    """Return `moments(params)` and `repaired(params, target)` by kind."""
    moments = jax.jit(lambda params: _repair.moments(network, params, IMAGES))

    @jax.jit
    def repaired(params, target):
        return {
            kind: _repair.repaired(network, params, target, IMAGES, kind)
            for kind in _repair.REPAIRS
        }

    return moments, repaired


@pytest.mark.parametrize(
    "changes", [{}, {"activation": "tanh", "readout": "flatten", "stride": 1}]
)
def test_a_repaired_network_has_the_moments_that_are_wanted(changes):
    network, batch = cnns.random_networks(2, channels=[3, 4], **changes)
    moments, repaired = compiled(network)
    params, other = (jax.tree.map(lambda x, i=i: x[i], batch) for i in (0, 1))
    target, before = moments(other), moments(params)
    found = repaired(params, target)
    shifted, rescaled = (moments(found[kind]) for kind in ("readout_bias", "rescale"))
    for after in (shifted, rescaled):
        np.testing.assert_allclose(after["logits"], target["logits"], atol=1e-4)
    np.testing.assert_array_equal(shifted["hidden_1"], before["hidden_1"])
    # What is read of the last layer: its spread times what the kernel has taken up.
    kernels = found["rescale"]["dense"]["kernel"], params["dense"]["kernel"]
    taken = np.asarray(kernels[0] / kernels[1]).reshape(-1, 4, 10)
    read = taken * np.asarray(rescaled["hidden_1"])[None, :, None]
    alive = np.asarray(rescaled["hidden_1"] > 0.11 * target["hidden_1"])
    assert alive.sum() >= 2 and taken.max() <= 10.001
    wanted = np.broadcast_to(target["hidden_1"][None, :, None], read.shape)
    np.testing.assert_allclose(read[:, alive], wanted[:, alive], rtol=1e-3)


def test_repairs_leave_alone_what_is_right_and_what_is_dead():
    network, batch = cnns.random_networks(1, channels=[3, 4])
    moments, repaired = compiled(network)
    params = jax.tree.map(lambda x: x[0], batch)
    params["conv_0"]["kernel"][..., 1] = 0
    params["conv_0"]["bias"][1] = -1  # says nothing
    target = moments(params)
    assert target["hidden_0"][1] == 0
    for found in repaired(params, target).values():
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-5)
