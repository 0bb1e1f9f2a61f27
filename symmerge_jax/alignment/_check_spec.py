"""Whether a spec is the symmetry of a network: every space is moved and looked at."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _certificate
from symmerge_jax.typing import Key, Params


def check_spec(
    apply: Callable[[Params, Any], Any],
    params: Params,
    spec: symmetry.SymmetrySpec,
    *,
    inputs: Any = None,
    input_shape: Sequence[int] | None = None,
    key: Key | None = None,
    tolerance: float = _certificate.TOLERANCE,
) -> None:
    """Refuse a spec that is not the symmetry of a network.

    Every space is moved alone, first by a random permutation that leaves no neuron in
    its place, then by random signs or scales, as its group has them; phases of periodic
    spaces are shifted and folded. A spec belongs to an architecture, so this is done at
    generic weights near the given ones: every weight is changed by up to 10 %, zeros
    are filled (a bias of zeros fits any spec).

    Args:
      apply: see `certify`.
      params: parameters of one network, or of a batch, of which the first is taken.
      spec: the symmetry to check.
      inputs: see `certify`.
      input_shape: see `certify`.
      key: of weights, elements and inputs; None for `jax.random.key(0)`.
      tolerance: see `certify`.

    Raises:
      ValueError: names the first space that does not fit, what was done to it, by how
        much outputs changed, and the parameters that use it; or, as `certify`,
        parameters or inputs that do not fit.
    """
    num_batch_axes = len(spec.batch_shape(params))
    random = _certificate.generator(key)
    double = _certificate.as_double(params)
    one = jax.tree.map(lambda x: x[(0,) * num_batch_axes], double)
    network = _generic(random, one)
    moves, elements = _moves(random, spec, spec.sizes(network))
    with jax.enable_x64(True):
        inputs = _certificate.make_inputs(
            apply, network, spec, inputs, input_shape, key
        )
        if not moves:
            return
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *elements)
        found = _compiled(apply, spec)(network, stacked, inputs)
        difference, scale = (np.concatenate(list(parts)) for parts in found)
    certificate = _certificate.Certificate(difference, scale, tolerance)
    moves += [
        (space, f"folding the phases at frequency {space.frequency:g} of")
        for space in _periodic(spec)
    ]
    for index, (space, what) in enumerate(moves):
        if not certificate.passed[index]:
            does = {1: "written", -1: "read", 0: "kept"}
            uses = ", ".join(
                f"'{'/'.join(path)}' axis {number} ({does[axis.power]})"
                for path, number, axis in spec.uses(space.name, 1, -1, 0)
            )
            raise ValueError(
                f"The spec does not fit the network: {what} the neurons of space"
                f" '{space.name}' ({space.group}) changes outputs by"
                f" {difference[index]:.3g}, where they reach {scale[index]:.3g}. The"
                f" space is used by {uses}: correct the axes, or give the space another"
                " group or frequency."
            )


def _moves(random: np.random.Generator, spec: symmetry.SymmetrySpec, sizes):
    """Return what is to be tried, as (space, words), and an element for each."""
    moves, elements = [], []
    movable = _base.movable_spaces(spec)
    identity = {
        s.name: symmetry.Monomial(np.arange(sizes[s.name]), np.ones(sizes[s.name]))
        for s in movable
    }

    def add(space, what, perm, scale):
        moves.append((space, what))
        elements.append({**identity, space.name: symmetry.Monomial(perm, scale)})

    for space in movable:
        neurons, ones = identity[space.name]
        order = random.permutation(neurons.size)
        if neurons.size > 1:
            cycle = np.empty_like(neurons)
            cycle[order] = np.roll(order, 1)  # one cycle through all neurons
            add(space, "permuting", cycle, ones)
        if space.group is symmetry.Group.SIGN:
            signs = random.choice([-1.0, 1.0], neurons.size)
            signs[order[0]] = -1
            add(space, "flipping signs of", neurons, signs)
        if space.group is symmetry.Group.SCALE:
            scales = np.exp(random.normal(size=neurons.size))
            add(space, "rescaling", neurons, scales)
    return moves, elements


def _generic(random: np.random.Generator, params: Params) -> dict[str, Any]:
    """Return weights near the given ones, without zeros.

    Signs are kept, because a running variance must stay positive.
    """
    leaves = {}
    for path, leaf in symmetry.flatten(params).items():
        factor = random.uniform(0.9, 1.1, leaf.shape)
        fill = 0.1 * random.normal(size=leaf.shape)
        leaves[path] = np.where(leaf == 0, fill, leaf * factor)
    return symmetry.unflatten(leaves)


def _periodic(spec: symmetry.SymmetrySpec) -> list[symmetry.Space]:
    return [space for space in spec.spaces if space.frequency is not None]


def _shift_and_fold(params: Params, spec: symmetry.SymmetrySpec, space: symmetry.Space):
    """Return parameters with large phases in one space, and the same ones folded."""
    leaves = symmetry.flatten(params)
    assert space.frequency is not None
    [path] = [p for p, axes in spec.axes if axes == (symmetry.Axis(space.name),)]
    turns = np.linspace(-1.3, 1.3, leaves[path].size)
    leaves[path] = leaves[path] + turns * (2 * np.pi / space.frequency)
    shifted = symmetry.unflatten(leaves)
    alone = tuple(
        s if s == space else dataclasses.replace(s, frequency=None) for s in spec.spaces
    )
    return shifted, symmetry.fold_phases(
        shifted, dataclasses.replace(spec, spaces=alone)
    )


@functools.lru_cache(maxsize=16)
def _compiled(apply, spec):
    """Return the program that tries elements `[M]` on a network, then the folding.

    Its results are the differences and the scales, in parts that follow on each other.
    """

    def program(params, elements, inputs):
        def difference(before, after):
            return _certificate.output_difference(apply, before, after, inputs)

        def move(element):
            return difference(params, symmetry.act(element, params, spec))

        parts = [jax.lax.map(move, elements)]
        for space in _periodic(spec):
            found = difference(*_shift_and_fold(params, spec, space))
            parts.append(tuple(value[None] for value in found))
        return tuple(zip(*parts, strict=True))

    return jax.jit(program)
