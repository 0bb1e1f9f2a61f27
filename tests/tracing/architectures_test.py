"""Every small architecture: the trace is proved, and equal to the hand-written list."""

import jax
import pytest

from symmerge_jax import tracing
from tests.tracing import _compare, _proof
from tests.tracing.architectures.registry import ARCHITECTURES

# What the tracer does not find, and why; everything else must be found in full.
INCOMPLETE = {
    "shufflenet": "halves of two shuffled branches are classes of single indices",
    "qkv_view": "a view [3, heads, dimensions] is one product: its parts are tied",
    "llama": "scales over layers and heads of axes whose order a constant pins",
    "moe_gather": "scales of what is gathered by an index into a space",
}


@pytest.fixture(autouse=True)
def promotion():
    """Models are their users' own: ranks may be promoted in them."""
    with jax.numpy_rank_promotion("allow"):
        yield


def infer(architecture):
    return tracing.infer(
        architecture.apply,
        architecture.params,
        *architecture.inputs,
        statistics=architecture.statistics,
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_certificate(name):
    architecture = ARCHITECTURES[name]()
    traced = infer(architecture)
    a = architecture
    assert _proof.error(traced, a.apply, a.params, a.inputs) <= 1e-12


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_complete(name):
    architecture = ARCHITECTURES[name]()
    lines = _compare.differences(infer(architecture), architecture.free)
    if name in INCOMPLETE:
        assert lines, f"{name} is complete by now: take it off the table"
    else:
        assert not lines, "\n".join(lines)


def test_enough():
    assert set(INCOMPLETE) <= set(ARCHITECTURES)
    assert len(ARCHITECTURES) >= 60
    assert len(ARCHITECTURES) - len(INCOMPLETE) >= 55
