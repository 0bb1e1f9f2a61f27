"""Mistakes that can be made in a spec, and whether they are any."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.symmetry import Axis, Group, SymmetrySpec


def mutations(spec: SymmetrySpec) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield a name and the fields of specs with one mistake each."""
    for path, axes in spec.atomic_axes:
        name = symmetry.name(path)
        for i, axis in enumerate(axes):
            if axis is None:
                continue
            put = lambda a, path=path, axes=axes, i=i: _put(spec, path, axes, i, a)  # noqa: E731
            yield f"axis {i} of {name} dropped", put(None)
            for power in {-1, 0, 1} - {axis.power}:
                changed = dataclasses.replace(axis, power=power)
                yield f"axis {i} of {name} to power {power}", put(changed)
            for other in spec.spaces:
                if other.name != axis.space:
                    changed = dataclasses.replace(axis, space=other.name)
                    yield f"axis {i} of {name} over {other.name}", put(changed)
            if axis.repeat > 1:
                size = dataclasses.replace(axis, repeat=1)
                yield f"axis {i} of {name} without repeat", put(size)
            copy = f"{axis.space}_copy"
            yield (
                f"axis {i} of {name} over a copy of {axis.space}",
                put(dataclasses.replace(axis, space=copy)),
            )
        for i, j in itertools.combinations(range(len(axes)), 2):
            swapped = list(axes)
            swapped[i], swapped[j] = axes[j], axes[i]
            yield f"axes {i} and {j} of {name} swapped", _with(spec, path, swapped)
    for space in spec.spaces:
        for group in set(Group) - {space.group}:
            changed = dataclasses.replace(space, group=group, frequency=None)
            yield f"{space.name} as {group}", _with_space(spec, changed)
        if space.frequency is not None:
            for factor in (0.97, 2.0):
                changed = dataclasses.replace(space, frequency=factor * space.frequency)
                yield f"{space.name} at {factor} frequency", _with_space(spec, changed)
    for one, other in itertools.combinations(spec.spaces, 2):
        yield f"{one.name} and {other.name} merged", _merged(spec, one, other)


def build(fields: tuple[Any, ...], params: Any) -> SymmetrySpec | None:
    """Return the spec that a mutation describes, None where it is refused at once."""
    try:
        made = SymmetrySpec(*fields)
        made.sizes(params)
    except ValueError:
        return None
    return made


def is_true(case: Any, spec: SymmetrySpec, num_draws: int = 4) -> bool:
    """Return whether a spec is a symmetry of a network after all, by trying it."""
    with jax.enable_x64(True):
        for seed in range(num_draws):
            random = np.random.default_rng(seed)
            params = jax.tree.map(
                lambda x: (
                    x * random.uniform(0.5, 1.5, x.shape)  # noqa: B023
                    if x.dtype.kind == "f"
                    else x
                ),
                case.draw(random),
            )
            params = jax.tree.map(
                lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x, params
            )
            for space in spec.spaces:
                if space.frequency is None:
                    continue
                path = next(p for p, a in spec.atomic_axes if a == (Axis(space.name),))
                params[path[0]][path[1]] *= 4  # phases of more than a quarter turn
            inputs = case.inputs(random)
            element = symmetry.sample(
                jax.random.key(seed), spec, spec.sizes(params), scale_std=0.7
            )
            folded = symmetry.fold_phases(params, spec)
            moved = symmetry.act(element, folded, spec)
            before, after = (
                jax.tree.leaves(case.apply(p, inputs)) for p in (params, moved)
            )
            for x, y in zip(before, after, strict=True):
                x, y = np.asarray(x), np.asarray(y)
                axes = tuple(range(x.ndim - 1))
                if (np.abs(x - y).max(axes) > 1e-8 * np.abs(x).max(axes)).any():
                    return False
    return True


def _put(spec, path, axes, index, axis):
    return _with(spec, path, [*axes[:index], axis, *axes[index + 1 :]])


def _with(spec, path, axes):
    """Return the fields of a spec with other axes of a parameter, and with copies."""
    found = tuple((p, tuple(axes) if p == path else a) for p, a in spec.atomic_axes)
    used = {a.space for _, leaf in found for a in leaf if a is not None}
    spaces = []
    for space in spec.spaces:
        spaces += [space] if space.name in used else []
        copy = f"{space.name}_copy"
        if copy in used:
            spaces.append(dataclasses.replace(space, name=copy, frequency=None))
    return found, tuple(spaces), spec.statistics


def _with_space(spec, space):
    spaces = tuple(space if s.name == space.name else s for s in spec.spaces)
    return spec.axes, spaces, spec.statistics


def _merged(spec, one, other):
    axes = tuple(
        (path, tuple(_renamed(a, other.name, one.name) for a in axes))
        for path, axes in spec.axes
    )
    return axes, tuple(s for s in spec.spaces if s != other), spec.statistics


def _renamed(axis, old, new):
    if axis is None or axis.space != old:
        return axis
    return dataclasses.replace(axis, space=new)
