"""Programs written out: they compute what the function does, and layers are found."""

import jax
import numpy as np
import pytest

from symmerge_jax import symmetry
from symmerge_jax.merging import _sites, _tape
from tests.tracing.architectures.registry import ARCHITECTURES

pytestmark = pytest.mark.fast

# Layers with weights of their own, biases among them, layers in a sum, statistics.
LAYERS = {
    "resnext": (3, 1, 0, 4),
    "efficientnet": (8, 3, 0, 10),
    "vit": (8, 6, 2, 0),
    "gpt_scanned": (37, 24, 12, 0),
    "lstm": (1, 1, 0, 0),
    "moe_one_hot": (5, 3, 0, 0),
    "wavenet": (11, 10, 5, 0),
    "tied_autoencoder": (0, 0, 0, 0),
}


@pytest.fixture(autouse=True)
def promotion():
    """Models are their users' own: ranks may be promoted in them."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", LAYERS)
def test_a_tape_computes_what_the_function_does_and_shows_its_layers(name):
    architecture = ARCHITECTURES[name]()
    params, inputs = architecture.params, tuple(architecture.inputs)

    def apply(params, inputs):
        return architecture.apply(params, *inputs)

    tape = _tape.record(apply, params, inputs)
    _assert_computes(tape, params, inputs, apply)
    paths = list(symmetry.flatten(params))
    statistics = symmetry.find_statistics(paths, architecture.statistics)
    sites = _sites.find(tape, statistics)
    layers = sites.layers.values()
    assert LAYERS[name] == (
        len(layers),
        sum(layer.bias is not None for layer in layers),
        sum(bool(layer.added) for layer in layers),
        sum(map(len, sites.statistics.values())),
    )
    fitted = {layer.origin.path for layer in layers}
    fitted |= {x.bias_origin.path for x in layers if x.bias_origin is not None}
    assert fitted.isdisjoint(sites.kept)
    assert fitted | set(sites.kept) | set(statistics) == set(paths)


def _assert_computes(tape, params, inputs, apply):
    run = _tape.Run(tape, params, jax.tree.leaves(inputs))
    run.advance(len(tape.steps))
    expected = jax.tree.leaves(apply(params, inputs))
    for value, wanted in zip(tape.outputs, expected, strict=True):
        found = np.asarray(run.read(value))
        np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-5, atol=1e-5)
