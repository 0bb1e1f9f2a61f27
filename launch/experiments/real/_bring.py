"""Ways to bring networks of any traced architecture into one frame, by name."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

import symmerge_jax
from symmerge_jax import alignment, merging, networks, plots, symmetry
from symmerge_jax.typing import Key, Params, Task


class Crowd(NamedTuple):
    """Networks to bring together, and what methods may see.

    Attributes:
      params: parameters of every network, not yet aligned.
      network: their traced architecture.
      inputs: unlabelled `[S, ...]`.
      example: a few small ones, on which functions are proven to be kept.
      chunk_size: inputs that are looked at together.
      key: random key.
    """

    params: Sequence[Params]
    network: networks.Network
    inputs: np.ndarray
    example: np.ndarray
    chunk_size: int
    key: Key


class Method(NamedTuple):
    """A way to bring networks together.

    Attributes:
      label: name in tables and figures.
      style: how figures draw it.
      bring: returns the networks in one frame, a leading axis `[N]` on every leaf.
      sees: "weights", or "data" without labels.
    """

    label: str
    style: plots.Style
    bring: Callable[[Crowd], Params]
    sees: Literal["weights", "data"] = "weights"


def bring(name: str, crowd: Crowd) -> tuple[Params, float]:
    """Return the networks of a crowd in one frame, and seconds, compiling included."""
    start = time.perf_counter()
    found = jax.block_until_ready(METHODS[name].bring(crowd))
    return found, time.perf_counter() - start


def mean(aligned: Params, weights: Sequence[float] | None = None) -> Params:
    """Return the weighted mean of networks `[N, ...]`."""
    num = symmetry.num_rows(aligned)
    checked = merging.check_weights(weights, num).astype(np.float32)
    return merging.average(aligned, checked)


def stack(trees: Sequence[Params]) -> Params:
    """Return networks on a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


_MAX_SWEEPS = 20


def _published(crowd: Crowd) -> Params:
    """Match weights by permutations, from the identity, as Git Re-Basin does.

    Of more than two networks each is aligned to the mean of the others, in turn, until
    nothing gets closer (Ainsworth et al. 2023, arXiv 2209.04836, algorithm 3).
    """
    aligner = alignment.WeightMatching(
        starts=("identity",), order="random", tolerance=0.0, rescale=False
    )
    current = list(crowd.params)
    if len(current) == 2:
        return stack([current[0], _aligned(crowd, current[0], current[1], aligner)])
    for sweep in range(_MAX_SWEEPS):
        key = jax.random.fold_in(crowd.key, sweep)
        is_closer = False
        for row in np.asarray(jax.random.permutation(key, len(current))):
            others = mean(stack(current[:row] + current[row + 1 :]))
            moved = _aligned(crowd, others, current[row], aligner)
            if _distance(crowd, moved, others) < _distance(crowd, current[row], others):
                current[row], is_closer = moved, True
        if not is_closer:
            break
    return stack(current)


def _aligned(crowd: Crowd, params_a: Params, params_b: Params, aligner: Any) -> Params:
    found = symmerge_jax.align(
        *(params_a, params_b, crowd.network),
        task=Task(data=crowd.inputs),
        aligner=aligner,
        key=crowd.key,
        inputs=crowd.example,
    )
    return found.params


def _distance(crowd: Crowd, params_a: Params, params_b: Params) -> float:
    """Return the squared distance of weights, of those that are matched."""
    a, b = (symmetry.flatten(params) for params in (params_a, params_b))
    spec = crowd.network.spec
    return sum(
        float(np.sum((np.asarray(a[path]) - np.asarray(b[path])) ** 2, dtype=float))
        * spec.match_weight(path)
        for path, _ in spec.axes
    )


def _together(crowd: Crowd) -> Params:
    """Match weights with scales, all networks to their mean."""
    found = symmerge_jax.merge(
        list(crowd.params), crowd.network, key=crowd.key, inputs=crowd.example
    )
    return found.aligned


def _onto_first(crowd: Crowd, aligner: Any, *, balance: bool) -> Params:
    """Move all onto the first network; with `balance` in balanced scales."""
    first, *others = crowd.params
    if not balance:
        moved = [_aligned(crowd, first, other, aligner) for other in others]
        return stack([first, *moved])
    pairs = [
        symmerge_jax.merge(
            *([first, other], crowd.network),
            task=Task(data=crowd.inputs),
            aligner=aligner,
            key=crowd.key,
            inputs=crowd.example,
        ).aligned
        for other in others
    ]
    # The first network, in balanced scales, is the same in every pair.
    rows = [symmetry.rows(pairs[0], 0), *(symmetry.rows(pair, 1) for pair in pairs)]
    return stack(rows)


def _by_activations(crowd: Crowd, **options: Any) -> alignment.ActivationMatching:
    return alignment.ActivationMatching(
        similarity="correlation", chunk_size=crowd.chunk_size, **options
    )


_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _BROWN, _GREY, _VIOLET = (
    plots.COLORS
)

METHODS: dict[str, Method] = {
    "naive": Method(
        "naive", plots.Style(_GREY, 0), lambda crowd: stack(list(crowd.params))
    ),
    "published": Method(
        "weight matching (published)", plots.Style(_SKY, 1), _published
    ),
    "ours": Method("weight matching (ours)", plots.Style(_BLUE, 0), _together),
    "activations": Method(
        "activation matching (published)",
        plots.Style(_PURPLE, 1),
        lambda crowd: _onto_first(
            crowd, _by_activations(crowd, rescale=False), balance=False
        ),
        "data",
    ),
    "activations_balanced": Method(
        "activation matching (ours)",
        plots.Style(_GREEN, 0),
        lambda crowd: _onto_first(crowd, _by_activations(crowd), balance=True),
        "data",
    ),
    "activations_weights": Method(
        "activations, then weights (ours)",
        plots.Style(_VERMILION, 2),
        lambda crowd: _onto_first(
            crowd,
            alignment.WeightMatching(starts=(), init=_by_activations(crowd)),
            balance=True,
        ),
        "data",
    ),
}
"""Every method, in the order of tables."""
