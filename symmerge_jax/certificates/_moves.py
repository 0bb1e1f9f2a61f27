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

    def shuffled(function, neurons):
        """Permute the neurons for each index of the spaces they lie over."""
        rows = neurons.reshape(-1, neurons.shape[-1])
        return np.stack([function(row) for row in rows]).reshape(neurons.shape)

    def cycle(neurons):
        order = random.permutation(neurons)
        moved = np.empty_like(neurons)
        moved[order] = np.roll(order, 1)  # one cycle through all neurons
        return moved

    def swap(neurons):
        first, second = random.permutation(neurons)[:2]
        moved = neurons.copy()
        moved[[first, second]] = second, first
        return moved

    for space in spec.movable_spaces:
        neurons, ones = rest[space.name]
        size = neurons.shape[-1]
        if space.is_permuted and size > 1:
            add(space, "permuting", shuffled(cycle, neurons), ones)
        if space.is_permuted and size > 2:
            shuffles = shuffled(swap, neurons), shuffled(random.permutation, neurons)
            for perm in shuffles:
                add(space, "permuting", perm, ones, tested=False)
        if space.group is symmetry.Group.SIGN:
            signs = random.choice([-1.0, 1.0], neurons.shape)
            signs[..., random.integers(size)] = -1
            add(space, "flipping signs of", neurons, signs)
        if space.group is symmetry.Group.SCALE:
            scales = np.exp(random.normal(size=neurons.shape))
            add(space, "rescaling", neurons, scales)
    return found


def identity(
    spec: symmetry.SymmetrySpec, sizes: Mapping[str, int]
) -> symmetry.GroupElement:
    """Return the element that moves nothing, in arrays of numpy."""
    return {
        name: symmetry.Monomial(
            np.broadcast_to(np.arange(shape[-1]), shape).copy(), np.ones(shape)
        )
        for name, shape in symmetry.element_shapes(spec, sizes).items()
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
        f"'{symmetry.name(path)}' axis {number} ({does[axis.role]})"
        for path, number, axis in spec.uses(space.name, 1, -1, 0)
    )
