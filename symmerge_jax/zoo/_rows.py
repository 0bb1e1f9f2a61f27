"""Rows of several arrays as those of one, read when they are asked for."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

CHUNK = 2**14
"""Rows that are looked at together where all of them are."""


class Rows:
    """Arrays `[n, ...]` on top of each other, as views of files; or some of their rows.

    `rows[numbers]` reads what is asked for, `numpy.asarray(rows)` everything.

    Attributes:
      shape: `[N, ...]`.
      dtype: of all arrays.
    """

    def __init__(self, arrays: Sequence[np.ndarray], numbers: np.ndarray | None = None):
        """Join arrays that differ in their first axis alone.

        Args:
          arrays: at least one.
          numbers: `[N]` rows, counted through all arrays; None for all of them.
        """
        kinds = {(array.shape[1:], array.dtype) for array in arrays}
        if len(kinds) != 1:
            raise ValueError(f"Arrays of different rows cannot be joined: {kinds}.")
        self._arrays, self._numbers = tuple(arrays), numbers
        self._stops = np.cumsum([len(array) for array in arrays])
        ((row_shape, self.dtype),) = kinds
        total = self._stops[-1] if numbers is None else len(numbers)
        self.shape = (int(total), *row_shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, numbers: Any) -> "Rows":
        """Return the rows of a slice, an array or a mask, without reading them."""
        return Rows(self._arrays, self._counted(numbers))

    def __getitem__(self, numbers: Any) -> np.ndarray:
        """Read one row (an integer), or those of a slice, an array or a mask."""
        if isinstance(numbers, int | np.integer):
            return self[np.array([numbers])][0]
        chosen = self._counted(numbers)
        found = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        which = np.searchsorted(self._stops, chosen, side="right")
        for index in np.unique(which):
            array, here = self._arrays[index], which == index
            found[here] = array[chosen[here] - (self._stops[index] - len(array))]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Rows of several arrays cannot be seen as one in place.")
        return self[:].astype(dtype or self.dtype, copy=False)

    def _counted(self, numbers: Any) -> np.ndarray:
        """Return numbers of rows as they are counted through all arrays."""
        every = np.arange(self._stops[-1]) if self._numbers is None else self._numbers
        return every[numbers]


def select(array: Any, numbers: np.ndarray) -> Any:
    """Return some rows of an array, in memory, or of `Rows`, unread."""
    if isinstance(array, Rows):
        return array.take(numbers)
    return np.asarray(array)[numbers]


def chunks(array: Any) -> Iterator[np.ndarray]:
    """Yield all rows of an array, or of `Rows`, some thousand at a time."""
    for start in range(0, len(array), CHUNK):
        yield np.asarray(array[start : start + CHUNK])
