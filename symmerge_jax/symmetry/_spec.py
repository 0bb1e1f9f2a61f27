"""Which axes run over which neurons, and which group acts on the neurons.

A network is described once, by a `SymmetrySpec`. The group action, the weight graph and
the canonical form are all derived from it.
"""

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symmerge_jax.typing import Params, Path


class Group(enum.Enum):
    """The symmetry group of one space of neurons.

    `SIGN` and `SCALE` contain the permutations. The activation implies the group: odd
    functions (sine, tanh) give `SIGN`, positively homogeneous ones (ReLU) give `SCALE`,
    any other element-wise function gives `PERMUTATION`; inputs and outputs of the
    network are `TRIVIAL`.
    """

    TRIVIAL = "trivial"
    PERMUTATION = "permutation"
    SIGN = "sign"
    SCALE = "scale"


@dataclasses.dataclass(frozen=True)
class Axis:
    """The neurons that one axis of an array runs over.

    Attributes:
      space: name of the space.
      power: `+1` where the space is written (output axis of a kernel, bias), `-1` where
        it is read (input axis of a kernel), `0` if permuted but never scaled.
      repeat: number of entries per neuron, for example `height * width` on the input
        axis of a dense layer behind a flattened convolution. Neurons run fastest, as in
        a flattened `[height, width, channel]` array: entry `r * n + i` is neuron `i`.
    """

    space: str
    power: int = 1
    repeat: int = 1

    def __post_init__(self):
        if self.power not in (-1, 0, 1):
            raise ValueError(
                f"Axis over '{self.space}': power must be -1 (read), 0 or +1 (written),"
                f" got {self.power}."
            )
        if self.repeat < 1:
            raise ValueError(
                f"Axis over '{self.space}': repeat must be >= 1, got {self.repeat}."
            )


@dataclasses.dataclass(frozen=True)
class Space:
    """A set of neurons that one group element acts on.

    Attributes:
      name: the name that `Axis.space` refers to.
      group: the group of the space.
      frequency: the factor `w0` of an activation `sin(w0 * z)`, which makes the bias
        periodic with period `2 pi / w0`; None for every other activation.
    """

    name: str
    group: Group
    frequency: float | None = None

    def __post_init__(self):
        if self.frequency is not None:
            if self.group is not Group.SIGN:
                raise ValueError(
                    f"Space '{self.name}': a frequency belongs to a sine, whose group"
                    f" is Group.SIGN, got {self.group}."
                )
            if not self.frequency > 0:
                raise ValueError(
                    f"Space '{self.name}': frequency must be > 0, got {self.frequency}."
                )


LeafAxes = tuple[Axis | None, ...]


