"""Parts of zoos: selected, joined, divided by image, cut into batches, described."""

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.typing import Path
from symmerge_jax.zoo import _rows, _zoo


def select(zoo: _zoo.Zoo, indices: np.ndarray) -> _zoo.Zoo:
    """Return the networks with these numbers, in this order.

    Args:
      zoo: the zoo.
      indices: integers, or a boolean mask `[N]`. Images stay as they are.

    Returns:
      Another zoo, in memory; of shards, whose weights stay on disk, another view.

    Raises:
      ValueError: nothing is selected.
      IndexError: a number outside the zoo.
    """
    indices = np.asarray(indices)
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    if indices.size == 0:
        raise ValueError("select would leave a zoo of zero networks.")
    parts = ("labels", "image_index", "subset_index", "image_row", "params", "metrics")
    picked = jax.tree.map(
        lambda values: _rows.select(values, indices),
        {name: getattr(zoo, name) for name in parts},
    )
    return dataclasses.replace(zoo, **picked)


def concatenate(zoos: Sequence[_zoo.Zoo]) -> _zoo.Zoo:
    """Return the networks of several zoos of one architecture as one zoo.

    Images are kept if all zoos have images of one size and type, else dropped; metrics
    are kept if all zoos have them.

    Args:
      zoos: at least one zoo.

    Returns:
      The zoo, in memory; its provenance lists those of its parts.

    Raises:
      ValueError: no zoos, or different architectures.
    """
    return join(zoos, np.concatenate)


def join(zoos: Sequence[_zoo.Zoo], stack: Callable[[Sequence[Any]], Any]) -> _zoo.Zoo:
    """Return what `concatenate` does, with any stack of weights and of images."""
    if not zoos:
        raise ValueError("concatenate needs at least one zoo.")
    for zoo in zoos[1:]:
        _zoo.require_architecture(zoo, zoos[0].architecture)
    subsets = tuple(dict.fromkeys(name for zoo in zoos for name in zoo.subsets))
    renumbered = [
        np.array([subsets.index(name) for name in zoo.subsets])[zoo.subset_index]
        for zoo in zoos
    ]
    images = image_row = None
    stacks = [zoo.images for zoo in zoos if zoo.images is not None]
    alike = {(x.shape[1:], x.dtype) for x in stacks}
    if len(stacks) == len(zoos) and len(alike) == 1:
        starts = np.cumsum([0, *map(len, stacks[:-1])])
        images = stack(stacks)
        image_row = np.concatenate(
            [zoo.image_row + start for zoo, start in zip(zoos, starts, strict=True)]
        )
    names = set.intersection(*(set(zoo.metrics) for zoo in zoos))
    columns = [
        {
            "labels": zoo.labels,
            "image_index": zoo.image_index,
            "metrics": {name: zoo.metrics[name] for name in names},
        }
        for zoo in zoos
    ]
    return _zoo.create(
        zoos[0].architecture,
        jax.tree.map(lambda *leaves: stack(leaves), *(zoo.params for zoo in zoos)),
        **jax.tree.map(lambda *values: np.concatenate(values), *columns),
        subset_index=np.concatenate(renumbered),
        subsets=subsets,
        images=images,
        image_row=image_row,
        provenance={"parts": [dict(zoo.provenance) for zoo in zoos]},
    )


