"""An array in a file, of which shape and type are known before it is read."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class LazyArray:
    """An array that is read each time that numpy asks for it.

    Attributes:
      shape: of the array.
      dtype: of its numbers.
      read: returns it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the array, as `numpy.asarray` asks for it."""
        return np.asarray(self.read(), dtype)

    @property
    def nbytes(self) -> int:
        """Number of bytes when it is read."""
        return math.prod(self.shape) * self.dtype.itemsize
