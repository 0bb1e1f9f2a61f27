"""Random programs: nothing that a trace accepts is refuted, and little is missed.

The environment variable SYMMERGE_NUM_PROGRAMS asks for more of them.
"""

import os

import jax
import pytest

from symmerge_jax import tracing
from tests.tracing import _proof, transpositions
from tests.tracing.architectures.registry import ARCHITECTURES
from tests.tracing.random_programs import program

NUM_PROGRAMS = int(os.environ.get("SYMMERGE_NUM_PROGRAMS", 100))
TOGETHER = 25
PROBED = range(24)


@pytest.fixture(autouse=True)
def promotion():
    """Models are their users' own: ranks may be promoted in them."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, NUM_PROGRAMS, TOGETHER))
def test_nothing_wrong(first):
    wrong = []
    for seed in range(first, first + TOGETHER):
        apply, params, inputs = program(seed)
        traced = tracing.infer(apply, params, *inputs)
        error = _proof.error(traced, apply, params, inputs, tries=1)
        wrong += [] if error <= 1e-9 else [(seed, error)]
    assert not wrong


@pytest.mark.slow
def test_little_is_missed():
    missed, total = [], 0
    for seed in PROBED:
        apply, params, inputs = program(seed)
        traced = tracing.infer(apply, params, *inputs)
        more, num = transpositions.missed(traced, apply, params, inputs)
        missed += [(seed, sorted(uses)) for uses in more]
        total += num
    assert total >= 40
    assert len(missed) <= 0.05 * total, missed


def test_search_finds_what_is_pinned_wrongly():
    a = ARCHITECTURES["mlp_relu"]()
    traced = tracing.infer(a.apply, a.params, *a.inputs)
    number = next(n for n, s in traced.spaces.items() if s.size == 9)
    space = traced.spaces[number]._replace(pinned="by mistake")
    traced = traced._replace(spaces=traced.spaces | {number: space})
    more, total = transpositions.missed(traced, a.apply, a.params, a.inputs)
    assert total == 3
    assert more == [{"c/w[1]", "c/b[0]", "d[0]"}]


def test_proof_refutes_what_is_free_wrongly():
    for seed in range(4):
        apply, params, inputs = program(seed)
        traced = tracing.infer(apply, params, *inputs)
        number = next(n for n, s in traced.spaces.items() if s.pinned is not None)
        space = traced.spaces[number]._replace(pinned=None)
        traced = traced._replace(spaces=traced.spaces | {number: space})
        assert _proof.error(traced, apply, params, inputs, tries=1) > 1e-6


def test_programs_are_the_same_every_time():
    for seed in (0, 1):
        (apply, params, inputs), (again, more, _) = program(seed), program(seed)
        first, second = apply(params, *inputs), again(more, *inputs)
        assert all((x == y).all() for x, y in zip(first, second, strict=True))
