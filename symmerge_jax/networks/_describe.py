"""The symmetry of a network in words: its spaces, and what stands still."""

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from symmerge_jax import symmetry
from symmerge_jax.typing import Params

_KINDS = {
    symmetry.Group.TRIVIAL: "fixed",
    symmetry.Group.PERMUTATION: "permutations",
    symmetry.Group.SIGN: "permutations and signs",
    symmetry.Group.SCALE: "permutations and positive scales",
}


_MATRICES = {
    "general": ", and any invertible matrix",
    "orthogonal": ", and any rotation",
}


def describe(
    spec: symmetry.SymmetrySpec,
    params: Params | None,
    pinned: Sequence[tuple[str, str]],
    linear: Mapping[str, str],
) -> str:
    """Return one paragraph per space, then the axes that are pinned by reason."""
    sizes = _sizes(spec, params)
    lines = []
    for space in spec.spaces:
        over = f" for each of {' x '.join(space.over)}" if space.over else ""
        matrices = _MATRICES.get(linear.get(space.name, ""), "")
        lines.append(
            f"{space.name}: {sizes[space.name]} {_kind(space)}{over}{matrices}"
        )
        lines += [f"  {use}" for use in _uses(spec, space)]
    if pinned:
        lines.append("pinned:")
        by_reason: dict[str, list[str]] = {}
        for axis, reason in pinned:
            by_reason.setdefault(reason, []).append(axis)
        for reason, axes in by_reason.items():
            rest = f" and {len(axes) - 4} more" if len(axes) > 4 else ""
            lines.append(f"  {reason}: {', '.join(axes[:4])}{rest}")
    return "\n".join(lines)


def diagram(spec: symmetry.SymmetrySpec, params: Params | None) -> dict[str, Any]:
    """Return sizes and kinds of the spaces, and the pairs that parameters link."""
    sizes = _sizes(spec, params)
    spaces = [space for space in spec.spaces if space.follows is None]
    layers = {name for space in spec.spaces for name in space.over}
    layers -= {space.name for space in spec.movable_spaces}
    links = []
    for _, axes in spec.axes:
        uses = [axis for axis in symmetry.axes_in(axes) if axis.space not in layers]
        reads = [axis.space for axis in uses if axis.role == -1]
        # What is kept where something is read was written: in front of a BatchNorm.
        writes = [axis.space for axis in uses if axis.role != -1]
        links += itertools.product(reads, writes)
    return {
        "sizes": {space.name: sizes[space.name] for space in spaces},
        "kinds": {space.name: _kind(space) for space in spaces},
        "links": links,
    }


def _sizes(spec: symmetry.SymmetrySpec, params: Params | None) -> dict[str, int]:
    if params is not None:
        return spec.sizes(params)
    leaders = [spec.space(s.follows) if s.follows else s for s in spec.spaces]
    return {s.name: x.size or 0 for s, x in zip(spec.spaces, leaders, strict=True)}


def _kind(space: symmetry.Space) -> str:
    kind = _KINDS[space.group]
    if space.follows is not None:
        return f"{kind.removeprefix('permutations and ')} of {space.follows}"
    if not space.permute:
        return kind.replace("permutations and ", "in order, with ")
    return kind


def _uses(spec: symmetry.SymmetrySpec, space: symmetry.Space) -> list[str]:
    """Return the arrays that have a space, with the exponents of its scales."""
    found = []
    for path, number, axis in spec.uses(space.name, 1, -1, 0):
        role = {1: "written", -1: "read", 0: "kept"}[axis.role]
        power = axis.exponent(space.name)
        scaled = space.follows is not None or space.group is symmetry.Group.SCALE
        if scaled and power not in (1, -1, 0):
            role += f", power {Fraction(power)}"
        elif space.follows is not None:
            role = "times" if power == 1 else "divided"
        found.append(f"{symmetry.name(path)} axis {number} ({role})")
    return found
