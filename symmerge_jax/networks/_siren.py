"""SIRENs: implicit neural representations with sine activations.

Sitzmann et al., *Implicit Neural Representations with Periodic Activation Functions*,
NeurIPS 2020, arXiv 2006.09661. The defaults are the MNIST-INRs of Navon et al., ICML
2023, arXiv 2301.12780: 2-32-32-1, `w0 = 30` in every layer, 0.5 added to the output.
"""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.networks import _mlp, _network, _sine
from symmerge_jax.typing import Array, Key, Params


def siren(
    layer_sizes: Sequence[int] = (2, 32, 32, 1),
    w0: float = 30.0,
    first_w0: float | None = None,
    output_offset: float = 0.5,
) -> _network.Network:
    """Return a SIREN: `h = sin(w0 (h @ kernel + bias))`, then a linear layer.

    Args:
      layer_sizes: neurons per layer, inputs and outputs included.
      w0: frequency factor of the hidden layers, applied to weights and bias; radians.
      first_w0: another factor for the first layer, or None for the same.
      output_offset: constant added to the output. It is part of the model and not a
        parameter; 0.5 centres outputs on grey images in [0, 1].

    Returns:
      The network. Its parameters are `{"dense_0": {"kernel": [I, O], "bias": [O]},
      ...}` and its spaces "in", "hidden_0", ..., "out".

    Raises:
      ValueError: fewer than two layers, a size below one, or a factor not above zero.
    """
    _mlp.check_layer_sizes(layer_sizes)
    for name, factor in (("w0", w0), ("first_w0", first_w0)):
        if factor is not None and not factor > 0:
            raise ValueError(f"{name} must be > 0, got {factor}.")
    factors = [float(w0)] * (len(layer_sizes) - 2)
    if factors and first_w0 is not None:
        factors[0] = float(first_w0)
    sizes = tuple(int(n) for n in layer_sizes)
    return _mlp.chain(
        functools.partial(_init, sizes, w0),
        [functools.partial(_wave, factor) for factor in factors],
        "sine",
        _mlp.chain_spec(symmetry.Group.SIGN, factors),
        sizes,
        output_offset,
    )


def coordinate_grid(height: int, width: int) -> np.ndarray:
    """Return the pixel coordinates of an image, row by row, or those of a signal.

    An image of one row is a signal, and its networks read the column alone.

    Args:
      height: number of rows; 1 for a signal.
      width: number of columns, or of samples of the signal.

    Returns:
      `[height * width, 2]` float32: column and row, each from -1 to 1 inclusive; pixel
      `row * width + column` comes from `(linspace[column], linspace[row])`. For a
      signal `[width, 1]`, the columns.
    """
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    if height == 1:
        return columns[:, None]
    rows = np.linspace(-1, 1, height, dtype=np.float32)
    return np.stack([np.tile(columns, height), np.repeat(rows, width)], axis=1)


def _wave(factor: float, z: Array) -> Array:
    return _sine.sine(factor * z)


def _init(sizes: Sequence[int], w0: float, key: Key) -> Params:
    """Uniform in +-sqrt(6 / I) / w0 for every layer; zero biases."""

    def kernel(key: Key, num_read: int, num_written: int) -> Array:
        bound = (6 / num_read) ** 0.5 / w0
        shape = (num_read, num_written)
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    return _mlp.init_chain(key, sizes, kernel)
