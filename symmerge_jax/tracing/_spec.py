"""What was inferred, as a `SymmetrySpec`: groups, names and the order of spaces."""

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from symmerge_jax import symmetry
from symmerge_jax.tracing._traced import Traced, TracedSpace, Tree, Use
from symmerge_jax.typing import Params, Path

LEAF_NAMES = (
    "kernel",
    "weight",
    "embedding",
    "scale",
    "bias",
    "gamma",
    "beta",
    "mean",
    "var",
    "w",
    "b",
)
"""Names of parameters that say less than the layer they are in."""

COLLECTIONS = ("params", "batch_stats", "value")


class Scales(NamedTuple):
    """One scale group of a space: what kind of scales, with which exponents."""

    group: symmetry.Group
    powers: dict[Use, Fraction | int]


def to_spec(traced: Traced, params: Params) -> symmetry.SymmetrySpec:
    """Return the spec of parameters whose symmetries were inferred.

    A space with one group of signs is a `SIGN` space, one with one group of positive
    scales and no signs a `SCALE` space; further groups follow it. With several of
    either, and with none, it is a `PERMUTATION` space, which all of them follow. Pinned
    axes are None (a fixed count inside of a product), unless other spaces lie over them
    or they are inputs or outputs of a layer: these are `TRIVIAL` spaces.

    Args:
      traced: what was inferred for parameters of this tree.
      params: the parameters, or their shapes.
    """
    leaves = symmetry.flatten(params)
    paths = [path for path in traced.layout if symmetry.is_parameter(leaves[path])]
    names = space_names(traced, params)
    numbers = list(names)
    groups = {n: _groups(_without_those_of_fibres(traced, n)) for n in numbers}
    spaces = [
        space
        for n in numbers
        for space in _spaces(
            traced.spaces[n],
            names[n],
            groups[n],
            tuple(names[o] for o in _over(traced, n)),
        )
    ]
    axes = []
    for path in sorted(paths):
        entries = []
        for i, tree in enumerate(traced.layout[path]):
            entries.append(_entry(traced, path, i, tree, names, groups))
        axes.append((path, tuple(entries)))
    kept = set(paths)
    return symmetry.SymmetrySpec(
        tuple(axes), tuple(spaces), tuple(p for p in traced.statistics if p in kept)
    )


def space_names(traced: Traced, params: Params) -> dict[int, str]:
    """Return the names that spaces have in the spec, in the order of computation.

    Args:
      traced: what was inferred for parameters of this tree.
      params: the parameters, or their shapes.
    """
    leaves = symmetry.flatten(params)
    paths = [path for path in traced.layout if symmetry.is_parameter(leaves[path])]
    return _names(traced, _in_order(traced, _labelled(traced, paths)))


def _labelled(traced: Traced, paths: Iterable[Path]) -> set[int]:
    """Return the spaces that a spec speaks of."""
    alone: dict[int, bool] = {}
    for path in paths:
        for tree in traced.layout[path]:
            for n in _leaves(tree):
                alone[n] = alone.get(n, True) and isinstance(tree, int)
    found = set()
    for n in alone:
        space = traced.spaces[n]
        if space.pinned is None or space.scales or space.signs:
            found |= {n, *_over(traced, n)}
            continue
        is_end = -1 in space.roles.values() or space.pinned.text == "an output"
        if is_end and alone[n]:
            found.add(n)
    return found


def _in_order(traced: Traced, labelled: set[int]) -> list[int]:
    """Return spaces in the order of computation, each after those that it lies over."""
    order: list[int] = []

    def place(n: int) -> None:
        for other in _over(traced, n):
            if other not in order:
                place(other)
        if n not in order:
            order.append(n)

    for n in traced.spaces:
        if n in labelled:
            place(n)
    return order


def _over(traced: Traced, n: int) -> tuple[int, ...]:
    """Return the spaces that one lies over, the outer ones first."""
    space = traced.spaces[n]
    if space.pinned is not None and not space.scales and not space.signs:
        return ()

    def depth(other: int) -> tuple[int, bool]:
        return len(traced.spaces[other].over), traced.spaces[other].pinned is None

    return tuple(sorted(space.over, key=depth))


def _without_those_of_fibres(traced: Traced, n: int) -> TracedSpace:
    """Return a space without the scale groups that what lies over it has, too.

    One scale per head of queries and keys is nothing new, where each of their
    dimensions has one in every head.
    """
    space = traced.spaces[n]
    fibres = [s for s in traced.spaces.values() if n in s.over]
    kept = {}
    for kind in ("scales", "signs"):
        known = [_by_path(g) for fibre in fibres for g in getattr(fibre, kind)]
        kept[kind] = tuple(g for g in getattr(space, kind) if _by_path(g) not in known)
    return space._replace(**kept)


def _by_path(powers: Mapping[Use, Fraction | int]) -> frozenset:
    """Return a scale group as the exponents of its parameters, up to their sign."""
    found = {use.path: power for use, power in powers.items()}
    first = min(found)
    if found[first] < 0:
        found = {path: -power for path, power in found.items()}
    return frozenset(found.items())


