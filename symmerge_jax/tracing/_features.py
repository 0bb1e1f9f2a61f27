"""Values of the neurons, read off the program where parameters read them.

The program is run once more, equation by equation. Before each equation that is known
to read a space its operand is kept, and its axes are brought into the order of
features: samples first, the neurons of the space last.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from symmerge_jax import programs, symmetry
from symmerge_jax.tracing._traced import Part, Place, Traced
from symmerge_jax.typing import Array, Params

_PROGRAMS = ("call_jaxpr", "jaxpr", "fun_jaxpr", "call")


def visible(traced: Traced) -> dict[int, Place]:
    """Return where the values of spaces can be seen, of those that have a place.

    Not of a space whose values depend on no sample, or that stands twice on them, nor
    of one together with spaces over it: heads have no values but their dimensions'.
    """
    return {
        number: place
        for number, place in traced.places.items()
        if _arrange(None, place.axes, *_wanted(traced, number)) is not None
    }


def make_features(
    apply: Callable[..., Any], traced: Traced, names: dict[int, str]
) -> Callable[..., dict[str, Array]]:
    """Return `features(params, *inputs) -> {space: [S, ..., *over, n]}`.

    Args:
      apply: the function that was traced.
      traced: what was found.
      names: names of the spaces that are wanted.

    Returns:
      The function. It takes any number of samples `S`, the first axis of the first
      input; the program must be the one that was traced.
    """
    places = {n: p for n, p in visible(traced).items() if n in names}

    def features(params: Params, *inputs: Any) -> dict[str, Array]:
        arrays = {
            path: leaf
            for path, leaf in symmetry.flatten(params).items()
            if symmetry.is_array(leaf)
        }

        def call(flat, xs):
            leaves = dict(zip(arrays, flat, strict=True))
            return apply(symmetry.rebuild(params, leaves), *xs)

        flat = list(arrays.values())
        closed = jax.make_jaxpr(call)(flat, inputs)
        arguments = [*flat, *jax.tree.leaves(inputs)]
        found: dict[int, Array] = {}
        _run(closed, arguments, (), places, found)
        return {
            names[number]: _arranged(found[number], place, *_wanted(traced, number))
            for number, place in places.items()
        }

    return features


def _wanted(traced: Traced, number: int) -> tuple[tuple[int, ...], frozenset[int]]:
    """Return the spaces of the last axes, and those that must not be there."""
    spaces = traced.spaces
    inner = frozenset(
        other
        for other, space in spaces.items()
        if number in space.over and space.pinned is None
    )
    return (*spaces[number].over, number), inner


def _arranged(value: Array, place: Place, *wanted: Any) -> Array:
    array = _arrange(value, place.axes, *wanted)
    assert array is not None and not isinstance(array, bool)
    return array


def _arrange(
    value: Array | None,
    axes: Sequence[Part],
    last: Sequence[int],
    without: frozenset[int],
) -> Array | bool | None:
    """Return a value with samples first and these spaces last; None if it has not all.

    Without a value, True where there would be one.
    """
    parts = list(axes)
    while (i := _first_to_cut(parts, last)) is not None:
        part = parts[i]
        if part.kind == "product":
            if value is not None:
                sizes = [-1 if _has_batch(p) else p.size for p in part.parts]
                value = value.reshape(*value.shape[:i], *sizes, *value.shape[i + 1 :])
            parts[i : i + 1] = part.parts
            continue
        sought = [bool(_spaces(piece) & set(last)) for piece in part.parts]
        number = sought.index(True) if any(sought) else 0
        piece, start = part.parts[number], sum(p.size for p in part.parts[:number])
        if value is not None:
            value = jax.lax.slice_in_dim(value, start, start + piece.size, axis=i)
        parts[i] = piece
    spaces = [part.space for part in parts]
    batch = [i for i, part in enumerate(parts) if part.is_batch]
    crowded = set().union(*map(_spaces, parts)) & without
    if len(batch) != 1 or crowded or any(spaces.count(n) != 1 for n in last):
        return None
    if value is None:
        return True
    behind = [spaces.index(n) for n in last]
    rest = [i for i in range(len(parts)) if i not in (*batch, *behind)]
    return jnp.transpose(value, (*batch, *rest, *behind))


def _first_to_cut(parts: Sequence[Part], last: Sequence[int]) -> int | None:
    for i, part in enumerate(parts):
        if part.kind and (_spaces(part) & set(last) or _has_batch(part)):
            return i
    return None


def _spaces(part: Part) -> set[int]:
    own = set() if part.space is None else {part.space}
    return own.union(*map(_spaces, part.parts))


def _has_batch(part: Part) -> bool:
    return part.is_batch or any(map(_has_batch, part.parts))


def _run(
    jaxpr: Any,
    arguments: Sequence[Any],
    where: tuple[int, ...],
    places: dict[int, Place],
    found: dict[int, Array],
) -> list[Any]:
    """Run a program; put the values at the places into `found`."""
    constants: Sequence[Any] = ()
    if isinstance(jaxpr, core.ClosedJaxpr):
        jaxpr, constants = jaxpr.jaxpr, jaxpr.consts
    values = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= zip(jaxpr.invars, arguments, strict=True)

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for i, equation in enumerate(jaxpr.eqns):
        here = (*where, 0, i)
        operands = [read(atom) for atom in equation.invars]
        inside = {
            n: place
            for n, place in places.items()
            if place.where[: len(here)] == here and len(place.where) > len(here)
        }
        if inside and equation.primitive.name == "scan":
            results = _scan(equation, operands, here, inside, found)
        elif inside:
            program = next(
                equation.params[p] for p in _PROGRAMS if p in equation.params
            )
            results = _run(program, operands, here, inside, found)
        else:
            bound = equation.primitive.get_bind_params(equation.params)
            functions, params = bound if isinstance(bound, tuple) else ((), bound)
            results = equation.primitive.bind(*functions, *operands, **params)
            if not equation.primitive.multiple_results:
                results = [results]
        for n, place in places.items():
            if place.where == here:
                at = place.operand
                found[n] = jnp.asarray(operands[at] if at >= 0 else results[0])
        values |= zip(equation.outvars, results, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _scan(equation, operands, here, places, found) -> list[Any]:
    """Run a scan whose steps are looked into; what they show is stacked."""
    params = equation.params
    num_consts, num_carry = programs.scan_counts(equation)
    first = num_consts + num_carry
    consts, carry = operands[:num_consts], operands[num_consts:first]

    def step(carry, row):
        seen: dict[int, Array] = {}
        arguments = [*consts, *carry, *row]
        results = _run(params["jaxpr"], arguments, here, places, seen)
        return results[:num_carry], (results[num_carry:], seen)

    carry, (stacked, seen) = jax.lax.scan(
        step,
        carry,
        operands[first:],
        length=params["length"],
        reverse=params["reverse"],
    )
    found |= seen
    return [*carry, *stacked]
