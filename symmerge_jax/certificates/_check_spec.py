"""Whether a spec is the symmetry of a network: every space is moved and looked at.

A test that cannot fail is none. So every move is also made wrongly, with one parameter
that stays: if outputs do not show it, nothing is known about the space.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.certificates import (
    _generic,
    _moves,
    _network,
    _noise,
    _places,
    _probe,
)
from symmerge_jax.typing import Key, Params, Path

_Seen = dict[tuple[int, Path], float]
"""How clearly outputs show a move that leaves one parameter out, in tolerances."""


def check_spec(
    params: Params,
    network: Any,
    *,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    input_shape: Sequence[int] | None = None,
    key: Key | None = None,
    tolerance: float | None = None,
) -> None:
    """Refuse a spec that is not the symmetry of a network, or that cannot be tested.

    Every space is moved alone: by permutations, then by random signs or scales, as its
    group has them; phases of periodic spaces are shifted and folded. A spec belongs to
    an architecture, so this is done at generic weights: near the given ones, with zeros
    filled (a bias of zeros fits any spec), and as of a new network.

    Args:
      params: parameters of one network, or of a batch: its first one is checked.
      network: a `networks.Network`, or the symmetry to check and `apply`.
      apply: see `certify`.
      inputs: see `certify`.
      input_shape: see `certify`.
      key: of weights, elements and inputs; None for `jax.random.key(0)`.
      tolerance: see `certify`.

    Raises:
      TypeError: an `apply` that is not pure, or traced arrays.
      ValueError: names the first space that does not fit, what was done to it, by how
        much outputs changed, and the parameters that use it; or a space on which no
        output depends; or, as `certify`, parameters or inputs that do not fit.
    """
    _network.refuse_traced(params, inputs)
    tried = _network.read(network, apply, inputs, input_shape)
    spec = tried.spec
    random = _generic.generator(key)
    with _probe.double_precision():
        one = _network.as_double(_network.first(params, spec))
        groups = _network.make_inputs(random, tried, one)
        probe = _probe.probe(tried, one, groups[0][1], params)
        moves = _moves.moves(random, spec, spec.sizes(one))
        if not moves:
            return
        runner, spots = _places.prepare(random, probe, one, spec, groups, tolerance)
        seen = {
            (index, path): 0.0
            for index, move in enumerate(moves)
            if move.tested
            for path in _moves.users(spec, move.space)
            if path in runner.paths
        }
        places = []
        # The first spots always; the others as long as a space is not reached.
        num_first = 2 if tried.inputs is None else len(spots)
        for number, spot in enumerate(spots):
            if number >= num_first and not _unreached(moves, seen):
                break
            place = _places.look(runner, spot)
            if not np.isfinite(place.scale).all():
                if number:  # generic weights or inputs need not be of the domain
                    continue
                raise ValueError(
                    f"The spec was not tested: outputs are not finite for {place.name}:"
                    " pass inputs= as the network gets them."
                )
            places.append(place)
            _require_kept(runner, place, moves)
            _watch_mistakes(runner, place, moves, seen)
        _require_reached(runner, places, moves, seen)
        if tried.inputs is not None and not (
            len(places) == len(spots) and _generic.vary(groups[1][1])
        ):
            _require_influence(runner, places)


def _require_kept(runner, place: _places.Place, moves) -> None:
    """Refuse the first move that changes outputs."""
    runs = [_places.run(runner, place, move.element) for move in moves]
    for move, (_, difference, _) in zip(moves, runs, strict=True):
        _require_same(move, np.asarray(difference), place, runner)
    for space in _moves.periodic(runner.spec):
        what = f"folding the phases at frequency {space.frequency:g} of"
        difference, shifted = _places.fold(runner, place, space)
        _require_same(_moves.Move(space, what, {}, False), difference, shifted, runner)


def _watch_mistakes(runner, place: _places.Place, moves, seen: _Seen) -> None:
    """Hold back each parameter of each move, where that has not shown yet."""
    pending = [item for item, value in seen.items() if value < _noise.POWER]
    runs = [
        _places.run(runner, place, moves[index].element, runner.paths.index(path))
        for index, path in pending
    ]
    for item, (_, difference, _) in zip(pending, runs, strict=True):
        effect = _noise.effect(np.asarray(difference), place.allowed, place.smooth)
        seen[item] = max(seen[item], float(effect))


def _unreached(moves, seen: _Seen) -> list[tuple[symmetry.Space, float]]:
    """Return the spaces whose mistakes do not show, and how little they do."""
    best = [
        max((value for (i, _), value in seen.items() if i == index), default=0.0)
        for index in range(len(moves))
    ]
    return [
        (move.space, value)
        for move, value in zip(moves, best, strict=True)
        if move.tested and value < _noise.POWER
    ]


def _require_reached(runner, places, moves, seen: _Seen) -> None:
    """Refuse a spec whose mistakes would not have been seen."""
    names = _places.names(places)
    unreached = _unreached(moves, seen)
    if not unreached:
        return
    is_zero = not any((place.scale > 0).any() for place in places)
    if not is_zero and not any(place.smooth.any() for place in places):
        raise ValueError(f"The spec was not tested: {_noise.NOT_SMOOTH} ({names}).")
    space, value = unreached[0]
    if value > _noise.VISIBLE:
        raise ValueError(
            f"The spec was not tested: a mistake in space '{space.name}' would change"
            f" outputs no more than rounding, or the tolerance, may ({names}): compute"
            " in a more precise type, or ask for a smaller tolerance."
        )
    raise ValueError(
        f"The spec was not tested: inputs do not reach space '{space.name}', on which"
        f" no output depends for {names}. It is used by"
        f" {_moves.describe_uses(runner.spec, space)}: pass inputs= as the network gets"
        " them."
    )


def _require_influence(runner, places) -> None:
    """Refuse inputs that are all alike, where a parameter does not matter for them.

    At inputs that vary it may do so: a bias before a normalisation never matters.
    """
    axes = dict(runner.spec.axes)
    for index, path in enumerate(runner.paths):
        if path not in runner.probe.read or not any(axes[path]):
            continue
        chosen = np.arange(len(runner.paths)) == index
        change = _noise.large(np.ones(len(chosen)), chosen)
        runs = [_places.run(runner, place, change=change)[1] for place in places]
        effects = [
            _noise.effect(np.asarray(difference), place.allowed, place.smooth)
            for place, difference in zip(places, runs, strict=True)
        ]
        if max(effects) < _noise.POWER:
            raise ValueError(
                "The spec was not tested: no output depends on parameter"
                f" '{symmetry.name(path)}' for {_places.names(places)}: pass inputs="
                " that vary, as the network gets them."
            )


def _require_same(move, difference, place: _places.Place, runner) -> None:
    """Refuse a move that has changed outputs."""
    wrong = ~(difference <= place.allowed)
    if not wrong.any():
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        index = int(np.nanargmax(np.where(wrong, difference / place.allowed, -1.0)))
    raise ValueError(
        f"The spec does not fit the network: {move.what} the neurons of space"
        f" '{move.space.name}' ({move.space.group}) changes outputs by"
        f" {difference[index]:.3g} (allowed {place.allowed[index]:.3g}), where they"
        f" reach {place.scale[index]:.3g}, at {runner.probe.names[index]} for"
        f" {place.name}. The space is used by"
        f" {_moves.describe_uses(runner.spec, move.space)}: correct the axes, or give"
        " the space another group or frequency."
    )
