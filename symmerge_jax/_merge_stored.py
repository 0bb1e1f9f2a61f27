"""The verb that merges networks on disk, in memory that the caller bounds."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax import _verbs, alignment, merging, symmetry
from symmerge_jax.typing import Array, Key, Params

_WEIGHT_MATCHING = alignment.WeightMatching()

_LARGEST_CHANGE = 1e-6
"""Of an output in float64, relative to the largest; rounding is some 1e-12."""


class StoredMerge(NamedTuple):
    """The mean of networks on disk, array by array.

    Attributes:
      arrays: name and mean of each array, in the order of the first network; computed
        when it is asked for, once.
      results: of each further network, how it was moved onto the first one.
      function_changes: of each further network, the largest change of an output, see
        `merging.function_change`; empty without `apply`.
    """

    arrays: Iterator[tuple[str, np.ndarray]]
    results: tuple[alignment.AlignmentResult, ...]
    function_changes: tuple[float, ...] = ()


def merge_stored(
    params_batch: Sequence[Params],
    network: _verbs.Architecture,
    *,
    memory: int,
    aligner: alignment.WeightMatching = _WEIGHT_MATCHING,
    weights: Sequence[float] | Array | None = None,
    key: Key | None = None,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    on_space: Callable[[str], Any] | None = None,
) -> StoredMerge:
    """Return the weighted mean of networks that are larger than the memory.

    Each network is moved onto the first one, which stays as it is, scales included.
    If all arrays are mapped from files, read-only, the peak is what
    `WeightMatching.stream` names; of the mean, one array of it and one of each network.

    What is proven. Every element is checked to be one of the group: a permutation per
    space, with signs +-1 or positive finite scales. Moving an array only gathers it by
    permutations and multiplies it by scales, and by their inverse where it is read, and
    every array is checked to be finite behind it: if the spec is right, no function is
    changed, beyond the rounding of scales. That the spec is right is what `trace`
    derives from the program; a network in place of a spec tests it as well, in float64
    on the first network, which needs several times its parameters in memory. With
    `apply` and a few `inputs` each network is run before and behind its move, operation
    by operation, in float64 (`merging.function_change`): one array is in memory at a
    time, and a network that does something else is refused.

    Args:
      params_batch: at least two networks: trees of arrays of one architecture, or
        mappings by name. Arrays of `np.memmap`, mode "r", are read piece by piece.
      network: see `align`; its `spec`, where a forward pass does not fit.
      memory: bytes for copies; at least `alignment.MIN_MEMORY`.
      aligner: weight matching, from any of its own starts, in balanced scales.
      weights: one per network, above zero, sum 1; None for equal ones.
      key: random key of the solver; None for `jax.random.key(0)`.
      apply: the function of the networks, `apply(params, inputs)`.
      inputs: a few, with `apply`.
      on_space: see `WeightMatching.stream`.

    Returns:
      The arrays of the mean, to be written one by one, and what was found.

    Raises:
      TypeError: another aligner, or what is no tree of arrays.
      ValueError: fewer than two networks, networks of other names, shapes or types,
        with NaN, sine neurons with free phases, and what `WeightMatching.stream`
        refuses; `apply` without inputs, or a network that is another function when it
        is moved; when the arrays are asked for, one that overflows in its type.
    """
    spec = symmetry.spec_of(network)
    if not isinstance(aligner, alignment.WeightMatching):
        raise TypeError(
            "merge_stored reads networks piece by piece, which only"
            f" alignment.WeightMatching does, got {aligner!r}."
        )
    if len(params_batch) < 2:
        raise ValueError(
            f"merge_stored takes at least two networks, got {len(params_batch)}."
        )
    if folded := [s.name for s in spec.spaces if s.frequency is not None]:
        raise ValueError(
            f"merge_stored does not fold phases, which the sine neurons of"
            f" '{folded[0]}' have: use merge."
        )
    weights = merging.check_weights(weights, len(params_batch))
    if (apply is None) != (inputs is None):
        raise ValueError("merge_stored: apply and inputs go together: give both.")
    proof = _verbs.prepare_proof("merge_stored", network, None, None, None)
    proof.check(params_batch[0])
    key = jax.random.key(0) if key is None else key
    first, *others = params_batch
    results, changes = [], []
    for number, params in enumerate(others, start=1):
        problem = alignment.AlignmentProblem(params_a=first, params_b=params, spec=spec)
        own_key = jax.random.fold_in(key, number) if len(others) > 1 else key
        result = aligner.stream(own_key, problem, memory=memory, on_space=on_space)
        sizes, name = spec.sizes(first), f"WeightMatching of network {number}"
        alignment.check_element(result.element, spec, sizes, name)
        results.append(result)
        if apply is not None:
            change = merging.function_change(
                apply, params, result.element, spec, inputs, memory=memory
            )
            if not change <= _LARGEST_CHANGE:
                raise ValueError(
                    f"merge_stored: network {number}, when it is moved, is another"
                    f" function: outputs change by {change:.1e} of the largest. The"
                    " spec does not fit the network: trace it."
                )
            changes.append(change)
    elements = [{}, *(result.element for result in results)]
    arrays = merging.average_stored(
        params_batch, elements, spec, weights, memory=memory
    )
    return StoredMerge(arrays, tuple(results), tuple(changes))
