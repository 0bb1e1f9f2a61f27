"""No trap is accepted: neither what it names, nor anything that a proof refutes."""

import jax
import pytest

from symmerge_jax import tracing
from tests.tracing import (
    _compare,
    _proof,
    traps_of_attention,
    traps_of_order,
    traps_of_weights,
)
from tests.tracing.traps import TRAPS

# Importing them registers their traps.
assert traps_of_attention and traps_of_order and traps_of_weights


@pytest.fixture(autouse=True)
def promotion():
    """Models are their users' own: ranks may be promoted in them."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", TRAPS)
def test_trap(name):
    trap = TRAPS[name]
    traced = tracing.infer(
        trap.apply, trap.params, *trap.inputs, statistics=trap.statistics
    )
    accepted = [kind for kind in trap.forbidden if _compare.accepts(traced, kind)]
    assert not accepted
    assert _proof.error(traced, trap.apply, trap.params, trap.inputs) <= 1e-12


def test_enough():
    assert len(TRAPS) >= 40
