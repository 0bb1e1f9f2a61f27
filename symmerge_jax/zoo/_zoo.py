"""A population of networks of one architecture, as a plain value.

A `Zoo` holds the stacked parameters of `N` networks with what is known about each: the
label and the image it was fitted to, the data set that the image comes from, and
measures of the fit. Its arrays may be views of a file (see `_zoo_file`).
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from symmerge_jax import networks, symmetry
from symmerge_jax.typing import Params, Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zoo:
    """Networks of one architecture. Make one with `create`, which checks it.

    Attributes:
      architecture: what `networks.build` takes, with all its arguments.
      params: stacked parameters, every leaf `[N, ...]` float32.
      labels: `[N]` int32 class of each network's image, -1 where unknown.
      image_index: `[N]` int32 number of each network's image within its subset.
      subset_index: `[N]` int32 position in `subsets`.
      subsets: names of the data sets that the images come from, as "train".
      images: `[M, H, W]` the images, uint8 in 0..255 or float32 in [0, 1], or None;
        signals are images of one row.
      image_row: `[N]` int32 row of each network's image in `images`, or None.
      metrics: `[N]` float32 arrays by name, as `psnr` in dB.
      provenance: where the zoo comes from; anything that JSON can hold.
    """

    architecture: Mapping[str, Any]
    params: Params
    labels: np.ndarray
    image_index: np.ndarray
    subset_index: np.ndarray
    subsets: tuple[str, ...]
    images: np.ndarray | None
    image_row: np.ndarray | None
    metrics: Mapping[str, np.ndarray]
    provenance: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"<Zoo of {len(self)} networks, architecture={dict(self.architecture)},"
            f" subsets={self.subsets}>"
        )


def create(
    architecture: Mapping[str, Any],
    params: Params,
    *,
    labels: np.ndarray | None = None,
    image_index: np.ndarray | None = None,
    subset_index: np.ndarray | None = None,
    subsets: Sequence[str] = ("train",),
    images: np.ndarray | None = None,
    image_row: np.ndarray | None = None,
    metrics: Mapping[str, np.ndarray] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Zoo:
    """Return a zoo after checking that its parts fit together.

    Args:
      architecture: what `networks.build` takes; defaults are filled in.
      params: stacked parameters, every leaf `[N, ...]`.
      labels: classes; -1 for every network if None.
      image_index: numbers of the images; 0, 1, ... if None.
      subset_index: positions in `subsets`; 0 for every network if None.
      subsets: names of the data sets of the images.
      images: the images, or None.
      image_row: rows of `images`; needed with `images`.
      metrics: arrays `[N]` by name.
      provenance: where the zoo comes from.

    Returns:
      The zoo.

    Raises:
      ValueError: no networks, shapes that do not fit the architecture or each other,
        or numbers that point outside `subsets` or `images`.
    """
    architecture = complete_architecture(architecture)
    num_networks = _check_params(architecture, params)

    def column(name, values, default):
        values = default if values is None else np.asarray(values)
        if values.shape != (num_networks,):
            raise ValueError(
                f"{name} of a zoo must have the shape ({num_networks},), one entry per"
                f" network, got {values.shape}."
            )
        return values

    def integers(name, values, default):
        return column(name, values, default).astype(np.int32, copy=False)

    zeros = np.zeros(num_networks, np.int32)
    subset_index = integers("subset_index", subset_index, zeros)
    _check_range("subset_index", subset_index, len(subsets), "subsets")
    if (images is None) != (image_row is None):
        raise ValueError("images and image_row of a zoo go together: give both.")
    if images is not None and image_row is not None:
        if images.ndim != 3 or images.dtype not in (np.uint8, np.float32):
            raise ValueError(
                "images of a zoo must be [M, H, W] of uint8 or float32, got"
                f" {images.shape} of {images.dtype}."
            )
        image_row = integers("image_row", image_row, zeros)
        _check_range("image_row", image_row, len(images), "images")
    return Zoo(
        architecture=architecture,
        params=params,
        labels=integers("labels", labels, zeros - 1),
        image_index=integers("image_index", image_index, np.arange(num_networks)),
        subset_index=subset_index,
        subsets=tuple(subsets),
        images=images,
        image_row=image_row,
        metrics={
            name: column(name, values, zeros).astype(np.float32, copy=False)
            for name, values in (metrics or {}).items()
        },
        provenance=dict(provenance or {}),
    )


def select(zoo: Zoo, indices: np.ndarray) -> Zoo:
    """Return the networks with these numbers, in this order.

    Args:
      zoo: the zoo.
      indices: integers, or a boolean mask `[N]`. Images stay as they are.

    Returns:
      Another zoo, in memory.

    Raises:
      ValueError: nothing is selected.
      IndexError: a number outside the zoo.
    """
    indices = np.asarray(indices)
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    if indices.size == 0:
        raise ValueError("select would leave a zoo of zero networks.")

    def pick(values):
        return None if values is None else np.asarray(values)[indices]

    return dataclasses.replace(
        zoo,
        params=jax.tree.map(pick, zoo.params),
        labels=pick(zoo.labels),
        image_index=pick(zoo.image_index),
        subset_index=pick(zoo.subset_index),
        image_row=pick(zoo.image_row),
        metrics={name: pick(values) for name, values in zoo.metrics.items()},
    )


def concatenate(zoos: Sequence[Zoo]) -> Zoo:
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
    if not zoos:
        raise ValueError("concatenate needs at least one zoo.")
    for zoo in zoos[1:]:
        require_architecture(zoo, zoos[0].architecture)
    subsets = tuple(dict.fromkeys(name for zoo in zoos for name in zoo.subsets))
    renumbered = [
        np.array([subsets.index(name) for name in zoo.subsets])[zoo.subset_index]
        for zoo in zoos
    ]
    images = image_row = None
    stacks = [zoo.images for zoo in zoos if zoo.images is not None]
    alike = {(stack.shape[1:], stack.dtype) for stack in stacks}
    if len(stacks) == len(zoos) and len(alike) == 1:
        starts = np.cumsum([0, *(len(stack) for stack in stacks[:-1])])
        images = np.concatenate(stacks)
        image_row = np.concatenate(
            [zoo.image_row + start for zoo, start in zip(zoos, starts, strict=True)]
        )
    names = set.intersection(*(set(zoo.metrics) for zoo in zoos))
    return create(
        zoos[0].architecture,
        jax.tree.map(lambda *x: np.concatenate(x), *(zoo.params for zoo in zoos)),
        labels=np.concatenate([zoo.labels for zoo in zoos]),
        image_index=np.concatenate([zoo.image_index for zoo in zoos]),
        subset_index=np.concatenate(renumbered),
        subsets=subsets,
        images=images,
        image_row=image_row,
        metrics={n: np.concatenate([z.metrics[n] for z in zoos]) for n in names},
        provenance={"parts": [dict(zoo.provenance) for zoo in zoos]},
    )


def split(
    zoo: Zoo, fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Divide the networks by image: all fits of one image come to the same part.

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
      >>> fits = create(architecture, params, image_index=np.arange(20) // 2)
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
    identity = np.stack([zoo.subset_index, zoo.image_index], axis=1)
    distinct, image = np.unique(identity, axis=0, return_inverse=True)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(distinct))
    stops = np.rint(np.cumsum(values) * len(distinct)).astype(int)
    parts = {}
    for name, start, stop in zip(fractions, [0, *stops[:-1]], stops, strict=True):
        member = np.zeros(len(distinct), bool)
        member[order[start:stop]] = True
        parts[name] = np.flatnonzero(member[image.reshape(-1)])
        if not len(parts[name]):
            raise ValueError(
                f"Part {name!r} of the split would be empty: {fractions[name]} of"
                f" {len(distinct)} images. Use a larger zoo or fraction."
            )
    return parts


def statistics(zoo: Zoo) -> dict[Path, tuple[float, float]]:
    """Return mean and standard deviation of each tensor, over networks and entries."""
    return {
        path: (float(np.mean(leaf, dtype=float)), float(np.std(leaf, dtype=float)))
        for path, leaf in symmetry.flatten(zoo.params).items()
    }


def check_finite(zoo: Zoo) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
      zoo: the zoo.

    Raises:
      ValueError: names the first bad network and the tensor.
    """
    for path, leaf in symmetry.flatten(zoo.params).items():
        rows = np.asarray(leaf).reshape(len(zoo), -1)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if bad.size:
            raise ValueError(
                f"Network {bad[0]} of the zoo has NaN or infinite weights in"
                f" {'/'.join(path)} ({bad.size} such networks in all). Leave them out"
                " with zoo.select, or make the zoo again."
            )


