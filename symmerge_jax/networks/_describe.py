"""The symmetry of a network in words: its spaces, and what stands still."""

from collections.abc import Sequence
from fractions import Fraction

from symmerge_jax import symmetry
from symmerge_jax.typing import Params

_KINDS = {
    symmetry.Group.TRIVIAL: "fixed",
    symmetry.Group.PERMUTATION: "permutations",
    symmetry.Group.SIGN: "permutations and signs",
    symmetry.Group.SCALE: "permutations and positive scales",
}


def describe(
    spec: symmetry.SymmetrySpec,
    params: Params | None,
    pinned: Sequence[tuple[str, str]],
) -> str:
    """Return one paragraph per space, then the axes that are pinned by reason."""
    if params is None:
        sizes = {
            s.name: spec.space(s.follows).size if s.follows else s.size
            for s in spec.spaces
        }
    else:
        sizes = spec.sizes(params)
    lines = []
    for space in spec.spaces:
        over = f" for each of {' x '.join(space.over)}" if space.over else ""
        lines.append(f"{space.name}: {sizes[space.name]} {_kind(space)}{over}")
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
