"""Pairs of networks aligned per second: the learned part, its sweeps, weight matching.

Random MLPs; times do not depend on what a matcher has learned, so it has random
parameters. "learned" is one pass of both networks and the exact assignments. Medians
after compilation, of calls of the compiled solver on a batch of pairs.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

from benchmarks import timing
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
    "identity": alignment.WeightMatching(starts=("identity",), tolerance=0.0),
    "default": alignment.WeightMatching(),
}


def run() -> dict[str, Any]:
    """Return a table with one row per network, solver and size of the batch."""
    rows = []
    for name, sizes in NETWORKS.items():
        aligners = solvers(sizes)
        for batch_size in BATCH_SIZES:
            calls = {s: _call(sizes, a, batch_size) for s, a in aligners.items()}
            times = timing.side_by_side(calls, repeats=3, budget=4.0 * len(calls))
            for solver, aligner in aligners.items():
                variables = jax.tree.leaves(getattr(aligner, "variables", {}))
                rows.append(
                    {
                        "network": name,
                        "solver": solver,
                        "batch": batch_size,
                        "pairs/s": batch_size / times[solver],
                        "parameters": sum(x.size for x in variables),
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


def _call(
    sizes: tuple[int, ...], aligner: alignment.Aligner, batch_size: int
) -> Callable[[], Any]:
    """Return the call of a compiled solver on a batch of pairs of MLPs."""
    network = networks.mlp(sizes)
    draw = jax.jit(jax.vmap(network.init))
    pair = [draw(jax.random.split(jax.random.key(i), batch_size)) for i in range(2)]

    def solve(key, params_a, params_b):
        problem = alignment.AlignmentProblem(
            params_a=params_a, params_b=params_b, spec=network.spec
        )
        return aligner(key, problem).element

    keys = jax.random.split(jax.random.key(2), batch_size)
    return functools.partial(jax.jit(jax.vmap(solve)), keys, *pair)
