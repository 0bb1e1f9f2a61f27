"""Weight matching of large networks: seconds and memory, in processes of their own.

A Gaussian network of a published size is permuted, and brought back from the outward
start alone. Its symmetry is traced from shapes.

python -m benchmarks.matching_large NAME     (in `launch`)
"""

import json
import sys
import time
from typing import Any

import jax
import numpy as np

import symmerge_jax
from benchmarks import timing, trace_cases
from symmerge_jax import alignment, symmetry

NETWORKS = {
    "ResNet-50": lambda: trace_cases.resnet((3, 4, 6, 3)),
    "GPT-2": lambda: trace_cases.gpt(12, 768, 12),
}


def run() -> dict[str, Any]:
    """Return what `measure` returns of every network, each in a fresh process."""
    return {
        name: timing.in_own_process("benchmarks.matching_large", name)
        for name in NETWORKS
    }


def measure(name: str) -> dict[str, Any]:
    """Match one network with its permuted twin.

    Args:
      name: key of `NETWORKS`.

    Returns:
      Sizes; seconds of the first call and of the second; the largest difference of a
      weight that came back, as a share of the largest of its array; peak memory
      beyond that before the networks were made, as a multiple of the parameters of
      one network.
    """
    case = NETWORKS[name]()
    spec = symmerge_jax.trace(case.apply, case.params, *case.inputs).spec
    before = timing.peak_memory()
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: generator.standard_normal(x.shape, np.float32), case.params
    )
    size = sum(x.nbytes for x in jax.tree.leaves(params))
    element = symmetry.sample(
        jax.random.key(0), spec, spec.sizes(params), rescale=False
    )
    twin = symmetry.act(jax.tree.map(np.asarray, element), params, spec)
    made = timing.peak_memory()
    aligner = alignment.WeightMatching(starts=("outward",))

    def timed():
        start = time.perf_counter()
        found = symmerge_jax.align(params, twin, spec, aligner=aligner)
        return time.perf_counter() - start, found

    first = timed()[0]
    second, found = timed()
    num_sweeps = int(found.result.num_iters)
    pairs = zip(jax.tree.leaves(found.params), jax.tree.leaves(params), strict=True)
    errors = [np.max(np.abs(x - y)) / np.max(np.abs(y)) for x, y in pairs]
    return {
        "num_parameters": size // 4,
        "num_spaces": len(spec.matched_spaces),
        "first_seconds": first,
        "second_seconds": second,
        "num_sweeps": num_sweeps,
        "largest_difference": float(np.max(errors)),
        "memory_of_both": (made - before) / size,
        "peak_memory": (timing.peak_memory() - before) / size,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))  # noqa: T201