@dataclasses.dataclass(frozen=True)
class SymmetrySpec:
    """The symmetry of one architecture: frozen, hashable, static under `jax.jit`.

    Build it with `SymmetrySpec.create`, which takes a tree like the parameters.

    Attributes:
      axes: for every parameter its path and the `Axis` (or None) of each array axis.
      spaces: all spaces in the order in which the network computes them: inputs first,
        outputs last. Every space must be written from spaces before it; a residual
        stream may be written again from later ones.

    Raises:
      TypeError: a leaf that is no tuple of `Axis` and None.
      ValueError: a duplicate path, a duplicate or unknown space, a space without
        parameters, one space twice on one array, a space written from later ones only,
        or a periodic space with no bias or with two.
    """

    axes: tuple[tuple[Path, LeafAxes], ...]
    spaces: tuple[Space, ...]

    @classmethod
    def create(cls, axes: Mapping[str, Any], spaces: Sequence[Space]) -> "SymmetrySpec":
        """Build a spec from a tree with the structure of the parameters.

        Args:
          axes: nested mapping whose leaves are tuples with one `Axis` or None per array
            axis, for example `{"kernel": (Axis("in", -1), Axis("out")), "bias": ...}`.
          spaces: all spaces, inputs first, outputs last.

        Returns:
          The validated spec.

        Raises:
          TypeError, ValueError: as listed in the class.

        Example:
          >>> spec = SymmetrySpec.create(
          ...     {"kernel": (Axis("in", -1), Axis("out")), "bias": (Axis("out"),)},
          ...     [Space("in", Group.TRIVIAL), Space("out", Group.TRIVIAL)],
          ... )
          >>> spec.sizes({"kernel": np.zeros((2, 3)), "bias": np.zeros(3)})
          {'in': 2, 'out': 3}
        """
        leaves = sorted(_items(axes), key=lambda item: item[0])
        for path, leaf in leaves:
            if not isinstance(leaf, tuple | list):
                raise TypeError(
                    f"SymmetrySpec: '{'/'.join(path)}' must be a tuple with one Axis or"
                    f" None per array axis, got {leaf!r}."
                )
        return cls(tuple((path, tuple(leaf)) for path, leaf in leaves), tuple(spaces))

    def __post_init__(self):
        order = {space.name: i for i, space in enumerate(self.spaces)}
        if len(order) != len(self.spaces):
            names = [space.name for space in self.spaces]
            raise ValueError(f"SymmetrySpec: duplicate space among {names}.")
        used = set()
        seen = set()
        for path, axes in self.axes:
            where = "/".join(path)
            if path in seen:
                raise ValueError(f"SymmetrySpec: duplicate path '{where}'.")
            seen.add(path)
            if wrong := [a for a in axes if not isinstance(a, Axis | None)]:
                raise TypeError(
                    f"SymmetrySpec: '{where}' must hold one Axis or None per array"
                    f" axis, got {wrong[0]!r}."
                )
            names = [axis.space for axis in axes if axis is not None]
            if unknown := [name for name in names if name not in order]:
                raise ValueError(
                    f"SymmetrySpec: '{where}' names unknown space {unknown[0]!r};"
                    f" the spaces are {list(order)}."
                )
            if len(set(names)) != len(names):
                raise ValueError(
                    f"SymmetrySpec: '{where}' has one space on two axes ({names})."
                )
            used.update(names)
        self._check_order(order)
        if unused := [name for name in order if name not in used]:
            raise ValueError(f"SymmetrySpec: no parameter uses space {unused[0]!r}.")
        for space in self.spaces:
            biases = [p for p, a in self.axes if a == (Axis(space.name),)]
            if space.frequency is not None and len(biases) != 1:
                raise ValueError(
                    f"SymmetrySpec: periodic space '{space.name}' needs exactly one"
                    f" bias, found {len(biases)}."
                )

    def _check_order(self, order: Mapping[str, int]) -> None:
        """Refuse a space that no parameter writes from spaces before it."""
        for space in self.spaces:
            sources = {
                path: [a.space for a in axes if a is not None and a.power == -1]
                for path, axes in self.axes
                if any(
                    a is not None and (a.space, a.power) == (space.name, 1)
                    for a in axes
                )
            }
            sources = {path: names for path, names in sources.items() if names}
            late = {
                path: [n for n in names if order[n] >= order[space.name]]
                for path, names in sources.items()
            }
            if sources and all(late.values()):
                path, names = next(iter(late.items()))
                raise ValueError(
                    f"SymmetrySpec: '{'/'.join(path)}' reads space '{names[0]}', which"
                    f" does not come before '{space.name}' that it writes, and nothing"
                    f" else writes '{space.name}' earlier; list the spaces in the order"
                    " of computation."
                )

    @property
    def paths(self) -> tuple[Path, ...]:
        """Paths of all parameters, in the order of `axes`."""
        return tuple(path for path, _ in self.axes)

    def space(self, name: str) -> Space:
        """Return the space called `name`."""
        for space in self.spaces:
            if space.name == name:
                return space
        raise ValueError(
            f"Unknown space {name!r}; the spaces are {[s.name for s in self.spaces]}."
        )

    def without_scales(self) -> "SymmetrySpec":
        """Return the symmetry that is left when all positive scales are balanced."""
        groups = {Group.SCALE: Group.PERMUTATION}
        spaces = tuple(
            dataclasses.replace(space, group=groups.get(space.group, space.group))
            for space in self.spaces
        )
        return dataclasses.replace(self, spaces=spaces)

    def uses(self, space: str, *powers: int) -> Iterator[tuple[Path, int, Axis]]:
        """Yield (path, axis number, axis) wherever `space` occurs with these powers."""
        for path, axes in self.axes:
            for number, axis in enumerate(axes):
                if axis is not None and axis.space == space and axis.power in powers:
                    yield path, number, axis

    def sizes(self, params: Params) -> dict[str, int]:
        """Return the number of neurons of every space, checking `params` on the way.

        Args:
          params: parameters of one network, or anything with the same tree and shapes.

        Returns:
          Mapping from space name to its number of neurons.

        Raises:
          ValueError: missing or unknown parameter, wrong number of axes, or sizes that
            disagree; the message names the parameter.
        """
        return self._sizes(params, num_batch_axes=0)

    def batch_shape(self, params: Params) -> tuple[int, ...]:
        """Return the leading axes that all leaves share (`()` for one network).

        Raises:
          ValueError: if the parameters do not fit the spec, or the leading axes differ.
        """
        leaves = flatten(params)
        path, axes = self.axes[0]
        if path not in leaves:
            raise _mismatch(set(self.paths), set(leaves))
        rank = np.ndim(leaves[path]) - len(axes)
        self._sizes(params, num_batch_axes=max(rank, 0))
        return tuple(np.shape(leaves[path])[:rank])

    def _sizes(self, params: Params, num_batch_axes: int) -> dict[str, int]:
        leaves = flatten(params)
        if set(leaves) != set(self.paths):
            raise _mismatch(set(self.paths), set(leaves))
        sizes: dict[str, int] = {}
        origin: dict[str, str] = {}
        batch = None
        for path, axes in self.axes:
            where, shape = "/".join(path), np.shape(leaves[path])
            if len(shape) != len(axes) + num_batch_axes:
                raise ValueError(
                    f"Parameter '{where}' has shape {shape}, but the spec describes"
                    f" {len(axes)} axes behind {num_batch_axes} batch axes."
                )
            if batch is None:
                batch = shape[:num_batch_axes]
            if shape[:num_batch_axes] != batch:
                raise ValueError(
                    f"Parameter '{where}' has batch axes {shape[:num_batch_axes]},"
                    f" others have {batch}."
                )
            for length, axis in zip(shape[num_batch_axes:], axes, strict=True):
                if axis is None:
                    continue
                size, rest = divmod(length, axis.repeat)
                if rest:
                    raise ValueError(
                        f"Parameter '{where}': axis of length {length} over space"
                        f" '{axis.space}' is no multiple of repeat={axis.repeat}."
                    )
                if sizes.setdefault(axis.space, size) != size:
                    raise ValueError(
                        f"Parameter '{where}' gives space '{axis.space}' {size}"
                        f" neurons, but '{origin[axis.space]}' gives it"
                        f" {sizes[axis.space]}."
                    )
                origin.setdefault(axis.space, where)
        return {space.name: sizes[space.name] for space in self.spaces}


