"""Which axes run over which neurons, and which group acts on the neurons.

A network is described once, by a `SymmetrySpec`. The group action, the weight graph and
the canonical form are all derived from it.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from symmerge_jax.symmetry import _tree
from symmerge_jax.symmetry._axes import (
    Axis,
    Group,
    Space,
    find_statistics,
    is_axes,
)
from symmerge_jax.typing import Params, Path

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
      statistics: paths of parameters that are statistics of data, such as running means
        and variances. They move with their neurons, but say little about which neurons
        do the same.
      statistics_weight: how much squared differences of statistics count where networks
        are matched by their weights; 0 ignores them, 1 makes them weights.

    Raises:
      TypeError, ValueError: names what is wrong: duplicate or unknown names, one space
        twice on one array, a space without parameters or written from later ones only,
        a periodic space with no bias or with two.
    """

    axes: tuple[tuple[Path, LeafAxes], ...]
    spaces: tuple[Space, ...]
    statistics: tuple[Path, ...] = ()
    statistics_weight: float | int = 0.0

    @classmethod
    def create(
        cls,
        axes: Params,
        spaces: Sequence[Space],
        *,
        statistics: Sequence[str] | None = None,
        statistics_weight: float | int = 0.0,
    ) -> "SymmetrySpec":
        """Return the spec of a tree with the structure of the parameters.

        Args:
          axes: a tree like the parameters, or nested dicts with the same names, whose
            leaves are tuples with one `Axis` or None per array axis, for example
            `{"kernel": (Axis("in", -1), Axis("out")), "bias": ...}`. What is no
            parameter (integers, random keys, None) may be omitted.
          spaces: all spaces, inputs first, outputs last.
          statistics: names of the parameters that are statistics, or of the trees that
            hold them, "batch_stats" or "norm/mean"; None for what goes by the names of
            Flax and PyTorch: "batch_stats", "running_mean" and "running_var".
          statistics_weight: see the class.

        Example:
          >>> spec = SymmetrySpec.create(
          ...     {"kernel": (Axis("in", -1), Axis("out")), "bias": (Axis("out"),)},
          ...     [Space("in", Group.TRIVIAL), Space("out", Group.TRIVIAL)],
          ... )
          >>> spec.sizes({"kernel": np.zeros((2, 3)), "bias": np.zeros(3)})
          {'in': 2, 'out': 3}
        """
        leaves = sorted(_tree.flatten(axes, lambda x: x is None or is_axes(x)).items())
        for path, leaf in leaves:
            if not is_axes(leaf):
                hint = f": write ({leaf!r},)" if isinstance(leaf, Axis) else ""
                hint = ": omit what is no parameter" if leaf is None else hint
                raise TypeError(
                    f"SymmetrySpec: '{_tree.name(path)}' must be a tuple with one Axis"
                    f" or None per array axis, got {leaf!r}{hint}."
                )
        if isinstance(spaces, Mapping | str) or not isinstance(spaces, Iterable):
            raise TypeError(
                "SymmetrySpec: spaces must be a list of Space, inputs first, outputs"
                f" last; got {type(spaces).__name__}."
            )
        paths = [path for path, _ in leaves]
        return cls(
            tuple((path, tuple(leaf)) for path, leaf in leaves),
            tuple(spaces),
            find_statistics(paths, statistics),
            statistics_weight,
        )

    def __post_init__(self):
        self._check_types()
        order = {space.name: i for i, space in enumerate(self.spaces)}
        if len(order) != len(self.spaces):
            names = [space.name for space in self.spaces]
            raise ValueError(f"SymmetrySpec: duplicate space among {names}.")
        used = set()
        seen = set()
        for path, axes in self.axes:
            where = _tree.name(path)
            if path in seen:
                raise ValueError(f"SymmetrySpec: duplicate path '{where}'.")
            seen.add(path)
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
        if unknown := set(self.statistics) - seen:
            raise ValueError(
                f"SymmetrySpec: no parameter is called '{_tree.name(min(unknown))}',"
                " which statistics names."
            )
        if not 0 <= self.statistics_weight < float("inf"):
            raise ValueError(
                "SymmetrySpec: statistics_weight must be >= 0, got"
                f" {self.statistics_weight}."
            )

    def _check_types(self) -> None:
        """Refuse fields of another type, which `create` would have converted."""
        for field in ("axes", "spaces", "statistics"):
            if not isinstance(value := getattr(self, field), tuple):
                raise TypeError(
                    f"SymmetrySpec: {field} must be a tuple, got"
                    f" {type(value).__name__}; SymmetrySpec.create takes trees and"
                    " lists."
                )
        for space in self.spaces:
            if not isinstance(space, Space):
                raise TypeError(
                    f"SymmetrySpec: spaces must hold Space(name, group), got {space!r}."
                )
        for item in self.axes:
            if not (isinstance(item, tuple) and len(item) == 2):
                raise TypeError(
                    f"SymmetrySpec: axes must hold pairs (path, axes), got {item!r};"
                    " SymmetrySpec.create takes a tree."
                )
            path, axes = item
            if wrong := [a for a in axes if not isinstance(a, Axis | None)]:
                raise TypeError(
                    f"SymmetrySpec: '{_tree.name(path)}' must hold one Axis or None per"
                    f" array axis, got {wrong[0]!r}."
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

    @property
    def movable_spaces(self) -> tuple[Space, ...]:
        """Spaces whose group is not trivial, in the order of computation."""
        return tuple(s for s in self.spaces if s.group is not Group.TRIVIAL)

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

    def restrict(self, params: Params) -> "SymmetrySpec":
        """Return the spec without what is no parameter: `None` or no real floats."""
        leaves = _tree.flatten(params)
        axes = tuple(
            item for item in self.axes if _tree.is_parameter(leaves.get(item[0]))
        )
        if len(axes) == len(self.axes):
            return self
        kept = {path for path, _ in axes}
        statistics = tuple(path for path in self.statistics if path in kept)
        return dataclasses.replace(self, axes=axes, statistics=statistics)

    def match_weight(self, path: Path) -> float:
        """Return how much squared differences of a parameter count in matching."""
        return self.statistics_weight if path in self.statistics else 1.0

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
        leaves = _tree.flatten(params)
        given = [item for item in self.axes if item[0] in leaves]
        path, axes = next((item for item in given if any(item[1])), (None, ()))
        if path is None:
            raise _mismatch(self.paths, leaves)
        rank = np.ndim(leaves[path]) - len(axes)
        self._sizes(params, num_batch_axes=max(rank, 0))
        return tuple(np.shape(leaves[path])[:rank])

    def _sizes(self, params: Params, num_batch_axes: int) -> dict[str, int]:
        leaves = _tree.flatten(params)
        # What is no parameter may be missing in the spec: it is carried along.
        missing = [path for path, axes in self.axes if axes and path not in leaves]
        unknown = leaves.keys() - set(self.paths)
        if missing or any(_tree.is_parameter(leaves[path]) for path in unknown):
            raise _mismatch(self.paths, leaves)
        sizes: dict[str, int] = {}
        origin: dict[str, str] = {}
        batch = None
        for path, axes in self.axes:
            # Nothing is expected of None, nor of counters: they have no batch axes.
            if not any(axes) and not _tree.is_parameter(leaves.get(path)):
                continue
            where, shape = _tree.name(path), np.shape(leaves[path])
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


def _mismatch(paths: Sequence[Path], leaves: Mapping[Path, Any]) -> ValueError:
    missing = sorted(set(paths) - leaves.keys())
    unknown = sorted(p for p in leaves.keys() - set(paths))
    for path in missing:
        if any(p[: len(path)] == path and len(p) > len(path) for p in unknown):
            return ValueError(
                f"Parameters do not fit the spec: '{_tree.name(path)}' is not an array"
                " but a container; make an array of it (np.asarray)."
            )
    unknown = [_tree.name(p) for p in unknown if _tree.is_parameter(leaves[p])]
    return ValueError(
        f"Parameters do not fit the spec: missing {list(map(_tree.name, missing))},"
        f" unknown {unknown}."
    )