def require_architecture(zoo: Zoo, architecture: Mapping[str, Any]) -> None:
    """Refuse a zoo of another architecture.

    Args:
      zoo: the zoo.
      architecture: what is wanted, as `networks.build` takes it.

    Raises:
      ValueError: names the first argument that differs.
    """
    wanted = complete_architecture(architecture)
    for name in dict.fromkeys([*wanted, *zoo.architecture]):
        have, want = zoo.architecture.get(name), wanted.get(name)
        if have != want:
            raise ValueError(
                f"The zoo holds networks of another architecture: {name} is {have!r},"
                f" wanted {want!r}."
            )


def complete_architecture(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture with defaults filled in, as JSON would hold it."""
    networks.build(architecture)
    arguments = inspect.signature(networks.KINDS[architecture["kind"]]).parameters
    complete = {name: parameter.default for name, parameter in arguments.items()}
    complete = {"kind": architecture["kind"], **complete, **architecture}
    return {name: _as_json(value) for name, value in complete.items()}


def _as_json(value: Any) -> Any:
    """Return sequences as lists and integers of numpy as Python's."""
    if isinstance(value, list | tuple):
        return [_as_json(entry) for entry in value]
    return int(value) if isinstance(value, np.integer) else value


def _check_params(architecture, params):
    """Return `N` after comparing every leaf with the network's own parameters."""
    network = networks.build(architecture)
    wanted = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    given = symmetry.flatten(params)
    if set(wanted) != set(given):
        names = sorted("/".join(path) for path in set(wanted) ^ set(given))
        raise ValueError(
            f"Parameters of the zoo do not fit its architecture {dict(architecture)}:"
            f" missing or unknown {', '.join(names)}."
        )
    num_networks = len(next(iter(given.values())))
    if num_networks == 0:
        raise ValueError("A zoo needs at least one network, got zero.")
    for path, leaf in given.items():
        if leaf.shape != (num_networks, *wanted[path].shape):
            raise ValueError(
                f"Parameter {'/'.join(path)} of the zoo has the shape {leaf.shape},"
                f" expected {(num_networks, *wanted[path].shape)} for the architecture"
                f" {dict(architecture)}."
            )
        if leaf.dtype != np.float32:
            raise ValueError(
                f"Parameter {'/'.join(path)} of the zoo is {leaf.dtype}; zoos are"
                " float32."
            )
    return num_networks


def _check_range(name, values, stop, what):
    if values.min() < 0 or values.max() >= stop:
        raise ValueError(
            f"{name} of a zoo must lie in 0..{stop - 1}, the entries of {what}, got"
            f" {values.min()}..{values.max()}."
        )