def check_finite(params: Params) -> None:
    """Refuse parameters with NaN or infinite entries.

    Args:
      params: concrete arrays, with or without batch axes.

    Raises:
      ValueError: names the first offending parameter and index, and counts the entries.
    """
    for path, leaf in flatten(params).items():
        bad = ~np.isfinite(np.asarray(leaf))
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            value = np.asarray(leaf)[index]
            raise ValueError(
                f"Parameter '{'/'.join(path)}' is not finite: {value} at index {index}"
                f" ({int(bad.sum())} such entries). Repair or drop this network."
            )


def flatten(params: Params) -> dict[Path, Any]:
    """Return the leaves of a nested mapping by path.

    Args:
      params: nested mapping.

    Returns:
      The leaves, by the tuple of keys that leads to each.
    """
    return dict(_items(params))


def unflatten(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """Return the nested dict with these leaves: the inverse of `flatten`.

    Args:
      leaves: leaves by path.

    Returns:
      Nested dict.
    """
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = leaf
    return tree


def _items(tree: Mapping[str, Any], prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, value in tree.items():
        path = (*prefix, str(name))
        if isinstance(value, Mapping):
            yield from _items(value, path)
        else:
            yield path, value


def _mismatch(expected: set[Path], got: set[Path]) -> ValueError:
    show = lambda paths: sorted("/".join(path) for path in paths)  # noqa: E731
    return ValueError(
        "Parameters do not fit the spec:"
        f" missing {show(expected - got)}, unknown {show(got - expected)}."
    )
