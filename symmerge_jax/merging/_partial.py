"""Partial merges: pairs of neurons that do not agree stay apart."""

import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.merging import _average
from symmerge_jax.typing import Array, Params, Path


def merge_partially(
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    apart: float | Mapping[str, int],
    *,
    weights: Any = None,
    disagreement: Mapping[str, Array] | None = None,
) -> Params:
    """Return a wider network, in which the pairs that agree least are not averaged.

    Of a space with `n` neurons, `n - m` are the mean of a pair, and `m` are taken from
    either network as they are: the width is `n + m`. What is written by the mean of
    both reads the neurons of each with the weight of its network; what is written by
    one network reads nothing of the other's (Stoica et al. 2024, *ZipIt!*, arXiv
    2305.03053; Nasery et al. 2025, *PLeaS*, arXiv 2407.02447, whose budget is `apart`).

    Laws: with `apart` 0 it is the mean; with all neurons apart and no norm over them,
    the outputs are the mean of the outputs; twins in one frame give their function with
    any `apart`. A norm over the neurons of a sample (LayerNorm) sees more of them.

    The result needs a network of its width: functions of the parameters take it as they
    are, modules have to be made again.

    Args:
      params_a: a network.
      params_b: another, aligned with the first.
      spec: the symmetry of both, where each array axis has one space.
      apart: neurons to keep apart: by space, or one share of all spaces in `[0, 1]`.
      weights: of the two networks in the mean; None for equal ones.
      disagreement: by space, `[n]`, what the pairs are sorted by; None for the squared
        distance of the weights of each pair, over their squares.

    Returns:
      Parameters; first the pairs, in their order, then neurons of a, then those of b.

    Raises:
      ValueError: networks that do not fit, a space that is unknown or does not move, a
        number out of range, or an array with several spaces on an axis.

    Example:
      >>> from symmerge_jax import networks
      >>> import jax
      >>> network = networks.mlp((2, 8, 1))
      >>> a, b = map(network.init, jax.random.split(jax.random.key(0)))
      >>> wide = merge_partially(a, b, network.spec, 1.0)
      >>> wide["dense_0"]["kernel"].shape
      (2, 16)
      >>> x = jnp.ones((1, 2))
      >>> mean = (network.apply(a, x) + network.apply(b, x)) / 2
      >>> bool(jnp.allclose(network.apply(wide, x), mean, atol=1e-6))
      True
    """
    symmetry.check_same_architecture({"params_a": params_a, "params_b": params_b})
    shares = np.asarray(_average.check_weights(weights, 2))
    sizes = spec.sizes(params_a)
    numbers = _numbers_apart(apart, spec, sizes)
    leaves_a, leaves_b = symmetry.flatten(params_a), symmetry.flatten(params_b)
    axes = dict(spec.atomic_axes)
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for space, number in numbers.items():
        if disagreement is not None and space in disagreement:
            scores = np.asarray(disagreement[space])
            if scores.shape != (sizes[space],):
                raise ValueError(
                    f"disagreement of space '{space}' has shape {scores.shape},"
                    f" expected ({sizes[space]},)."
                )
        else:
            scores = _distances(leaves_a, leaves_b, spec, space, sizes[space])
        order = np.argsort(scores, kind="stable")
        together = np.sort(order[: sizes[space] - number])
        parts[space] = together, np.sort(order[sizes[space] - number :])
    merged = {}
    for path, leaf in leaves_a.items():
        if symmetry.is_parameter(leaf):
            pair = jnp.asarray(leaf), jnp.asarray(leaves_b[path])
            merged[path] = _merge_leaf(*pair, axes.get(path, ()), parts, shares)
    return symmetry.rebuild(params_a, merged)


def _numbers_apart(apart: Any, spec: symmetry.SymmetrySpec, sizes) -> dict[str, int]:
    """Return how many neurons of each space stay apart."""
    movable = {s.name for s in spec.matched_spaces if s.is_permuted and not s.over}
    if not isinstance(apart, Mapping):
        if not 0 <= float(apart) <= 1:
            raise ValueError(f"apart must be a share in [0, 1], got {apart}.")
        return {name: round(float(apart) * sizes[name]) for name in sorted(movable)}
    for name, number in apart.items():
        if name not in movable:
            raise ValueError(
                f"apart names the space '{name}'; those that can be wider are"
                f" {sorted(movable)}."
            )
        if not 0 <= number <= sizes[name]:
            raise ValueError(
                f"apart: space '{name}' has {sizes[name]} neurons, got {number}."
            )
    return {name: int(number) for name, number in apart.items()}


