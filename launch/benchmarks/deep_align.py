"""Pairs of networks aligned per second: the learned part, its sweeps, weight matching.

Random MLPs; times do not depend on what a matcher has learned, so it has random
parameters. "learned" is one pass of both networks and the exact assignments. Medians
after compilation, of calls of the compiled solver on a batch of pairs.
"""

import functools
import statistics
import time
from typing import Any

import jax

from symmerge_jax import alignment, deep_align, networks, symmetry

NETWORKS = {
    "64-64-64-10": (64, 64, 64, 10),
    "784-128x3-10": (784, 128, 128, 128, 10),
}
FEATURES = {
    "probes": {"kind": "probes"},
    "probes_1_round": {"kind": "probes", "num_rounds": 1},
    "dws_16": {"kind": "deep_weight_space", "width": 16},
}
BATCH_SIZES = (1, 64)
NUM_SWEEPS = (0, 2)
WEIGHT_MATCHING = {
    "identity": alignment.WeightMatching(starts=("identity",)),
    "default": alignment.WeightMatching(),
}


def run() -> dict[str, Any]:
    """Return a table with one row per network, solver and size of the batch."""
    rows = []
    for name, sizes in NETWORKS.items():
        for solver, aligner in solvers(sizes).items():
            for batch_size in BATCH_SIZES:
                rate, parameters = pairs_per_second(sizes, aligner, batch_size)
                rows.append(
                    {
                        "network": name,
                        "solver": solver,
                        "batch": batch_size,
                        "pairs/s": rate,
                        "parameters": parameters,
                    }
                )
    return {"table": rows}


def solvers(sizes: tuple[int, ...]) -> dict[str, alignment.Aligner]:
    """Return what is timed on MLPs of these sizes, by name."""
    architecture = {"kind": "mlp", "layer_sizes": sizes}
    network = networks.build(architecture)
    shapes = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    found: dict[str, Any] = {}
    for name, features in FEATURES.items():
        matcher = deep_align.build(
            architecture, features, dict.fromkeys(shapes, (0.0, 1.0))
        )
        variables = jax.jit(matcher.init)(jax.random.key(1))
        for num in NUM_SWEEPS:
            found[f"{name}, {num} sweeps" if num else name] = deep_align.DeepAlign(
                matcher=matcher, variables=variables, num_sweeps=num
            )
    found |= {f"WM {name}": solver for name, solver in WEIGHT_MATCHING.items()}
    return found


def pairs_per_second(
    sizes: tuple[int, ...], aligner: alignment.Aligner, batch_size: int
) -> tuple[float, int]:
    """Return pairs per second, and the number of parameters of the solver.

    Args:
      sizes: of the layers of the MLPs.
      aligner: the solver.
      batch_size: pairs in one call.
    """
    network = networks.mlp(sizes)
    draw = jax.jit(jax.vmap(network.init))
    pair = [draw(jax.random.split(jax.random.key(i), batch_size)) for i in range(2)]

    def solve(key, params_a, params_b):
        problem = alignment.AlignmentProblem(
            params_a=params_a, params_b=params_b, spec=network.spec
        )
        return aligner(key, problem).element

    keys = jax.random.split(jax.random.key(2), batch_size)
    call = functools.partial(jax.jit(jax.vmap(solve)), keys, *pair)
    variables = getattr(aligner, "variables", {})
    num_parameters = sum(x.size for x in jax.tree.leaves(variables))
    return batch_size / _median(call), num_parameters


def _median(call, *, budget: float = 4.0) -> float:
    """Return the median seconds of as many runs as fit in the budget, at least 3."""
    jax.block_until_ready(call())
    times: list[float] = []
    while len(times) < 3 or (sum(times) < budget and len(times) < 100):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)
