"""Where a spec is tried: generic weights and inputs, and what rounding does there.

One compiled program runs the network moved by an element, with a parameter held back or
weights changed, and measures its outputs against those of the network as it stands.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import programs, symmetry
from symmerge_jax.certificates import _generic, _moves, _network, _noise, _probe
from symmerge_jax.typing import Params, Path

Spot = tuple[dict[Path, Any], str, Any]
"""Weights, a name of the inputs, and the inputs."""


class Place(NamedTuple):
    """Weights and inputs, and the outputs there: what each of `n` neurons may do.

    `allowed` is by how much each may change, `smooth` whether it follows small changes
    of the weights, `scale` its largest value.
    """

    name: str
    leaves: dict[Path, Any]
    inputs: Any
    reference: Any
    allowed: np.ndarray
    smooth: np.ndarray
    scale: np.ndarray


@dataclasses.dataclass(frozen=True)
class Runner:
    """The network that is tried, and the program that runs it, see `run`.

    `paths` are those of the parameters, sorted; `noise` holds numbers by which they are
    changed; `rest` is the element that moves nothing.
    """

    probe: _probe.Probe
    spec: symmetry.SymmetrySpec
    paths: tuple[Path, ...]
    noise: dict[Path, Any]
    rest: symmetry.GroupElement
    program: Callable[..., Any]
    tolerance: float | None


def prepare(
    random: np.random.Generator,
    probe: _probe.Probe,
    params: Params,
    spec: symmetry.SymmetrySpec,
    groups: Sequence[tuple[str, Any]],
    tolerance: float | None,
) -> tuple[Runner, list[Spot]]:
    """Return the program, and where to run it: the best places first."""
    leaves = _network.moved_leaves(params, spec)
    floats = {p: x for p, x in sorted(leaves.items()) if symmetry.is_parameter(x)}
    near = leaves | _generic.near(random, floats)
    fresh = leaves | _generic.fresh(random, floats)
    first, *others = groups
    spots = [(near, *first), *((w, *g) for g in others for w in (near, fresh))]
    if len(groups) != 2:  # there are no given inputs
        spots.insert(1, (fresh, *first))
    runner = Runner(
        probe,
        spec,
        tuple(floats),
        jax.device_put(_generic.noise(random, floats, _noise.NUM_NOISE)),
        _moves.identity(spec, spec.sizes(params)),
        programs.remembered(
            functools.partial(_mover, probe.call, spec),
            spec,
            calls={"apply": (probe.call, (near, first[1]))},
        ),
        tolerance,
    )
    return runner, spots


def run(runner: Runner, place: Place, element=None, skipped: int = -1, change=None):
    """Return outputs, their largest differences `[n]` from the reference, and its size.

    The network is moved by `element`, but for the parameter with the number `skipped`,
    and its weights are changed as `_noise` says.
    """
    zeros = np.zeros(len(runner.paths))
    return runner.program(
        place.leaves,
        runner.noise,
        runner.rest if element is None else element,
        np.int32(skipped),
        (0, zeros, zeros) if change is None else change,
        place.inputs,
        place.reference,
    )


def look(runner: Runner, spot: Spot) -> Place:
    """Return a place with the outputs there, and the tolerances."""
    leaves, name, inputs = spot
    probe = runner.probe
    nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), probe.shapes)
    empty = np.zeros(0)
    place = Place(name, jax.device_put(leaves), inputs, nothing, empty, empty, empty)
    place = place._replace(reference=run(runner, place)[0])
    double = dict.fromkeys(runner.paths, np.float64)
    changes = _noise.floor(probe.eps, double)
    runs = [run(runner, place, change=change) for change in changes]
    differences, scale = np.array([x[1] for x in runs]), np.asarray(runs[0][2])
    allowed, smooth = _noise.measure(differences, scale, probe, runner.tolerance)
    return place._replace(allowed=allowed, smooth=smooth, scale=scale)


def fold(
    runner: Runner, place: Place, space: symmetry.Space
) -> tuple[np.ndarray, Place]:
    """Shift the phases of a space by up to 1.3 turns, and fold them.

    Returns the differences `[n]` that folding makes, and the place after the shift.
    """
    program = programs.remembered(
        functools.partial(_folder, runner.probe.call, runner.spec, space),
        runner.spec,
        space,
        calls={"apply": (runner.probe.call, (place.leaves, place.inputs))},
    )
    difference, scale = map(np.asarray, program(place.leaves, place.inputs))
    if runner.tolerance is not None:
        return difference, place._replace(allowed=runner.tolerance * scale, scale=scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(place.scale > 0, scale / place.scale, 1.0)
    # Phases of more than a turn are rounded more than those of the noise.
    allowed = 10 * place.allowed * np.maximum(growth, 1.0)
    return difference, place._replace(allowed=allowed, scale=scale)


def names(places: Sequence[Place]) -> str:
    """Return the inputs that were tried, in words."""
    return " and ".join(dict.fromkeys(place.name for place in places))


def _mover(call: Callable[..., Any], spec: symmetry.SymmetrySpec):
    """Return the program that runs a network moved by an element.

    The parameter with the number `skipped` stays where it is; -1 for none.
    """

    def program(leaves, noise, element, skipped, change, inputs, reference):
        params = symmetry.unflatten(leaves)
        moved = symmetry.flatten(symmetry.act(element, params, spec))
        for index, path in enumerate(noise):
            moved[path] = jnp.where(skipped == index, leaves[path], moved[path])
        moved = {path: moved[path] for path in leaves}
        outputs = _noise.apply_changed(call, moved, noise, change, inputs)
        return outputs, *_probe.differences(outputs, reference)

    return jax.jit(program)


def _folder(call: Callable[..., Any], spec, space: symmetry.Space):
    """Return the program that shifts the phases of a space, then folds them."""

    def program(leaves, inputs):
        shifted, folded = _shift_and_fold(leaves, spec, space)
        return _probe.differences(call(folded, inputs), call(shifted, inputs))

    return jax.jit(program)


def _shift_and_fold(leaves, spec: symmetry.SymmetrySpec, space: symmetry.Space):
    """Return parameters with large phases in one space, and the same ones folded."""
    assert space.frequency is not None
    [path] = [p for p, axes in spec.axes if axes == (symmetry.Axis(space.name),)]
    turns = np.linspace(-1.3, 1.3, leaves[path].size)
    shifted = {**leaves, path: leaves[path] + turns * (2 * np.pi / space.frequency)}
    alone = tuple(
        s if s == space else dataclasses.replace(s, frequency=None) for s in spec.spaces
    )
    spec = dataclasses.replace(spec, spaces=alone)
    folded = symmetry.fold_phases(symmetry.unflatten(shifted), spec)
    return shifted, symmetry.flatten(folded)
