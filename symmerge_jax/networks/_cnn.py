"""Small convolutional classifiers: the architecture of the Small CNN Zoo and its kin.

Unterthiner et al. 2020, *Predicting neural network accuracy from weights*, arXiv
2002.11448: strided convolutions without padding, an activation behind each, the mean
over all positions, one dense layer.

Many such networks are trained at once, where a convolution per network is slow. Every
convolution is therefore one matrix product with patches, and the samples run fastest,
`[channels, height, width, S]`: slices then copy whole runs of samples, and products
are wide however few channels there are.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.networks import _mlp, _network
from symmerge_jax.typing import Array, Key, Params


def cnn(
    image_shape: Sequence[int] = (28, 28, 1),
    channels: Sequence[int] = (16, 16, 16),
    num_classes: int = 10,
    activation: str = "relu",
    *,
    kernel_size: int | Sequence[int] = 3,
    stride: int | Sequence[int] = 2,
    readout: str = "mean",
) -> _network.Network:
    """Return a convolutional classifier.

    Args:
      image_shape: height, width and channels of an image.
      channels: filters of each convolution; at least one convolution.
      num_classes: number of logits.
      activation: a key of `ACTIVATIONS`, behind every convolution.
      kernel_size: side of the square kernels, one for all or one per convolution.
      stride: likewise; there is no padding.
      readout: what the dense layer reads: the "mean" over all positions (Small CNN
        Zoo), or "flatten" for all of them, with a weight each.

    Returns:
      The network, from images `[S, H, W, C]` to logits `[S, num_classes]`. Its
      parameters are `{"conv_0": {"kernel": [kernel, kernel, I, O], "bias": [O]}, ...,
      "dense": {"kernel": [I, num_classes], "bias": ...}}`, its spaces "in",
      "hidden_0", ..., "out". `features` are `[S, height, width, n]`.

    Raises:
      ValueError: an unknown activation or readout, sizes below one, or a convolution
        whose kernel is larger than what it reads.
    """
    _, group = _mlp.find_activation(activation)
    num_layers = len(channels)
    kernels = _per_layer("kernel_size", kernel_size, num_layers)
    strides = _per_layer("stride", stride, num_layers)
    if readout not in ("mean", "flatten"):
        raise ValueError(f"readout must be 'mean' or 'flatten', got {readout!r}.")
    if len(image_shape) != 3:
        raise ValueError(
            f"image_shape must be (height, width, channels), got {tuple(image_shape)}."
        )
    sizes = [image_shape[2], *channels, num_classes]
    if num_layers < 1 or min(*image_shape, *sizes) < 1:
        raise ValueError(
            "A CNN needs at least one convolution and sizes >= 1, got image_shape"
            f" {tuple(image_shape)}, channels {tuple(channels)} and num_classes"
            f" {num_classes}."
        )
    height, width = image_shape[:2]
    for kernel, step in zip(kernels, strides, strict=True):
        if kernel > min(height, width):
            raise ValueError(
                f"A kernel of {kernel} x {kernel} does not fit the {height} x {width}"
                f" positions that it reads, for image_shape {tuple(image_shape)}: use"
                " larger images, or fewer layers or a smaller stride."
            )
        height, width = ((n - kernel) // step + 1 for n in (height, width))
    repeat = height * width if readout == "flatten" else 1
    spec = _spec(group, 1.0 if activation == "sine" else None, num_layers, repeat)

    shapes: dict[str, tuple[int, ...]] = {
        f"conv_{i}": (kernel, kernel, read, written)
        for i, (kernel, (read, written)) in enumerate(
            zip(kernels, itertools.pairwise(sizes[:-1]), strict=True)
        )
    }
    shapes["dense"] = (repeat * sizes[-2], num_classes)
    gain = 2.0 if group is symmetry.Group.SCALE else 1.0
    return _network.Network(
        functools.partial(_init, shapes, gain),
        functools.partial(_apply, activation, strides, readout),
        {space.name: activation for space in spec.spaces[1:-1]},
        spec,
        functools.partial(_features, activation, strides),
        tuple(int(n) for n in image_shape),
    )


def _init(shapes: Mapping[str, tuple[int, ...]], gain: float, key: Key) -> Params:
    """He initialisation for ReLU, LeCun for other activations; zero biases."""
    params = {}
    for number, (name, shape) in enumerate(shapes.items()):
        # The logits are linear: their layer gets no gain.
        fan_in = math.prod(shape[:-1])
        std = ((1.0 if name == "dense" else gain) / fan_in) ** 0.5
        values = jax.random.normal(jax.random.fold_in(key, number), shape)
        params[name] = {"kernel": std * values, "bias": jnp.zeros(shape[-1])}
    return params


def _apply(
    activation: str, strides: Sequence[int], readout: str, params: Params, x: Array
) -> Array:
    last = _hidden(activation, strides, params, x)[-1]
    if readout == "mean":
        read = jnp.mean(last, axis=(1, 2))
    else:
        read = jnp.moveaxis(last, 0, 2).reshape(-1, last.shape[-1])
    layer = params["dense"]
    return read.T @ layer["kernel"] + layer["bias"][None]


def _features(
    activation: str, strides: Sequence[int], params: Params, x: Array
) -> dict[str, Array]:
    return {
        f"hidden_{number}": jnp.moveaxis(value, (0, -1), (-1, 0))
        for number, value in enumerate(_hidden(activation, strides, params, x))
    }


def _hidden(
    activation: str, strides: Sequence[int], params: Params, x: Array
) -> list[Array]:
    """Return the values `[n, height, width, S]` behind every convolution."""
    values = []
    x = jnp.moveaxis(x, 0, -1)
    x = jnp.moveaxis(x, 2, 0)
    for number, step in enumerate(strides):
        x = _mlp.activate(activation, _convolve(x, params[f"conv_{number}"], step))
        values.append(x)
    return values


def _convolve(x: Array, layer: Params, stride: int) -> Array:
    """Convolve `[I, H, W, S]` without padding; return `[O, height, width, S]`."""
    kernel = layer["kernel"]
    rows, columns = (
        [slice(k, n - size + k + 1, stride) for k in range(size)]
        for n, size in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    )
    patches = jnp.concatenate([x[:, row, column] for row in rows for column in columns])
    matrix = kernel.reshape(-1, kernel.shape[-1]).T
    y = matrix @ patches.reshape(len(patches), -1)
    y = y.reshape(-1, *patches.shape[1:])
    return y + layer["bias"][:, None, None, None]


def _spec(
    group: symmetry.Group, frequency: float | None, num_layers: int, repeat: int
) -> symmetry.SymmetrySpec:
    spaces = _mlp.spaces_of(group, [frequency] * num_layers)
    names = [space.name for space in spaces[:-1]]
    axes: dict[str, Any] = {
        f"conv_{i}": {
            "kernel": (None, None, symmetry.Axis(read, -1), symmetry.Axis(written)),
            "bias": (symmetry.Axis(written),),
        }
        for i, (read, written) in enumerate(itertools.pairwise(names))
    }
    axes["dense"] = {
        "kernel": (symmetry.Axis(names[-1], -1, repeat), symmetry.Axis("out")),
        "bias": (symmetry.Axis("out"),),
    }
    return symmetry.SymmetrySpec.create(axes, spaces)


def _per_layer(name: str, value: int | Sequence[int], num_layers: int) -> list[int]:
    """Return one number per convolution, checked."""
    values = [value] * num_layers if isinstance(value, int) else list(value)
    if len(values) != num_layers or any(int(n) != n or n < 1 for n in values):
        raise ValueError(
            f"{name} must be >= 1, one number or one for each of the {num_layers}"
            f" convolutions, got {value}."
        )
    return [int(n) for n in values]
