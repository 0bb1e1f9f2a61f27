"""One layer of a merged network, changed to compute what its parents do."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.merging import _least_squares, _rows
from symmerge_jax.merging._origins import undo
from symmerge_jax.merging._sites import Layer, Statistic
from symmerge_jax.merging._tape import Run, Tape
from symmerge_jax.typing import Array

_MAX_FACTOR = 10.0
"""A neuron that is almost silent when merged is noise, and may not drown the others."""


class Fit(NamedTuple):
    """What least squares found for one layer.

    Attributes:
      ridge: that was chosen, in units of the mean square of an input; infinite where
        the weights predict better as they are.
      before: share of the mean square wanted that was missing.
      after: the same behind the fit, on samples that it was not fitted to.
      num_rows: how many outputs the fit has seen, each a vector.
      num_inputs: of the layer.
    """

    ridge: float
    before: float
    after: float
    num_rows: int
    num_inputs: int


def set_statistic(statistic: Statistic, merged: Run) -> None:
    """Give a running mean or variance the value that it has on the data."""
    leaf = jnp.asarray(merged.leaf(statistic.path))
    value = measure(statistic, merged).astype(leaf.dtype)
    merged.replace(statistic.path, leaf.at[statistic.row].set(value))


def measure(statistic: Statistic, run: Run) -> Array:
    """Return the value that a statistic has on the data, in the parameter's shape."""
    x = run.read(statistic.data)
    axes = tuple(i for i, axis in enumerate(statistic.axes) if axis is None)
    value = jnp.var(x, axes) if statistic.is_variance else jnp.mean(x, axes)
    kept = [axis for axis in statistic.axes if axis is not None]
    row = jnp.asarray(run.leaf(statistic.path))[statistic.row]
    return jnp.transpose(value, tuple(np.argsort(kept))).reshape(row.shape)


