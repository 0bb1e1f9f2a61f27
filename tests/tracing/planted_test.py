"""Twins of traced networks are found again: every neuron, head, sign and scale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import alignment, symmetry
from tests.tracing.architectures.registry import ARCHITECTURES

NAMES = ("resnet", "vgg_bn", "vit", "llama", "lstm")
NUM_TWINS = 3


@pytest.fixture(autouse=True)
def promotion():
    """Models are their users' own: ranks may be promoted in them."""
    with jax.numpy_rank_promotion("allow"):
        yield


@functools.cache
def planted(name):
    """Parameters of an architecture, their spec, and twins."""
    a = ARCHITECTURES[name]()
    network = symmerge_jax.trace(a.apply, a.params, *a.inputs, statistics=a.statistics)
    params = jax.tree.map(np.asarray, a.params)
    sample = jax.jit(
        lambda key: symmetry.sample_orbit(
            key, params, network.spec, NUM_TWINS, scale_std=0.5
        )
    )
    twins = jax.tree.map(np.asarray, sample(jax.random.key(0)))
    return params, network.spec, twins


def largest_difference(found, expected):
    """Of any parameter, relative to its largest entry, over all twins."""
    found, expected = symmetry.flatten(found), symmetry.flatten(expected)
    return max(
        float(np.max(np.abs(found[path] - x)) / np.max(np.abs(x)))
        for path, x in expected.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_weight_matching_finds_twins(name):
    """By numpy, as users call it; compiled: `layouts_test.py`, `stored_test.py`."""
    params, spec, twins = planted(name)
    aligner = alignment.WeightMatching(num_random_starts=2)

    def back(twin):
        problem = alignment.AlignmentProblem(params_a=params, params_b=twin, spec=spec)
        element = aligner(jax.random.key(1), problem).element
        return symmetry.act(element, twin, spec)

    found = [back(symmetry.rows(twins, i)) for i in range(NUM_TWINS)]
    found = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
    assert largest_difference(twins, params) > 0.1
    assert largest_difference(found, params) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_twins_have_one_canonical_form(name):
    params, spec, twins = planted(name)
    form = functools.partial(symmetry.canonical_form, spec=spec)
    both = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), params, twins)
    found = jax.jit(lambda both: jax.lax.map(form, both))(both)
    first = jax.tree.map(lambda x: x[0], found)
    assert largest_difference(found, first) <= 1e-4


def test_layers_of_a_scan_are_one_batch():
    _, spec, _ = planted("llama")
    over = {space.name: space.over for space in spec.matched_spaces}
    assert {"layers"} <= {name for names in over.values() for name in names}
    assert len(over) <= 6  # of one layer, whatever their number