def _distances(leaves_a, leaves_b, spec, space: str, size: int) -> np.ndarray:
    """Return how far the weights of each pair are apart, `[n]`, from 0 to about 2."""
    apart, power = np.zeros(size), np.zeros(size)
    for path, number, _ in spec.uses(space, -1, 0, 1):
        if not spec.match_weight(path):
            continue
        a, b = (
            np.moveaxis(np.asarray(x[path], np.float64), number, 0).reshape(size, -1)
            for x in (leaves_a, leaves_b)
        )
        total = (a**2).sum() + (b**2).sum()
        if total > 0:  # arrays count alike, whatever their size
            apart += ((a - b) ** 2).sum(1) / total
            power += ((a**2) + (b**2)).sum(1) / total
    return apart / np.where(power > 0, power, 1)


def _merge_leaf(a: Array, b: Array, axes, parts, shares: np.ndarray) -> Array:
    """Return one array of the wider network, block by block."""
    segments = []
    for number in range(a.ndim):
        axis = axes[number] if number < len(axes) else None
        if axis is None or axis.space not in parts:
            segments.append([("both", np.arange(a.shape[number]), True)])
            continue
        together, alone = parts[axis.space]
        reads = axis.role < 0
        segments.append(
            [("both", together, reads), ("a", alone, reads), ("b", alone, reads)]
        )
    blocks: dict[tuple[int, ...], Array] = {}
    for choice in itertools.product(*(range(len(s)) for s in segments)):
        chosen = [segments[i][n] for i, n in enumerate(choice)]
        owners = {owner for owner, _, _ in chosen if owner != "both"}
        writers = {owner for owner, _, reads in chosen if not reads}
        index = jnp.ix_(*(rows for _, rows, _ in chosen)) if chosen else ()
        of_a, of_b = a[index], b[index]
        if owners == {"a", "b"}:
            block = jnp.zeros_like(of_a)
        elif not owners:
            block = float(shares[0]) * of_a + float(shares[1]) * of_b
        else:
            owner = owners.pop()
            share = 1.0 if owner in writers else float(shares[0 if owner == "a" else 1])
            block = share * (of_a if owner == "a" else of_b)
        blocks[choice] = block.astype(a.dtype)
    return _assemble(blocks, [len(s) for s in segments])


def _assemble(blocks: dict[tuple[int, ...], Array], counts: list[int]) -> Array:
    """Return blocks, by their places, as one array."""
    for number in reversed(range(len(counts))):
        places = itertools.product(*map(range, counts[:number]))
        blocks = {
            place: jnp.concatenate(
                [blocks[(*place, n)] for n in range(counts[number])], axis=number
            )
            for place in places
        }
    return blocks[()]


def widen(
    params: Params, spec: symmetry.SymmetrySpec, sizes: Mapping[str, int]
) -> Params:
    """Return a network with neurons added that do nothing, at the end of spaces.

    Their weights are zero, running variances one. So networks of different widths get
    one architecture, and can be aligned; the added neurons agree with none, and stay
    apart first in `merge_partially`.

    Args:
      params: a network.
      spec: its symmetry, where each array axis has one space.
      sizes: neurons that spaces are to have.

    Raises:
      ValueError: a space that is unknown, or has more neurons.
    """
    found = spec.sizes(params)
    for name, size in sizes.items():
        if name not in found or size < found[name]:
            raise ValueError(
                f"Space '{name}' cannot get {size} neurons: the network has {found}."
            )
    leaves: dict[Path, Array] = {}
    axes = dict(spec.atomic_axes)
    for path, leaf in symmetry.flatten(params).items():
        if not symmetry.is_parameter(leaf):
            continue
        more = [
            sizes[axis.space] - found[axis.space]
            if axis is not None and axis.space in sizes
            else 0
            for axis in axes.get(path, (None,) * leaf.ndim)
        ]
        fill = float(path in spec.statistics and "var" in path[-1])
        pads = [(0, number) for number in more]
        leaves[path] = jnp.pad(jnp.asarray(leaf), pads, constant_values=fill)
    return symmetry.rebuild(params, leaves)
