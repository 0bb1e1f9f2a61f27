"""What the machine itself reaches, for others to be a share of: float32 products."""

import time

import jax
import jax.numpy as jnp

SHAPES = {"matmul_gflops": (1120, 128), "peak_gflops": (2048, 2048)}
"""Rows and width of `[rows, width] @ [width, width]`: that of an encoder on one network
with 1,120 edges, and one that is large enough to show the peak."""


def matmul_rates() -> dict[str, float]:
    """Return GFLOP/s of each of `SHAPES`, best of five."""
    return {name: _rate(*shape) for name, shape in SHAPES.items()}


def _rate(rows: int, width: int) -> float:
    flops = 2 * rows * width**2
    count = max(1, round(3e9 / flops))
    x, weight = jnp.ones((rows, width)), jnp.full((width, width), 1 / width)
    fn = jax.jit(lambda x: jax.lax.fori_loop(0, count, lambda _, y: y @ weight, x))
    jax.block_until_ready(fn(x))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(fn(x))
        times.append(time.perf_counter() - start)
    return flops * count / min(times) / 1e9
