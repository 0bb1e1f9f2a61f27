"""How long it takes to derive the symmetries of a network from its program.

networks   ResNets, vision transformers and GPTs of published sizes, from shapes
scaling    GPTs of 6 to 48 layers: seconds against the number of equations
"""

import gc
import statistics
import time
from typing import Any

import jax
import numpy as np

from benchmarks import trace_cases
from symmerge_jax import tracing

NETWORKS = {
    "ResNet-50": lambda: trace_cases.resnet((3, 4, 6, 3)),
    "ResNet-152": lambda: trace_cases.resnet((3, 8, 36, 3)),
    "ViT-B/16": lambda: trace_cases.vit(12, 768, 12),
    "ViT-L/16": lambda: trace_cases.vit(24, 1024, 16),
    "GPT-2": lambda: trace_cases.gpt(12, 768, 12),
    "GPT-2 XL, 48 layers": lambda: trace_cases.gpt(48, 1600, 25),
    "the same, scanned": lambda: trace_cases.gpt(48, 1600, 25, scanned=True),
}
LAYERS = (6, 12, 24, 48)


def run(*, repeats: int = 5) -> dict[str, Any]:
    """Time all networks without compiled or traced programs from before.

    Args:
      repeats: calls of each, of which the median counts.

    Returns:
      A table with a line for each network, and the scaling.
    """
    _measure(trace_cases.gpt(1, 64, 4), repeats=1)  # imports what is imported late
    table = [
        {"network": name, **_measure(make(), repeats)}
        for name, make in NETWORKS.items()
    ]
    return {
        "num_repeats": repeats,
        "table": table,
        "scaling": [
            {
                "layers": layers,
                **_measure(trace_cases.gpt(layers, 768, 12), repeats),
            }
            for layers in LAYERS
        ],
    }


def panels(result: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the panel of `plots.scaling` for the rows of `scaling`."""
    equations = [row["equations"] for row in result]
    lines = {
        "symmetries": (equations, [row["seconds"] for row in result]),
        "the program alone (make_jaxpr)": (
            equations,
            [row["program_seconds"] for row in result],
        ),
    }
    return {"equations": (lines, 1.0)}


def _measure(case: trace_cases.Case, repeats: int) -> dict[str, Any]:
    """Return the seconds of one network, and what was found.

    `seconds` are those of all: the program, the inference, and the spec.
    """
    times = {"seconds": [], "program_seconds": [], "spec_seconds": []}
    traced = tracing.infer(case.apply, case.params, *case.inputs)
    spec = tracing.to_spec(traced, case.params)
    for _ in range(repeats):
        _forget()
        start = time.perf_counter()
        jax.make_jaxpr(case.apply)(case.params, *case.inputs)
        times["program_seconds"].append(time.perf_counter() - start)
        _forget()
        start = time.perf_counter()
        found = tracing.infer(case.apply, case.params, *case.inputs)
        between = time.perf_counter()
        tracing.to_spec(found, case.params)
        end = time.perf_counter()
        times["seconds"].append(end - start)
        times["spec_seconds"].append(end - between)
    traced = tracing.infer(case.apply, case.params, *case.inputs)
    spec = tracing.to_spec(traced, case.params)
    leaves = jax.tree.leaves(case.params)
    return {
        "parameters": sum(int(np.prod(leaf.shape)) for leaf in leaves),
        "equations": traced.num_equations,
        "spaces": len(traced.spaces),
        "free_spaces": len(list(traced.free())),
        "scale_and_sign_groups": sum(
            space.group.value in ("scale", "sign") for space in spec.spaces
        ),
        "unknown_primitives": len(traced.unknown),
        **{name: round(statistics.median(x), 4) for name, x in times.items()},
    }


def _forget() -> None:
    """Drop programs that JAX has traced, as in a new process."""
    jax.clear_caches()
    gc.collect()
