"""What outputs say about two networks: equal, changed, or not tested."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from symmerge_jax.certificates import _noise, _probe

_PRECISE = 1e-4  # of an output: what rounding hides below this, no user would find


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Notes:
    """What a certificate says in words of each pair: no leaves of the tree that it is.

    Where the worst output was seen, and why nothing was tested, empty if it was.
    """

    pairs: tuple[tuple[str, str], ...]


class Certificate(NamedTuple):
    """How far two networks, or `N` pairs of networks, differ as functions.

    All numbers are those of the worst output neuron: the one whose difference is the
    largest in units of what it may be.

    Attributes:
      max_difference: `[*N]` float64, largest absolute difference of that output;
        infinite if one of the two is not finite.
      output_scale: `[*N]` float64, its largest absolute value, for comparison.
      tolerance: `[*N]` what `max_difference / output_scale` may be: a multiple of what
        rounding does to this output, or the tolerance that was asked for.
      tested: `[*N]` boolean, whether a mistake would have shown.
      notes: for each pair in words, which output neuron it is and at which inputs, and
        why nothing was tested.
    """

    max_difference: np.ndarray
    output_scale: np.ndarray
    tolerance: np.ndarray
    tested: np.ndarray
    notes: "Notes"

    @property
    def passed(self) -> np.ndarray:
        """`[*N]` boolean: the functions are equal up to the tolerance."""
        return np.asarray(self._are_equal() & self.tested)

    def require(self, what: str) -> None:
        """Refuse a transformation of `what` that has changed a function, or may have.

        Raises:
          ValueError: the first pair that has not passed, its difference and the
            tolerance, or why nothing was tested.
        """
        failed = np.flatnonzero(~self.passed)
        if not failed.size:
            return
        where, reason = self.notes.pairs[failed[0]]
        difference, scale, tolerance, equal = (
            np.ravel(field)[failed[0]] for field in (*self[:3], self._are_equal())
        )
        which = f" (number {failed[0]})" if np.size(self.passed) > 1 else ""
        if equal:
            raise ValueError(f"{what}{which} was not tested: {reason}.")
        if not np.isfinite(difference):
            raise ValueError(
                f"{what}{which} changed as a function: {where} is not finite. Look for"
                " overflow in the parameters: scales may leave the range of float16."
            )
        raise ValueError(
            f"{what}{which} changed as a function: outputs differ by {difference:.3g},"
            f" where they reach {scale:.3g} (allowed {tolerance * scale:.3g}), at"
            f" {where}. Either the spec does not fit the network, or its numbers are"
            " too imprecise for their size."
        )

    def _are_equal(self) -> np.ndarray:
        finite = np.isfinite(self.max_difference) & np.isfinite(self.output_scale)
        scale = np.where(finite, self.output_scale, 0)
        allowed = np.asarray(self.tolerance) * scale * (1 + 1e-9)
        return np.asarray(finite & (self.max_difference <= allowed))


class Verdict(NamedTuple):
    """What one group of inputs shows: of `N` pairs, `n` outputs, `k` spaces."""

    difference: np.ndarray  # [N, n]
    scale: np.ndarray  # [N, n]
    allowed: np.ndarray  # [N, n]
    smooth: np.ndarray  # [N, n]
    effect: np.ndarray  # [N, k]
    reached: np.ndarray  # [N, k], a mistake in the space would show
    harmless: np.ndarray  # [N, k], no mistake in the space could change outputs much


def judge(differences, scale, probe, tolerance) -> Verdict:
    """Say what the variants `[N, V, n]` mean."""
    ends = [1, 1 + _noise.NUM_FLOOR]
    difference, floor, mistakes = np.split(differences, ends, axis=1)
    allowed, smooth = _noise.measure(floor.swapaxes(0, 1), scale, probe, tolerance)
    effect = _noise.effect(mistakes, allowed[:, None], smooth[:, None])
    alive = np.isfinite(scale).all(-1) & (scale > 0).any(-1)
    reached = (effect >= _noise.POWER) & alive[:, None]
    exact = _noise.tolerances(np.zeros_like(scale), scale, probe.owners, None)
    silent = _noise.effect(mistakes, exact[:, None], smooth[:, None]) <= 1
    precise = (allowed <= _PRECISE * scale).all(-1)
    harmless = silent | precise[:, None]
    return Verdict(difference[:, 0], scale, allowed, smooth, effect, reached, harmless)


def collect(found, probe: _probe.Probe, spaces: Sequence[str]) -> Certificate:
    """Return the worst of all groups of inputs, by pair."""
    rows, notes = [], []
    for pair in range(len(found[0][2])):
        worst = None
        for where, verdict, counts in found:
            if not counts[pair]:
                continue
            difference, scale = verdict.difference[pair], verdict.scale[pair]
            allowed = verdict.allowed[pair]
            lost = ~np.isfinite(difference) | ~np.isfinite(scale)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(difference > 0, difference / allowed, 0)
            share = np.where(lost, np.inf, share)
            # Of outputs that do not differ at all the largest is shown.
            index = max(range(len(share)), key=lambda i: (share[i], scale[i]))
            rank = share[index], scale[index]
            if worst is None or rank > worst[0]:
                usual = 0 < scale[index] < np.inf
                relative = allowed[index] / scale[index] if usual else 0.0
                gap = np.inf if lost[index] else difference[index]
                name = f"{probe.names[index]} for {where}"
                worst = rank, (gap, scale[index], relative), name
        assert worst is not None
        reason = _reason(found, pair, spaces)
        rows.append((*worst[1], not reason))
        notes.append((worst[2], reason))
    gaps, sizes, relatives, tested = map(np.array, zip(*rows, strict=True))
    return Certificate(gaps, sizes, relatives, tested, Notes(tuple(notes)))


def _reason(found, pair: int, spaces: Sequence[str]) -> str:
    """Return why the equality of a pair would be no proof, or nothing."""
    reached = np.any([verdict.reached[pair] for _, verdict, _ in found], axis=0)
    harmless = np.all([verdict.harmless[pair] for _, verdict, _ in found], axis=0)
    # Of a space that is dead, or matters less than rounding, it does not matter how it
    # was moved, as long as others show that outputs are alive.
    if np.logical_or(reached, harmless).all() and reached.any():
        return ""
    names = " and ".join(where for where, _, _ in found)
    if not any((verdict.scale[pair] > 0).any() for _, verdict, _ in found):
        return (
            f"all outputs are zero for {names}: pass inputs= as the network gets them"
        )
    if not any(verdict.smooth[pair].any() for _, verdict, _ in found):
        return _noise.NOT_SMOOTH
    index = int(np.flatnonzero(~reached)[0])
    effect = max(verdict.effect[pair, index] for _, verdict, _ in found)
    space = f"space '{spaces[index]}'" if spaces else "the parameters"
    if effect > _noise.VISIBLE:
        return (
            f"a mistake in {space} would change outputs no more than rounding, or the"
            f" tolerance, may ({names}): keep the parameters, or compute, in a more"
            " precise type, or ask for a smaller tolerance"
        )
    return (
        f"inputs do not reach {space} ({names}), which no output depends on there: pass"
        " inputs= as the network gets them"
    )
