"""Seconds of calls, after one that compiles: the one way in which benchmarks time.

Also peaks of memory, which need a process of their own.
"""

import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


def once(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the seconds of one call, until its arrays are there."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def median(function: Callable[..., Any], *arguments: Any, repeats: int = 5) -> float:
    """Return the median seconds of several calls, after one that compiles."""
    return side_by_side({"": lambda: function(*arguments)}, repeats=repeats)[""]


def side_by_side(
    functions: Mapping[str, Callable[[], Any]],
    *,
    repeats: int = 5,
    budget: float = 0.0,
) -> dict[str, float]:
    """Return the median seconds of each function, which take turns in this process.

    So all see the same machine, and a ratio of two is a ratio of programs.

    Args:
      functions: what is timed, by name; each is called once before, to compile.
      repeats: calls of each.
      budget: seconds in all within which there are more calls, up to 100.
    """
    times = {name: [] for name in functions}
    for function in functions.values():
        once(function)
    total, count = 0.0, 0
    while count < repeats or (total < budget and count < 100):
        for name, function in functions.items():
            times[name].append(once(function))
            total += times[name][-1]
        count += 1
    return {name: statistics.median(values) for name, values in times.items()}


def in_own_process(module: str, argument: str) -> dict[str, Any]:
    """Return the JSON object that `python -m module argument` prints last."""
    command = [sys.executable, "-m", module, argument]
    folder = pathlib.Path(__file__).parents[1]  # from where `benchmarks` is imported
    text = subprocess.check_output(command, cwd=folder, text=True)
    return json.loads(text.splitlines()[-1])


def peak_memory(who: int = resource.RUSAGE_SELF) -> int:
    """Return the largest resident memory of this process so far, in bytes.

    Args:
      who: `resource.RUSAGE_CHILDREN` for the largest of processes that it waited for.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit
