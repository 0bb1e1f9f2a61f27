"""What a merge will take, told before it starts: memory, and the time of the search."""

import math
import time
from collections.abc import Sequence

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.typing import Params

LOOKS = 3
"""Times that weight matching looks at a space: in its start, and in two sweeps. Twins
take one sweep, some networks that were trained apart a third."""

_ASSIGNMENT_BYTES = 12  # per pair of neurons: costs in single and double precision


def memory_in_pieces(
    spec: symmetry.SymmetrySpec, params: Params, num_bytes: int
) -> int:
    """Return the bytes that `merge_stored` takes, with so many for copies."""
    leaves = symmetry.flatten(params)
    sizes = spec.sizes(params)
    widest = max((sizes[space.name] for space in spec.matched_spaces), default=0)
    pair = 2 * max(math.prod(leaf.shape) * 4 for leaf in leaves.values())
    return pair + _ASSIGNMENT_BYTES * widest**2 + num_bytes


def search_seconds(spec: symmetry.SymmetrySpec, params_list: Sequence[Params]) -> float:
    """Return about how long weight matching of all networks with the first one takes.

    Its products: `n` neurons of a space with `m` weights each take `2 n^2 m`.
    """
    first = params_list[0]
    leaves, sizes = symmetry.flatten(first), spec.sizes(first)
    flops = sum(
        2 * sizes[space.name] * math.prod(leaves[path].shape)
        for space in spec.matched_spaces
        for path, _, _ in spec.uses(space.name, 1, 0, -1)
    )
    return LOOKS * (len(params_list) - 1) * flops / _matmul_rate()


def _matmul_rate(size: int = 768) -> float:
    """Return the operations per second of a product of matrices, here and now."""
    x = np.ones((size, size), np.float32)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        np.matmul(x, x)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
