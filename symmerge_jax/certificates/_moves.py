"""Moves of one space at a time, by which a spec is tried."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.typing import Path


class Move(NamedTuple):
    """An element that moves one space only; `what` says in words what is done to it.

    If `tested`, the move is also made wrongly, to see that this would show.
    """

    space: symmetry.Space
    what: str
    element: symmetry.GroupElement
    tested: bool


def moves(
    random: np.random.Generator, spec: symmetry.SymmetrySpec, sizes: Mapping[str, int]
) -> list[Move]:
    """Return what is to be tried: permutations of each space, then signs or scales.

    Of the permutations the first leaves no neuron in its place, the next two exchange
    two neurons, and shuffle all.
    """
    found = []
    rest = identity(spec, sizes)

    def add(space, what, perm, scale, tested=True):
        element = {**rest, space.name: symmetry.Monomial(perm, scale)}
        found.append(Move(space, what, element, tested))

    for space in spec.movable_spaces:
        neurons, ones = rest[space.name]
        order = random.permutation(neurons.size)
        if neurons.size > 1:
            cycle = np.empty_like(neurons)
            cycle[order] = np.roll(order, 1)  # one cycle through all neurons
            add(space, "permuting", cycle, ones)
        if neurons.size > 2:
            swap = neurons.copy()
            swap[order[:2]] = order[1::-1]
            add(space, "permuting", swap, ones, tested=False)
            add(space, "permuting", random.permutation(neurons), ones, tested=False)
        if space.group is symmetry.Group.SIGN:
            signs = random.choice([-1.0, 1.0], neurons.size)
            signs[order[0]] = -1
            add(space, "flipping signs of", neurons, signs)
        if space.group is symmetry.Group.SCALE:
            scales = np.exp(random.normal(size=neurons.size))
            add(space, "rescaling", neurons, scales)
    return found


def identity(
    spec: symmetry.SymmetrySpec, sizes: Mapping[str, int]
) -> symmetry.GroupElement:
    """Return the element that moves nothing, in arrays of numpy."""
    return {
        s.name: symmetry.Monomial(np.arange(sizes[s.name]), np.ones(sizes[s.name]))
        for s in spec.movable_spaces
    }


def periodic(spec: symmetry.SymmetrySpec) -> list[symmetry.Space]:
    """Return the spaces of sines, whose phases can be folded."""
    return [space for space in spec.spaces if space.frequency is not None]


def users(spec: symmetry.SymmetrySpec, space: symmetry.Space) -> list[Path]:
    """Return the parameters that use a space."""
    return list(dict.fromkeys(p for p, _, _ in spec.uses(space.name, 1, -1, 0)))


def describe_uses(spec: symmetry.SymmetrySpec, space: symmetry.Space) -> str:
    """Return the parameters that use a space, and how, in words."""
    does = {1: "written", -1: "read", 0: "kept"}
    return ", ".join(
        f"'{symmetry.name(path)}' axis {number} ({does[axis.power]})"
        for path, number, axis in spec.uses(space.name, 1, -1, 0)
    )
