"""Three and more networks, brought together by a learned aligner first."""

import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import alignment, deep_align, networks, symmetry

ARCHITECTURE = {"kind": "mlp", "layer_sizes": [3, 6, 5, 2], "activation": "relu"}


@pytest.mark.slow
def test_noisy_twins_are_merged_exactly():
    """The matcher alone finds the frame: one sweep of a solver that moves nothing."""
    network = networks.build(ARCHITECTURE)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    random = np.random.default_rng(0)
    # Positive weights: neurons that are zero on all probes cannot be told apart.
    draw = lambda x: np.abs(random.normal(size=x.shape)).astype(np.float32)  # noqa: E731
    params = jax.tree.map(draw, shapes)
    matcher = deep_align.build(
        ARCHITECTURE,
        {"kind": "probes", "num_probes": 16, "feature_size": 16, "width": 0},
        dict.fromkeys(symmetry.flatten(shapes), (0.0, 1.0)),
    )
    learned = deep_align.DeepAlign(
        matcher=matcher,
        variables=jax.jit(matcher.init)(jax.random.key(0)),
        num_sweeps=0,
    )
    elements = [
        {
            name: symmetry.Monomial(random.permutation(n).astype(np.int32), np.ones(n))
            for name, n in {"hidden_0": 6, "hidden_1": 5}.items()
        }
        for _ in range(4)
    ]
    noisy = [
        jax.tree.map(lambda x: x + np.float32(1e-3) * draw(x), params) for _ in elements
    ]
    twins = [
        symmetry.act(element, x, network.spec)
        for element, x in zip(elements, noisy, strict=True)
    ]
    still = alignment.WeightMatching(permute=False, rescale=False, starts=("identity",))
    solver = alignment.MergeMany(aligner=still, init=learned, max_sweeps=1)
    found = symmerge_jax.merge(twins, network.spec, aligner=solver)
    for number in range(4):
        back = alignment.element_between(found.result.elements, number, 0)
        true = symmetry.compose(elements[0], symmetry.inverse(elements[number]))
        for name in true:
            np.testing.assert_array_equal(back[name].perm, true[name].perm)
    assert found.result.objective[-1] < 1e-4 < 1 < found.result.objective[0]
