"""The machine: what it is, and what its float32 products reach, to be a share of."""

import datetime
import pathlib
import platform
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import timing

SHAPES = {"matmul_gflops": (1120, 128), "peak_gflops": (2048, 2048)}
"""Rows and width of `[rows, width] @ [width, width]`: that of an encoder on one network
with 1,120 edges, and one that is large enough to show the peak."""


def made(argv: Sequence[str], versions: Mapping[str, Any]) -> dict[str, Any]:
    """Return when, from which commit, on what and by which command a record is made.

    Args:
      argv: the arguments of the process, its script first.
      versions: of the packages and devices, see `harness.versions`.
    """
    cpu = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    if names := [x.partition(":")[2].strip() for x in lines if "model name" in x]:
        cpu = names[0]
    hardware = f"{versions['num_cpus']} cores of {cpu}"
    if (kind := versions["device_kind"]) != "cpu":
        hardware = f"{versions['num_devices']} x {kind}, {hardware}"
    return {
        "date": datetime.date.today().isoformat(),
        "commit": versions["git_commit"],
        "hardware": hardware,
        "command": shlex.join(["python", *argv]),
    }


def matmul_rates() -> dict[str, float]:
    """Return GFLOP/s of each of `SHAPES`, best of five."""
    return {name: _rate(*shape) for name, shape in SHAPES.items()}


def _rate(rows: int, width: int) -> float:
    flops = 2 * rows * width**2
    count = max(1, round(3e9 / flops))
    x, weight = jnp.ones((rows, width)), jnp.full((width, width), 1 / width)
    fn = jax.jit(lambda x: jax.lax.fori_loop(0, count, lambda _, y: y @ weight, x))
    timing.once(fn, x)  # compiles
    return flops * count / min(timing.once(fn, x) for _ in range(5)) / 1e9
