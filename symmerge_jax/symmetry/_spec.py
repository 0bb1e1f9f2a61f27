"""Which axes run over which neurons, and which group acts on the neurons.

A network is described once, by a `SymmetrySpec`. The group action, the weight graph and
the canonical form are all derived from it.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, cast

import numpy as np

from symmerge_jax.symmetry import _tree
from symmerge_jax.symmetry._axes import (
    Axis,
    Blocks,
    Group,
    Space,
    axes_in,
    find_statistics,
    is_axes,
)
from symmerge_jax.symmetry._consistency import check_order, check_spec
from symmerge_jax.symmetry._sizes import mismatch, sizes_of
from symmerge_jax.typing import Params, Path

LeafAxes = tuple[Axis | Blocks | None, ...]


@dataclasses.dataclass(frozen=True)
class SymmetrySpec:
    """The symmetry of one architecture: frozen, hashable, static under `jax.jit`.

    Build it with `SymmetrySpec.create`, which takes a tree like the parameters.

    Attributes:
      axes: for every parameter its path and what each array axis runs over: an `Axis`,
        `Blocks` of several, or None.
      spaces: all spaces in the order in which the network computes them: inputs first,
        outputs last. Every space should be written from spaces before it (`create`
        refuses another order); a residual stream may be written again from later ones.
      statistics: paths of parameters that are statistics of data, such as running means
        and variances. They move with their neurons, but say little about which neurons
        do the same.
      statistics_weight: how much squared differences of statistics count where networks
        are matched by their weights; 0 ignores them, 1 makes them weights.

    Raises:
      TypeError, ValueError: names what is wrong: duplicate or unknown names, a space
        without parameters or written from later ones only, one over another that does
        not come before it or that an array lacks, a periodic space with no bias or with
        two.
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
            leaves are tuples with one `Axis`, `Blocks` or None per array axis, for
            example `{"kernel": (Axis("in", -1), Axis("out")), "bias": ...}`. What is no
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
        spec = cls(
            tuple((path, tuple(leaf)) for path, leaf in leaves),
            tuple(spaces),
            find_statistics(paths, statistics),
            statistics_weight,
        )
        check_order(spec)
        return spec

    def __post_init__(self):
        check_spec(self)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Paths of all parameters, in the order of `axes`."""
        return tuple(path for path, _ in self.axes)

    @functools.cached_property
    def movable_spaces(self) -> tuple[Space, ...]:
        """Spaces whose group is not trivial, in the order of computation."""
        return tuple(s for s in self.spaces if s.group is not Group.TRIVIAL)

    @functools.cached_property
    def matched_spaces(self) -> tuple[Space, ...]:
        """Movable spaces with neurons of their own: those that follow none."""
        return tuple(s for s in self.movable_spaces if s.follows is None)

    @functools.cached_property
    def has_blocks(self) -> bool:
        """Whether any array axis runs over several spaces."""
        return any(isinstance(a, Blocks) for _, axes in self.axes for a in axes)

    @property
    def atomic_axes(self) -> tuple[tuple[Path, tuple[Axis | None, ...]], ...]:
        """The `axes` of a spec without `Blocks`, as `atoms_of` returns one.

        Raises:
          ValueError: an array axis over several spaces.
        """
        if self.has_blocks:
            found = ((p, a) for p, axes in self.axes for a in axes)
            path, blocks = next((p, a) for p, a in found if isinstance(a, Blocks))
            raise ValueError(
                f"Parameter '{_tree.name(path)}' has an axis over several spaces"
                f" ({blocks}), which this does not support: view the networks as atoms"
                " first (symmetry.atoms_of)."
            )
        return cast(Any, self.axes)

    @functools.cached_property
    def _by_name(self) -> dict[str, Space]:
        return {space.name: space for space in self.spaces}

    def space(self, name: str) -> Space:
        """Return the space called `name`."""
        if name not in self._by_name:
            raise ValueError(
                f"Unknown space {name!r}; the spaces are {list(self._by_name)}."
            )
        return self._by_name[name]

    def without_scales(self) -> "SymmetrySpec":
        """Return the symmetry that is left when all positive scales are balanced."""

        gone = {s.name for s in self.spaces if s.follows and s.group is Group.SCALE}

        def unscaled(space: Space) -> Space:
            if space.group is not Group.SCALE:
                return space
            group = Group.PERMUTATION if space.permute else Group.TRIVIAL
            return dataclasses.replace(space, group=group, permute=True)

        spaces = tuple(unscaled(s) for s in self.spaces if s.name not in gone)
        axes = tuple(
            (path, tuple(_without_followers(axis, gone) for axis in axes))
            for path, axes in self.axes
        )
        return dataclasses.replace(self, axes=axes, spaces=spaces)

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

    def uses(self, space: str, *roles: int) -> Iterator[tuple[Path, int, Axis]]:
        """Yield (path, axis number, axis) wherever `space` occurs in these roles.

        Args:
          space: name of a space, or of one that follows another.
          *roles: signs of the exponent: `+1` written, `-1` read, `0` kept. The uses of
            a space that follows are those that its scales multiply.
        """
        leader = self._by_name[space].follows if space in self._by_name else None
        for path, axes in self.axes:
            for number, array_axis in enumerate(axes):
                if array_axis is None:
                    continue
                for axis in axes_in((array_axis,)):
                    if axis.space != (leader or space):
                        continue
                    if leader and space not in dict(axis.also):
                        continue
                    power = axis.exponent(space)
                    if (power > 0) - (power < 0) in roles:
                        yield path, number, axis

    def sizes(self, params: Params, num_batch_axes: int = 0) -> dict[str, int]:
        """Return the number of neurons of every space, checking `params` on the way.

        Args:
          params: parameters of one network, or anything with the same tree and shapes.
          num_batch_axes: leading axes of every array.

        Raises:
          ValueError: missing or unknown parameter, wrong number of axes, or sizes that
            disagree; the message names the parameter.
        """
        return sizes_of(self, _tree.flatten(params), num_batch_axes)

    def batch_shape(self, params: Params) -> tuple[int, ...]:
        """Return the leading axes that all leaves share (`()` for one network).

        Raises:
          ValueError: if the parameters do not fit the spec, or the leading axes differ.
        """
        leaves = _tree.flatten(params)
        given = [item for item in self.axes if item[0] in leaves]
        # Counters may have no batch axes; parameters do, where nothing can move, too.
        sure = [item for item in given if any(item[1])]
        sure += [item for item in given if _tree.is_parameter(leaves[item[0]])]
        path, axes = sure[0] if sure else (None, ())
        if path is None:
            raise mismatch(self.paths, leaves)
        rank = np.ndim(leaves[path]) - len(axes)
        sizes_of(self, leaves, max(rank, 0))
        return tuple(np.shape(leaves[path])[:rank])


def _without_followers(layout: Any, names: Set[str]) -> Any:
    """Return an array axis, or a factor of one, without these further scales."""
    if isinstance(layout, Axis):
        kept = tuple(pair for pair in layout.also if pair[0] not in names)
        return dataclasses.replace(layout, also=kept)
    if isinstance(layout, Blocks):
        pieces = layout.pieces
        return Blocks(
            tuple(tuple(_without_followers(x, names) for x in p) for p in pieces)
        )
    return layout
