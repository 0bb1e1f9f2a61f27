"""Weights and inputs at which a network shows what it is.

A spec belongs to an architecture: it holds at all weights and inputs. Zeros, weights of
no size and inputs that are all alike hide mistakes, so others stand in for them.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from symmerge_jax.typing import Key, Path

Leaves = dict[Path, np.ndarray]

_SMALLEST = 1e-3  # a leaf of smaller size is lifted to `_SIZE`
_SIZE = 0.1


def generator(key: Key | None) -> np.random.Generator:
    """Return a source of random numbers that has nothing to compile."""
    key = jax.random.key(0) if key is None else key
    if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    return np.random.default_rng(np.asarray(key).ravel())


def near(random: np.random.Generator, leaves: Mapping[Path, np.ndarray]) -> Leaves:
    """Return weights near the given ones, without zeros, and none too small to matter.

    Every entry changes by up to 10 %. Zeros are filled, with positive numbers where no
    entry is negative: a running variance must stay positive.
    """
    return {path: _near(random, leaf) for path, leaf in leaves.items()}


def fresh(random: np.random.Generator, leaves: Mapping[Path, np.ndarray]) -> Leaves:
    """Return weights as of a new network, at which every neuron is alive.

    Where the given ones saturate a network, or none of its ReLUs fires, they tell
    nothing. Leaves without a negative entry stay positive.
    """
    return {path: _fresh(random, leaf) for path, leaf in leaves.items()}


def noise(
    random: np.random.Generator, leaves: Mapping[Path, np.ndarray], num_samples: int
) -> Leaves:
    """Return numbers of size 0.5 to 1, bytes `[num_samples, *shape]` in units of 1/127.

    They are to be scaled and added to weights; positive where no weight is negative.
    """
    found = {}
    for path, leaf in leaves.items():
        shape = num_samples, *leaf.shape
        drawn = np.frombuffer(random.bytes(int(np.prod(shape))), np.uint8)
        numbers = (64 + drawn % 64).astype(np.int8)
        if not (leaf >= 0).all():
            numbers = np.where(drawn < 128, numbers, -numbers)
        found[path] = numbers.reshape(shape)
    return found


def draw_like(random: np.random.Generator, inputs: Any) -> Any:
    """Return other inputs of the same shapes and ranges.

    Floats that are all alike are drawn in a range around it; random keys stay.
    """
    return jax.tree.map(lambda leaf: _draw(random, leaf), inputs)


def vary(inputs: Any) -> bool:
    """Return whether no integers of the inputs are all alike."""
    return all(
        leaf.min() != leaf.max()
        for leaf in jax.tree.leaves(inputs)
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "iu" and leaf.size
    )


def size(leaf: np.ndarray) -> float:
    """Return the root of the mean square of the entries that are not zero."""
    values = leaf[leaf != 0]
    largest = np.abs(values).max(initial=0)
    if not largest or not np.isfinite(largest):
        return _SIZE
    return float(largest * np.sqrt(np.mean((values / largest) ** 2)))


def _near(random: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
    scale = size(leaf)
    lift = _SIZE / scale if scale < _SMALLEST else 1.0
    changed = leaf * random.uniform(0.9, 1.1, leaf.shape)
    if not leaf.all():
        changed = np.where(leaf == 0, scale * _spread(random, leaf), changed)
    return lift * changed


def _fresh(random: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
    values = _spread(random, leaf)
    if leaf.ndim < 2 or not leaf.size:
        return values if (leaf >= 0).all() and leaf.any() else 0.3 * values
    # Square matrices keep the size of what they are applied to.
    return values * np.sqrt(max(leaf.shape) / leaf.size)


def _spread(random: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
    """Return numbers of size 0.5 to 1.5, positive if no entry is negative."""
    drawn = random.uniform(-1, 1, leaf.shape)
    sizes = 0.5 + np.abs(drawn)
    return sizes if (leaf >= 0).all() else np.copysign(sizes, drawn)


def _draw(random: np.random.Generator, leaf: Any) -> Any:
    if not isinstance(leaf, np.ndarray) or not leaf.size:
        return leaf
    if leaf.dtype.kind == "b":
        return random.integers(0, 2, leaf.shape).astype(bool)
    if leaf.dtype.kind in "iu":
        return random.integers(
            leaf.min(), leaf.max(), leaf.shape, leaf.dtype, endpoint=True
        )
    if leaf.dtype.kind != "f":
        return leaf
    known = leaf[np.isfinite(leaf)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    if low == high:
        width = max(1.0, abs(low))
        low, high = low - width, high + width
    return random.uniform(low, high, leaf.shape)
