"""Coordinate descent over the spaces, from every start.

One space is solved while all others stay, and only if one of those it is compared by
has moved since. What no other space moves is compared once.
"""

import functools
import operator
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import (
    _fibres,
    _frame,
    _projection,
    _scales,
    _similarity,
)
from symmerge_jax.typing import Array, Path

MAX_SIDE_BY_SIDE = 64
"""Widest space, in neurons, of networks whose starts are taken side by side."""

PATIENCE = 4
"""Sweeps like its last within which a start must reach what another has reached."""


class Options(NamedTuple):
    """What `WeightMatching` allows, by the names of its attributes."""

    permute: bool
    rescale: bool
    scales: str
    order: str
    tolerance: float
    max_sweeps: int


class State(NamedTuple):
    """Where one descent stands.

    Attributes:
      element: the element reached.
      objective: `[max_sweeps + 1]` its history.
      stale: by space, `[]`: what its neurons are compared by was moved since it was
        last solved. A space that is not stale would be solved as before.
      num_sweeps: `[]` sweeps done.
      finished: `[]` whether the last sweep gained too little for another one.
      hopeless: `[]` whether another start has reached what this one hardly will.
    """

    element: symmetry.GroupElement
    objective: Array
    stale: Mapping[str, Array]
    num_sweeps: Array
    finished: Array
    hopeless: Array


class _Still(NamedTuple):
    """What two networks are alike in one space by parameters that only it moves.

    Attributes:
      paths: of the parameters.
      turned: `[*over, n, n]`, see `_similarity.compare`.
      kept: the same.
    """

    paths: frozenset[Path] = frozenset()
    turned: Array | None = None
    kept: Array | None = None


def descend(options: Options, key, starts, pair: _frame.Pair, unit) -> State:
    """Descend from each of `_starts.Start`, `[num_starts]`.

    Side by side, narrow spaces of all starts are solved at once. Wide ones are so
    much work that it pays to solve only what is stale, which takes one start at a
    time; and to give one up that will hardly reach what another has reached.
    """
    numbers = pair.numbers
    each = (
        jax.random.split(key, len(starts)),
        jax.tree.map(lambda *leaves: numbers.stack(leaves), *starts),
    )
    one = functools.partial(_descend, options, pair, unit, _still(options, pair))
    sizes = pair.spec.sizes(pair.shapes)
    widest = max((sizes[s.name] for s in pair.spec.matched_spaces), default=0)
    bound = numbers.full((), np.inf, unit.dtype)
    if widest <= MAX_SIDE_BY_SIDE and numbers is jnp:
        return jax.vmap(one, (None, 0))(bound, each)

    def one_more(bound, start):
        final = one(bound, start)
        if widest <= MAX_SIDE_BY_SIDE:
            return bound, final
        return numbers.minimum(bound, final.objective[-1]), final

    return programs.control(numbers).scan(one_more, bound, each)[1]


def _still(options, pair) -> dict[str, _Still]:
    """Compare once, by space, what nothing moves but the space itself.

    Its products are kept, unless the networks are on disk to save memory.
    """
    if pair.is_stored or (options.rescale and options.scales == "matched"):
        return {}
    spec, found = pair.spec, {}
    for space in spec.matched_spaces:
        paths = _still_paths(pair.shapes, spec, space.name)
        if not paths or _fibres.fibres(spec, space):
            continue
        units = pair.units(space.name)
        part = symmetry.part_of(spec, paths)
        pieces = pair.pieces(part, pair.part(part), {}, whole=[space.name])
        compared = _similarity.compare_all(pieces, space.name, units)
        found[space.name] = _Still(paths, *compared)
    return found


def _descend(options, pair, unit, still, bound, each) -> State:
    """Sweep over the spaces from one start until a sweep gains too little.

    Given up where the distance is so far above `bound` that `PATIENCE` sweeps like
    the last would not get there: mostly each improves less than the one before.
    """
    key, (start, distance_at_start) = each
    spaces, numbers = pair.spec.matched_spaces, pair.numbers
    control = programs.control(numbers)
    units = {space.name: pair.units(space.name) for space in spaces}

    def distance(spec, element):
        return _frame.distance(pair, element, spec, unit)

    step = functools.partial(_step, options, pair, units, still, distance)

    def sweep(state: State) -> State:
        if options.order == "forward":
            for space in spaces:
                state = step(space, True, state)
                pair.report(space.name)
        else:
            order_key = jax.random.fold_in(key, state.num_sweeps)
            order = jax.random.permutation(order_key, len(spaces))
            for chosen in order:
                # Lifted by `vmap`, all branches run: only one solves its problem.
                branches = [
                    functools.partial(step, space, chosen == number)
                    for number, space in enumerate(spaces)
                ]
                state = control.switch(chosen, branches, state)
        num_sweeps = state.num_sweeps + 1
        later = numbers.arange(options.max_sweeps + 1) >= num_sweeps
        reached = distance(pair.spec, state.element)
        objective = numbers.where(later, reached, state.objective)
        before = state.objective[num_sweeps - 1]
        gain = before - reached  # may be negative where scales follow those of `a`
        return State(
            state.element,
            objective,
            state.stale,
            num_sweeps,
            finished=_is_settled(state) | (abs(gain) < options.tolerance * before),
            hopeless=reached - bound > PATIENCE * gain,
        )

    objective = numbers.full(options.max_sweeps + 1, distance_at_start)
    stale = {space.name: numbers.ones((), bool) for space in spaces}
    state = State(
        start,
        objective,
        stale,
        num_sweeps=numbers.zeros((), int),
        finished=numbers.full((), not spaces),
        hopeless=numbers.zeros((), bool),
    )
    return control.while_loop(
        lambda state: (
            ~state.finished & ~state.hopeless & (state.num_sweeps < options.max_sweeps)
        ),
        sweep,
        state,
    )


