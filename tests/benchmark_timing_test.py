"""Benchmarks time in turns, and say where their numbers come from."""

import time

import pytest

from benchmarks import machine, published, timing
from experiments import harness


def test_functions_take_turns_after_one_call_each():
    calls = []
    times = timing.side_by_side(
        {name: lambda name=name: calls.append(name) for name in "ab"}, repeats=2
    )
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert set(times) == {"a", "b"}


def test_a_budget_allows_more_calls():
    calls = []
    timing.side_by_side({"a": lambda: calls.append(0)}, repeats=1, budget=1e3)
    assert len(calls) == 101


def test_the_median_leaves_out_the_call_that_compiles():
    calls = []

    def call():
        calls.append(0)
        time.sleep(0.2 if len(calls) == 1 else 0.01)

    assert 0.01 <= timing.median(call, repeats=3) < 0.2


def test_a_record_says_how_to_make_it_again():
    versions = harness.versions()
    made = machine.made(["launch/benchmark.py", "zoo", "--out=a b.json"], versions)
    assert made["command"] == "python launch/benchmark.py zoo '--out=a b.json'"
    assert len(made["date"]) == 10 and made["commit"] == versions["git_commit"]
    assert f"{versions['num_cpus']} cores of " in made["hardware"]


@pytest.mark.slow
def test_products_are_measured():
    rates = machine.matmul_rates()
    assert rates.keys() == machine.SHAPES.keys() and min(rates.values()) > 0


def test_a_folder_without_the_published_code_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="give a clone of the repository"):
        published.load(str(tmp_path), params=None)