class Mender:
    """Changes one layer of the merged network, before it is run.

    Args:
      tape: the program.
      layer: which step it is.
      merged: the network, at that step.
      wanted: values of the parents, one by one.
      shares: `[N]` weights of the parents.
      num_samples: on the first axis of the inputs.
    """

    def __init__(
        self,
        tape: Tape,
        layer: Layer,
        merged: Run,
        wanted: Mapping[int, Sequence[Array]],
        shares: np.ndarray,
        num_samples: int,
    ):
        self._step, self._layer, self._merged = tape.steps[layer.step], layer, merged
        self._wanted, self._shares, self._num = wanted, shares, num_samples
        self._data = merged.read(layer.data)
        self._position = self._step.operands.index(layer.data)

    def mend(self, name: str) -> Fit | None:
        """Apply one method."""
        if name == "least_squares":
            return self._fit(self._mean(self._wanted[self._layer.end]))
        if name == "mapped_least_squares":
            return self._fit(self._mean(self._mapped(self._wanted[self._layer.end])))
        if name == "temperature":
            self._temper()
        else:
            self._match(mean=name in ("repair", "bias"), std=name != "bias")
        return None

    def _weight(self) -> Array:
        return jnp.asarray(self._merged.read(self._layer.weight))

    def _bias(self) -> Array | None:
        if self._layer.bias is None:
            return None
        return jnp.asarray(self._merged.read(self._layer.bias))

    def _written(self) -> Array:
        operands = [self._merged.read(v) for v in self._step.operands]
        result = jnp.asarray(self._step.run(*operands)[0])
        bias = self._bias()
        return result if bias is None else result + self._spread(bias, result.ndim)

    def _spread(self, values: Array, ndim: int) -> Array:
        """Return one value per neuron, as the result has them."""
        axes = self._layer.features
        if values.ndim == ndim:
            return values
        rest = tuple(i for i in range(ndim) if i not in axes)
        return jnp.expand_dims(values, rest)

    def _replace(self, weight: Array, bias: Array | None) -> None:
        """Change weights, and the bias if there is one."""
        merged, layer = self._merged, self._layer
        path = layer.origin.path
        merged.replace(path, undo(layer.origin, weight, merged.leaf(path)))
        if bias is not None and layer.bias_origin is not None:
            path = layer.bias_origin.path
            merged.replace(path, undo(layer.bias_origin, bias, merged.leaf(path)))

    def _mean(self, values: Sequence[Any]) -> Any:
        pairs = zip(self._shares, values, strict=True)
        return sum(float(share) * value for share, value in pairs)

    # Least squares.

    def _mapped(self, values: Sequence[Array]) -> list[Array]:
        """Return values of the parents, mapped onto those of the one that counts most.

        By ridge regression, towards the neurons as they are. Outputs stay: they mean
        the same in all.
        """
        if self._layer.is_output:
            return list(values)
        first = int(np.argmax(self._shares))
        axes, mapped = self._layer.features, list(values)
        onto = _neurons_last(values[first], axes)
        for number, value in enumerate(values):
            if number == first:
                continue
            x = _neurons_last(value, axes)
            lack = onto - x
            halves = [_rows.sums_of(x[i::2], lack[i::2]) for i in (0, 1)]
            power = _power(values[first], axes)
            found = _least_squares.solve((halves[0], halves[1]), power, centred=True)
            y = jnp.matmul(
                x, jnp.asarray(found.change[0], x.dtype), precision="highest"
            )
            y = x + y + jnp.asarray(found.shift, x.dtype)
            mapped[number] = _neurons_back(y, value.shape, axes)
        return mapped

    def _fit(self, target: Array) -> Fit:
        layer, step = self._layer, self._step
        for value in layer.added:
            target = target - self._merged.read(value)
        lack = target - self._written()
        power = _power(target, layer.features)
        weight, position = self._weight(), self._position
        parts = _rows.halves(step, position, self._data, lack, self._num)
        sums = [_rows.sums(step, position, weight.shape, x, y) for x, y in parts]
        centred = layer.bias is not None or layer.is_free
        found = _least_squares.solve((sums[0], sums[1]), power, centred=centred)
        rows, inputs = int(sums[0].count + sums[1].count), found.change.shape[1]
        if rows < inputs:
            logging.getLogger(__name__).warning(
                "least_squares: '%s' has %d inputs and only %d rows to fit; the ridge"
                " %g predicts best.",
                symmetry.name(layer.origin.path),
                inputs,
                rows,
                found.ridge,
            )
        fit = Fit(found.ridge, found.before, found.after, rows, inputs)
        if not np.isfinite(found.ridge):
            return fit
        matrix = _rows.to_matrix(step, position, weight)
        changed = matrix + jnp.asarray(found.change, matrix.dtype)
        bias = self._bias()
        if bias is not None:
            bias = bias + jnp.asarray(found.shift, bias.dtype).reshape(bias.shape)
        self._replace(_rows.from_matrix(step, position, changed, weight), bias)
        return fit

    # Neuron by neuron.

    def _match(self, *, mean: bool, std: bool) -> None:
        """Give neurons the mean, or the standard deviation, that parents have."""
        axes, own = self._layer.features, self._written()
        rest = tuple(i for i in range(own.ndim) if i not in axes)
        parents = self._wanted[self._layer.written]
        now, found = own.mean(rest), own.std(rest)
        factor = jnp.ones_like(found)
        if std:
            target = self._mean([x.std(rest) for x in parents])
            alive = found > 1e-6 * jnp.max(target)
            factor = jnp.where(alive, target / jnp.where(alive, found, 1), 1)
            factor = jnp.minimum(factor, _MAX_FACTOR)
        aim = self._mean([x.mean(rest) for x in parents]) if mean else now
        self._affine(factor, aim - factor * now)

    def _temper(self) -> None:
        """Give the outputs, as a whole, the size that they have in parents."""
        if not self._layer.is_output:
            return
        axes, own = self._layer.features, self._written()
        size = jnp.sqrt(_power(own, axes))
        target = self._mean(
            [jnp.sqrt(_power(x, axes)) for x in self._wanted[self._layer.written]]
        )
        shape = [own.shape[i] for i in axes]
        factor = jnp.where(size > 0, target / jnp.where(size > 0, size, 1), 1)
        self._affine(jnp.full(shape, factor), jnp.zeros(shape))

    def _affine(self, factor: Array, shift: Array) -> None:
        """Multiply what the layer writes, and add to it where it has a bias."""
        bias = self._bias()
        if bias is not None:
            bias = bias * factor.reshape(bias.shape) + shift.reshape(bias.shape)
        weight = _rows.scale_neurons(self._step, self._position, self._weight(), factor)
        self._replace(weight, bias)


def _neurons_last(values: Array, features: Sequence[int]) -> Array:
    """Return values as rows `[R, n]`."""
    rest = [i for i in range(values.ndim) if i not in features]
    size = int(np.prod([values.shape[i] for i in features]))
    return jnp.transpose(values, (*rest, *features)).reshape(-1, size)


def _neurons_back(rows: Array, shape: Sequence[int], features: Sequence[int]) -> Array:
    """Return rows as values of a shape: `_neurons_last` undone."""
    rest = [i for i in range(len(shape)) if i not in features]
    order = (*rest, *features)
    moved = rows.reshape([shape[i] for i in order])
    return jnp.transpose(moved, tuple(np.argsort(order)))


def _power(values: Array, features: Sequence[int]) -> float:
    """Return the mean square of outputs about their means, summed over neurons."""
    rest = tuple(i for i in range(values.ndim) if i not in features)
    return float(jnp.sum(jnp.var(values, rest)))