def _groups(space: TracedSpace) -> list[Scales]:
    """Return the scale groups of a space; the first one is its own (or PERMUTATION)."""
    signs = [Scales(symmetry.Group.SIGN, dict(powers)) for powers in space.signs]
    scales = [Scales(symmetry.Group.SCALE, dict(powers)) for powers in space.scales]
    if len(signs) == 1 or space.pinned is not None:
        own = [*signs, *scales]
    elif not signs and len(scales) == 1:
        own = scales
    else:
        own = [Scales(symmetry.Group.PERMUTATION, {}), *signs, *scales]
    return own or [Scales(symmetry.Group.TRIVIAL, {})]


def _spaces(
    space: TracedSpace, name: str, groups: list[Scales], over: tuple[str, ...]
) -> list[symmetry.Space]:
    own, *further = groups
    made = [
        symmetry.Space(
            name,
            own.group,
            size=space.size,
            over=over if own.group is not symmetry.Group.TRIVIAL else (),
            permute=space.pinned is None or own.group is symmetry.Group.TRIVIAL,
        )
    ]
    for i, scales in enumerate(further):
        follower = _follower(name, i)
        made.append(symmetry.Space(follower, scales.group, over=over, follows=name))
    return made


def _follower(name: str, i: int) -> str:
    return f"{name}.scale_{i + 1}"


def _entry(
    traced: Traced,
    path: Path,
    axis: int,
    tree: Tree | None,
    names: dict[int, str],
    groups: dict[int, list[Scales]],
) -> symmetry.Axis | symmetry.Blocks | None:
    """Return what one array axis runs over."""
    position = -1

    def build(tree: Tree) -> symmetry.Axis | symmetry.Blocks | int:
        nonlocal position
        if isinstance(tree, int):
            position += 1
            if tree not in names:
                return traced.spaces[tree].size
            use = Use(path, axis, position)
            return _axis(traced.spaces[tree], use, names[tree], groups[tree])
        kind, parts = tree
        factors = [build(part) for part in parts]
        if all(isinstance(factor, int) for factor in factors):
            counts = [factor for factor in factors if isinstance(factor, int)]
            return math.prod(counts) if kind == "product" else sum(counts)
        if kind == "concatenation":
            return symmetry.Blocks(tuple((factor,) for factor in factors))
        *first, last = factors
        if isinstance(last, symmetry.Axis) and all(isinstance(f, int) for f in first):
            counts = [factor for factor in first if isinstance(factor, int)]
            repeat = math.prod(counts)
            return symmetry.Axis(last.space, last.power, repeat, last.also)
        return symmetry.Blocks((tuple(factors),))

    entry = None if tree is None else build(tree)
    return None if isinstance(entry, int) else entry


def _axis(
    space: TracedSpace, use: Use, name: str, groups: list[Scales]
) -> symmetry.Axis:
    own, *further = groups
    role = space.roles[use]
    power: int | Fraction = role
    if own.group is symmetry.Group.SIGN:
        power = (role or 1) if own.powers.get(use) else 0
    elif own.group is symmetry.Group.SCALE:
        power = own.powers.get(use, 0)
    also = tuple(
        (_follower(name, i), scales.powers[use])
        for i, scales in enumerate(further)
        if scales.powers.get(use)
    )
    return symmetry.Axis(name, power, also=also)


def _names(traced: Traced, numbers: Sequence[int]) -> dict[int, str]:
    """Name every space after the first parameter that writes it."""
    beneath = {o for n in numbers for o in _over(traced, n)}
    names: dict[int, str] = {}
    taken: set[str] = set()
    for n in numbers:
        space = traced.spaces[n]
        text = space.pinned.text if space.pinned is not None else ""
        if text in ("an input", "an output"):
            name = text.removeprefix("an ") + "s"
        elif text == "steps of a scan":
            name = "layers"
        elif text.startswith("looked up"):
            name = f"{_stem(space)}.entries"
        else:
            name = _stem(space) + (".groups" if n in beneath else "")
        unique, count = name, 1
        while unique in taken:
            unique, count = f"{name}_{count}", count + 1
        taken.add(unique)
        names[n] = unique
    return names


def _stem(space: TracedSpace) -> str:
    writes = [use for use in space.uses if space.roles[use] == 1] or space.uses
    matrices = [use for use in writes if use.path[-1] in ("kernel", "weight")]
    path = (matrices or writes)[0].path
    parts = [part for part in path if part not in COLLECTIONS]
    if len(parts) > 1 and parts[-1] in LEAF_NAMES:
        parts = parts[:-1]
    return "/".join(parts) or "/".join(path)


def _leaves(tree: Tree | None) -> list[int]:
    if tree is None:
        return []
    if isinstance(tree, int):
        return [tree]
    return [leaf for part in tree[1] for leaf in _leaves(part)]
