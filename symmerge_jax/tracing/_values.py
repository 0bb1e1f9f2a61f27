"""What is known of a value of the program: its axes, and how it scales along each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from symmerge_jax.tracing import _atoms
from symmerge_jax.tracing._atoms import Axis
from symmerge_jax.tracing._weights import Weights


class Index(NamedTuple):
    """The entries of a value are indices into an axis, as those of an argmax are.

    Attributes:
      axis: what they point into.
      is_shifted: a constant was added: of use only to what takes it away again.
    """

    axis: _atoms.Atom
    is_shifted: bool = False


class Value(NamedTuple):
    """Abstract value.

    Attributes:
      shape: as in the program.
      axes: per axis, what it runs over; None where the value is constant along it.
      weights: per axis, one exponent for each of its atoms; empty in the passes that
        look at the axes alone.
      constant: the one number that all entries are, if known.
      places: set where the entries are indices.
      ties: entries may be equal with positive probability, so that their order does
        not tell neurons apart (ReLU, rounding, comparisons).
      is_raw: a parameter that was moved at most: sliced, transposed, cast.
      squares: numbers of the atoms along which it is a product of two linear values.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    weights: tuple[Weights, ...]
    constant: Any = None
    places: Index | None = None
    ties: bool = False
    is_raw: bool = False
    squares: frozenset[int] = frozenset()

    def moved(
        self,
        shape: Sequence[int],
        axes: Sequence[Axis],
        weights: Sequence[Weights],
    ) -> "Value":
        """Return the same entries in another arrangement."""
        return self._replace(
            shape=tuple(shape), axes=tuple(axes), weights=tuple(weights)
        )

    @property
    def is_zero(self) -> bool:
        """Whether all entries are known to be 0: they scale with any exponent."""
        return self.constant is not None and bool(self.constant == 0)

    @property
    def is_infinite(self) -> bool:
        """Whether all entries are known to be one infinity: no scale changes it."""
        return self.constant is not None and bool(np.isinf(self.constant))


class Reason(NamedTuple):
    """Why the indices of an axis are told apart.

    Attributes:
      text: what happens to the axis.
      primitive: name of the operation; empty for inputs and outputs.
      source: line of the user's program, 'model.py:12 (block)'; empty if unknown.
    """

    text: str
    primitive: str = ""
    source: str = ""

    def __str__(self) -> str:
        return self.text + (f" at {self.source}" if self.source else "")