def _step(options, pair, units, still, distance, space, due, state) -> State:
    """Solve one space exactly; keep its permutation unless that is better.

    Nothing is computed if the space is not due, or not stale.
    """
    names = [
        space.name, *(s.name for s in _fibres.fibres(pair.spec, space))
    ]  # fmt: skip
    numbers = pair.numbers
    where = numbers.asarray(state.stale[space.name] & due)

    def solve(element):
        return _improve(
            options, pair, units, still, distance, space, names, element, where
        )

    def keep(element):
        return {n: element[n] for n in names}, numbers.zeros((), bool)

    # Lifted by `vmap`, both are computed: `where` spares the assignment problem.
    found, moved = programs.control(numbers).cond(where, solve, keep, state.element)
    stale = {**state.stale, space.name: state.stale[space.name] & ~where}
    for changed in found:
        neighbours = _neighbours(pair.spec, changed)
        stale |= {n: stale[n] | moved for n in stale if n in neighbours}
    return state._replace(element=state.element | found, stale=stale)


def _improve(options, pair, units, still, distance, space, names, element, where):
    """Return the best monomials of a space and its fibres, and whether they moved.

    The present ones stay unless the others are better.
    """
    near = _similarity.around(pair.spec, *names)
    spec, beside, part = _similarity.apart(near, space.name, *pair.part(near))
    others = symmetry.within(element, near)
    others = {n: g for n, g in others.items() if n not in names}
    if beside is not None:
        others[beside] = element[space.name]
    pieces = pair.pieces(spec, part, others, whole=names)
    present = {name: element[name] for name in names}
    if len(names) > 1 or beside:
        products = _fibres.compare(
            pieces, spec, space, units[space.name], rescale=options.rescale
        )
        found = _fibres.choose(
            *(products, spec, space),
            **dict(permute=options.permute, rescale=options.rescale, where=where),
        )
        new, old = (distance(near, x) for x in (element | found, element))
        # Rounding must not pass for an improvement: equal neurons would cycle.
        better = where & (new < old * (1 - 8 * float(jnp.finfo(new.dtype).eps)))
        moved = better
    else:
        found, present, better, moved = _solve(
            options, pieces, space, units, still, present, where
        )
    chosen = {
        name: jax.tree.map(
            lambda new, old: pair.numbers.where(better[..., None], new, old),
            found[name],
            present[name],
        )
        for name in names
    }
    return chosen, moved


def _solve(options, pieces, space, units, still, present, where):
    """Return best and present monomial, where the best is better, whether it moved.

    Matched scales of the present one follow those of its partners.
    """
    name = space.name
    before = current = present[name]
    scale_group = space.group is symmetry.Group.SCALE
    if options.rescale and options.scales == "matched" and scale_group:
        [(spec, a, b)] = pieces
        compared = _scales.scaled_similarity(a, b, spec, name)
        current = _scales.rescale(compared, before)
        found = _scales.project(compared, permute=options.permute, where=where)
        gain = functools.partial(_scales.gain, compared)
        size = (compared.written_norm + compared.read_norm).sum()
    else:
        known = still.get(name, _Still())
        products = _similarity.compare_all(pieces, name, units[name], known.paths)
        compared, kept = map(_similarity.plus, products, (known.turned, known.kept))
        assert compared is not None
        found = _projection.project(
            compared,
            space.group,
            unsigned=kept,
            permute=options.permute and space.is_permuted,
            rescale=options.rescale,
            where=where,
        )
        gain = functools.partial(_projection.gain, compared, unsigned=kept)
        size = abs(compared).max(-1).sum(-1)
        size = size + (0 if kept is None else abs(kept).max(-1).sum(-1))
    eps = float(jnp.finfo(size.dtype).eps)
    better = where & (gain(found) > gain(current) + 8 * eps * size)
    change = abs(current.scale - before.scale) > 64 * eps * before.scale
    moved = better.any() | (scale_group & change.any())
    return {name: found}, {name: current}, better, moved


def _still_paths(params, spec, space: str) -> frozenset[Path]:
    """Return the parameters of a space that no other space moves.

    Only those with enough weights per neuron that it pays to keep their products.
    """
    matched = {s.name for s in spec.matched_spaces} - {space}
    leaves, size = symmetry.flatten(params), spec.sizes(params)[space]
    used = [path for path, _, _ in spec.uses(space, 1, 0, -1)]
    found = set()
    for path, axes in spec.atomic_axes:
        moving = [axis for axis in axes if axis is not None]
        names = {n for axis in moving for n in (axis.space, *dict(axis.also))}
        large = used.count(path) == 1 and 4 * leaves[path].size >= size**2
        if large and not names & matched:
            found.add(path)
    return frozenset(found)


def _neighbours(spec, space: str) -> set[str]:
    """Return the other spaces that share a parameter with a space."""
    together = (
        {axis.space for axis in axes if axis is not None}
        for _, axes in spec.atomic_axes
    )
    return set().union(*(names for names in together if space in names)) - {space}


def _is_settled(state) -> Array:
    """Return whether no space may still improve, `[]`."""
    numbers = programs.namespace(state)
    stale = [numbers.zeros((), bool), *state.stale.values()]
    return numbers.asarray(~functools.reduce(operator.or_, stale))