def split(
    zoo: _zoo.Zoo, fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Divide the networks by image: all fits of one image go to the same part.

    Args:
      zoo: the zoo.
      fractions: part of the images for each name; together at most 1.
      seed: another seed gives another division.

    Returns:
      Sorted numbers of the networks of each part, disjoint.

    Raises:
      ValueError: a fraction outside (0, 1], more than 1 together, or a part that would
        be empty.

    Example:
      >>> zeros = lambda *shape: np.zeros((20, *shape), np.float32)
      >>> params = {"dense_0": {"kernel": zeros(2, 1), "bias": zeros(1)}}
      >>> architecture = {"kind": "mlp", "layer_sizes": [2, 1]}
      >>> fits = _zoo.create(architecture, params, image_index=np.arange(20) // 2)
      >>> parts = split(fits, {"train": 0.7, "validation": 0.2, "test": 0.1})
      >>> {name: len(numbers) for name, numbers in parts.items()}
      {'train': 14, 'validation': 4, 'test': 2}
      >>> one, other = parts["test"] // 2
      >>> bool(one == other)
      True
    """
    values = list(fractions.values())
    if not values or min(values) <= 0 or sum(values) > 1 + 1e-9:
        raise ValueError(
            f"Fractions of a split must lie in (0, 1] and sum to at most 1, got"
            f" {dict(fractions)}."
        )
    num_images, image = _distinct_images(zoo)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(num_images)
    stops = np.rint(np.cumsum(values) * num_images).astype(int)
    parts = {}
    for name, start, stop in zip(fractions, [0, *stops[:-1]], stops, strict=True):
        parts[name] = np.flatnonzero(np.isin(image, order[start:stop]))
        if not len(parts[name]):
            raise ValueError(
                f"Part {name!r} of the split would be empty: {fractions[name]} of"
                f" {num_images} images. Use a larger zoo or fraction."
            )
    return parts


def batch_indices(
    seed: int, step: int, batch_size: int, num_examples: int
) -> np.ndarray:
    """Return the examples of one training step.

    Every epoch is a permutation of all examples that follows from the seed and the
    epoch's number. Batches are cut from the stream of epochs: a batch may hold the end
    of one and the start of the next, and every example is used. There is no state, so a
    resumed run sees the examples that the uninterrupted run would have seen.

    Args:
      seed: seed of the order, at least 0.
      step: number of the step, from 0.
      batch_size: examples per step.
      num_examples: examples in all.

    Returns:
      `[batch_size]` int64 numbers in `0..num_examples - 1`.

    Raises:
      ValueError: a batch larger than the zoo, or a size below 1.

    Example:
      >>> first = [batch_indices(0, step, 2, 6) for step in range(3)]
      >>> sorted(np.concatenate(first).tolist())
      [0, 1, 2, 3, 4, 5]
    """
    if batch_size < 1 or step < 0 or seed < 0:
        raise ValueError(
            f"batch_size must be at least 1, step and seed at least 0, got"
            f" {batch_size}, {step} and {seed}."
        )
    if batch_size > num_examples:
        raise ValueError(
            f"A batch of {batch_size} is larger than the {num_examples} networks to"
            " draw from. Use a smaller batch or a larger zoo."
        )
    first_epoch, start = divmod(step * batch_size, num_examples)
    order = _epoch(seed, first_epoch, num_examples)[start : start + batch_size]
    if len(order) < batch_size:
        rest = _epoch(seed, first_epoch + 1, num_examples)[: batch_size - len(order)]
        order = np.concatenate([order, rest])
    return order.copy()


def statistics(zoo: _zoo.Zoo) -> dict[Path, tuple[float, float]]:
    """Return mean and standard deviation of each tensor, over networks and entries."""

    def mean_of(leaf: Any, function: Callable[[np.ndarray], Any]) -> float:
        sums = [np.sum(function(x), dtype=float) for x in _rows.chunks(leaf)]
        return float(np.sum(sums) / leaf.size)

    found = {}
    for path, leaf in symmetry.flatten(zoo.params).items():
        mean = mean_of(leaf, lambda x: x)
        variance = mean_of(leaf, lambda x, m=mean: (x - np.float64(m)) ** 2)
        found[path] = mean, variance**0.5
    return found


def summary(zoo: _zoo.Zoo) -> str:
    """Return a description of a zoo in some twenty lines.

    Args:
      zoo: the zoo.

    Returns:
      Text: number of networks, architecture, images and labels or training runs, all
      metrics, mean and deviation of every tensor, and where the zoo comes from.
    """
    distinct = f"{_distinct_images(zoo)[0]} distinct"
    lines = [
        f"networks      {len(zoo)}",
        f"architecture  {_pairs(zoo.architecture)}",
        f"subsets       {_counts(np.array(zoo.subsets)[zoo.subset_index])}",
    ]
    if zoo.architecture["kind"] != "siren":
        lines.append(f"runs          {distinct}")
    else:
        stored = "not"
        if zoo.images is not None:
            size = "x".join(str(n) for n in zoo.images.shape)
            stored = f"{size} {zoo.images.dtype}"
        lines.append(f"images        {distinct}, {stored} stored")
        lines.append(f"labels        {_counts(zoo.labels)}")
    lines += [f"{name:<13} {_spread(values)}" for name, values in zoo.metrics.items()]
    lines.append(f"{'tensor':<18}{'shape':>12}{'mean':>12}{'std':>12}")
    leaves = symmetry.flatten(zoo.params)
    for path, (mean, std) in statistics(zoo).items():
        size = "x".join(str(n) for n in leaves[path].shape[1:])
        lines.append(f"{'/'.join(path):<18}{size:>12}{mean:>12.2e}{std:>12.4f}")
    lines.append("provenance")
    for name, value in zoo.provenance.items():
        if name != "architecture":
            text = _pairs(value) if isinstance(value, dict) else str(value)
            lines.append(f"  {name:<16}{textwrap.shorten(text, 240)}")
    return "\n".join(lines)


def _distinct_images(zoo: _zoo.Zoo) -> tuple[int, np.ndarray]:
    """Return the number of images that networks were fitted to, and which: `[N]`."""
    identity = np.stack([zoo.subset_index, zoo.image_index], axis=1)
    distinct, image = np.unique(identity, axis=0, return_inverse=True)
    return len(distinct), image.reshape(-1)


def _pairs(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in mapping.items())


def _counts(values: np.ndarray) -> str:
    return _pairs(dict(zip(*np.unique(values, return_counts=True), strict=True)))


def _spread(values: np.ndarray) -> str:
    """Return the few values that a metric takes with their counts, or its quantiles."""
    known = values[np.isfinite(values)]
    distinct, counts = np.unique(known, return_counts=True)
    parts = []
    if len(distinct) <= min(9, len(known) // 2):
        pairs = zip(counts, distinct, strict=True)
        parts = [f"{count} x {value:.4g}" for count, value in pairs]
    elif len(known):
        quantiles = np.quantile(known.astype(float), [0, 0.25, 0.5, 0.75, 1])
        names = ("min", "25 %", "median", "75 %", "max")
        parts = [f"mean {np.mean(known, dtype=float):.4g}"]
        parts += [f"{n} {q:.4g}" for n, q in zip(names, quantiles, strict=True)]
    if len(known) < len(values):
        parts.append(f"{len(values) - len(known)} not finite")
    return ", ".join(parts)


@functools.lru_cache(maxsize=8)
def _epoch(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Return the permutation of one epoch."""
    return np.random.Generator(np.random.PCG64((seed, epoch))).permutation(num_examples)
