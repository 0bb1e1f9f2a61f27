"""What a spec must satisfy to describe a network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from symmerge_jax.symmetry import _tree
from symmerge_jax.symmetry._axes import Axis, Blocks, Space, axes_in

if TYPE_CHECKING:
    from symmerge_jax.symmetry._spec import SymmetrySpec


def check_spec(spec: "SymmetrySpec") -> None:
    """Refuse a spec that describes no network, naming what is wrong with it."""
    _check_types(spec)
    order = {space.name: i for i, space in enumerate(spec.spaces)}
    if len(order) != len(spec.spaces):
        names = [space.name for space in spec.spaces]
        raise ValueError(f"SymmetrySpec: duplicate space among {names}.")
    used = set()
    seen = set()
    for path, axes in spec.axes:
        where = _tree.name(path)
        if path in seen:
            raise ValueError(f"SymmetrySpec: duplicate path '{where}'.")
        seen.add(path)
        for axis in axes_in(axes):
            for name in (axis.space, *dict(axis.also)):
                if name not in order:
                    raise ValueError(
                        f"SymmetrySpec: '{where}' names unknown space {name!r};"
                        f" the spaces are {list(order)}."
                    )
                used.add(name)
    _check_relations(spec, order)
    if unused := [name for name in order if name not in used]:
        raise ValueError(f"SymmetrySpec: no parameter uses space {unused[0]!r}.")
    for space in spec.spaces:
        if space.frequency is None:
            continue
        biases = [p for p, a in spec.axes if a == (Axis(space.name),)]
        if len(biases) != 1:
            raise ValueError(
                f"SymmetrySpec: periodic space '{space.name}' needs exactly one"
                f" bias, found {len(biases)}."
            )
    if unknown := set(spec.statistics) - seen:
        raise ValueError(
            f"SymmetrySpec: no parameter is called '{_tree.name(min(unknown))}',"
            " which statistics names."
        )
    if not 0 <= spec.statistics_weight < float("inf"):
        raise ValueError(
            "SymmetrySpec: statistics_weight must be >= 0, got"
            f" {spec.statistics_weight}."
        )


def _check_types(spec: "SymmetrySpec") -> None:
    """Refuse fields of another type, which `create` would have converted."""
    for field in ("axes", "spaces", "statistics"):
        if not isinstance(value := getattr(spec, field), tuple):
            raise TypeError(
                f"SymmetrySpec: {field} must be a tuple, got"
                f" {type(value).__name__}; SymmetrySpec.create takes trees and"
                " lists."
            )
    for space in spec.spaces:
        if not isinstance(space, Space):
            raise TypeError(
                f"SymmetrySpec: spaces must hold Space(name, group), got {space!r}."
            )
    for item in spec.axes:
        if not (isinstance(item, tuple) and len(item) == 2):
            raise TypeError(
                f"SymmetrySpec: axes must hold pairs (path, axes), got {item!r};"
                " SymmetrySpec.create takes a tree."
            )
        path, axes = item
        if wrong := [a for a in axes if not isinstance(a, Axis | Blocks | None)]:
            raise TypeError(
                f"SymmetrySpec: '{_tree.name(path)}' must hold one Axis, Blocks or"
                f" None per array axis, got {wrong[0]!r}."
            )


def _check_relations(spec: "SymmetrySpec", order: Mapping[str, int]) -> None:
    """Refuse spaces over, or behind, others that they do not fit."""
    for space in spec.spaces:
        related = (*space.over, *([space.follows] if space.follows else []))
        for other in related:
            if order.get(other, len(order)) >= order[space.name]:
                raise ValueError(
                    f"SymmetrySpec: space '{space.name}' lies over, or follows,"
                    f" '{other}', which is not listed before it."
                )
        if space.follows and not set(space.over) >= set(spec.space(space.follows).over):
            raise ValueError(
                f"SymmetrySpec: space '{space.name}' must lie over all that"
                f" '{space.follows}' lies over, which it follows."
            )
    over = {space.name: set(space.over) for space in spec.spaces if space.over}
    for path, axes in spec.axes if over else ():
        names = {axis.space for axis in axes_in(axes)}
        for axis in axes_in(axes):
            for name in (axis.space, *dict(axis.also)):
                if missing := over.get(name, set()) - names:
                    raise ValueError(
                        f"SymmetrySpec: '{_tree.name(path)}' has space '{name}',"
                        f" but no axis over {sorted(missing)}, over which it lies."
                    )


def check_order(spec: "SymmetrySpec") -> None:
    """Refuse a space that no parameter writes from spaces before it."""
    order = {space.name: i for i, space in enumerate(spec.spaces)}
    for space in spec.spaces:
        sources = {
            path: [a.space for a in axes_in(axes) if a.role == -1]
            for path, axes in spec.axes
            if any(a.space == space.name and a.role == 1 for a in axes_in(axes))
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
