"""How far outputs move by rounding alone, and whether a mistake would stand out.

Rounding is imitated: every weight is changed by a few units of the type that it is kept
or computed in. What outputs then do is the floor below which nothing can be told. It is
measured for every output neuron, because outputs may be of very different size.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax.typing import Array, Path

NUM_NOISE = 3
_NUM_SMALL = 2
NUM_FLOOR = NUM_NOISE + _NUM_SMALL
"""Changes of `floor`."""

POWER = 5.0
"""Tolerances by which a mistake must change an output, or nothing is tested."""

VISIBLE = 0.1
"""Tolerances above which a mistake is hidden by rounding, not by inputs."""

NOT_SMOOTH = (
    "outputs do not depend smoothly on the parameters: apply should return logits or"
    " other values that do, not labels or saturated probabilities"
)

_FACTOR = 4.0  # of the largest of a few samples, which exceed what is rounded
_DOUBLE = float(np.finfo(np.float64).eps)
_FLOOR = 1e-12  # of an output: sums in another order, where rounding cancels by chance
_SMALL = 1e-4  # change of weights
_FOLLOWS = 1e-11  # change of an output that is not rounding

Change = tuple[int, np.ndarray, np.ndarray]
"""How weights are changed: sample of the noise, relative and absolute size `[L]`."""


def perturb(
    leaves: Mapping[Path, Array],
    noise: Mapping[Path, Array],
    sample: Any,
    relative: Any,
    absolute: Any,
) -> dict[Path, Array]:
    """Return weights changed at random by numbers of the noise, see `_generic.noise`.

    Leaf `l` changes by `relative[l]` of each entry, but at least by `absolute[l]`.
    """
    changed = dict(leaves)
    for index, (path, samples) in enumerate(noise.items()):
        leaf = leaves[path]
        drawn = samples[sample].astype(leaf.dtype) * (1 / 127)
        size = jnp.maximum(relative[index] * jnp.abs(leaf), absolute[index])
        changed[path] = leaf + drawn * size
    return changed


def floor(computed: float, stored: Mapping[Path, Any]) -> list[Change]:
    """Return the changes that `measure` reads: by rounding, then small ones."""
    small = max(_SMALL, 8 * computed)  # every smooth output follows it, but no label
    sizes = np.full(len(stored), small), np.zeros(len(stored))
    return [
        *(_rounding(computed, stored, k) for k in range(NUM_NOISE)),
        *((k, *sizes) for k in range(_NUM_SMALL)),
    ]


def measure(
    differences: np.ndarray, scale: np.ndarray, probe: Any, tolerance: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much outputs may change, and which are smooth, `[..., n]`.

    From the changes `[NUM_FLOOR, ..., n]` that `floor` makes of outputs of this size.
    """
    noise, responses = np.split(differences, [NUM_NOISE])
    allowed = tolerances(noise.max(axis=0), scale, probe.owners, tolerance)
    return allowed, _follow(responses, scale) & probe.smooth


def _rounding(computed: float, stored: Mapping[Path, Any], sample: int) -> Change:
    """Return the change by rounding: of leaves stored in their types, then computed."""
    units = np.array(
        [max(computed, float(jnp.finfo(dtype).eps)) for dtype in stored.values()]
    )
    # Many roundings add up where numbers are precise; coarse ones are not multiplied,
    # as little would be left to tell.
    relative = np.where(units < 1e-5, 8.0, 0.5) * units
    least = [float(jnp.finfo(dtype).smallest_normal) for dtype in stored.values()]
    coarse = [jnp.finfo(d).dtype.itemsize == 2 for d in stored.values()]
    absolute = np.where(coarse, np.array(least) * units, least)
    return sample, relative, absolute


def large(sizes: np.ndarray, chosen: np.ndarray) -> Change:
    """Return a change as large as a mistake makes, of the chosen leaves `[L]`.

    Zeros become a tenth of the size `[L]` of the entries.
    """
    return 0, 0.5 * chosen, 0.1 * sizes * chosen


def tolerances(
    noise: np.ndarray, scale: np.ndarray, owners: np.ndarray, tolerance: float | None
) -> np.ndarray:
    """Return by how much each output neuron may change, `[..., n]`.

    That is `tolerance * scale` where a tolerance was asked for. Otherwise it follows
    from the largest change by rounding (`noise`), neuron by neuron of each output
    (`owners`).
    """
    if tolerance is not None:
        return tolerance * scale
    allowed = np.empty(np.broadcast_shapes(noise.shape, scale.shape))
    for number in np.unique(owners):
        own = owners == number
        size = scale[..., own]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = np.where(size > 0, noise[..., own] / size, 0)
            # A neuron may be still by chance: none is stiller than most of its kind.
            usual = np.median(share, axis=-1, keepdims=True)
            floor = np.maximum(noise[..., own], usual * size) * _FACTOR
            least = 64 * _DOUBLE * size.max(axis=-1, keepdims=True)
            allowed[..., own] = floor + _FLOOR * size + least
    return np.asarray(np.where(np.isnan(allowed), np.inf, allowed))


def _follow(responses: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return which outputs `[..., n]` answer every small change, by `[k, ..., n]`."""
    least = np.where(np.isfinite(responses), responses, 0).min(axis=0)
    return (least > _FOLLOWS * scale) & (least > 0)


def effect(changes: np.ndarray, allowed: np.ndarray, smooth: np.ndarray) -> Any:
    """Return the largest change `[...]` of smooth outputs, in units of tolerance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(changes > 0, changes / allowed, 0)
    return np.where(np.isfinite(changes) & smooth, share, 0).max(axis=-1, initial=0)


def apply_changed(
    call: Callable[..., Any], leaves: Any, noise: Any, change: Any, inputs: Any
) -> Any:
    """Return the outputs of a network whose weights are changed, or left alone."""
    sample, relative, absolute = change
    changed = jax.lax.cond(
        jnp.any((relative > 0) | (absolute > 0)),
        lambda: perturb(leaves, noise, sample, relative, absolute),
        lambda: dict(leaves),
    )
    return call(changed, inputs)
