"""Inputs that networks tell of themselves, for methods that look at data.

A network holds a memory of its data: normalisation layers hold means and variances of
their values, and the weights that read the inputs lie along what they were trained on.
Inputs with that memory serve where there are no others; no label is needed, and nothing
that a person would recognise comes of it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import ndimage

from symmerge_jax import symmetry
from symmerge_jax.merging import _layers, _networks, _sites, _tape
from symmerge_jax.typing import Array, Key, Params

_RATE = 0.05
"""Of the descent, in standard deviations of the inputs."""

_TINY = 1e-5
"""Variances below are those of silent neurons."""


def synthesize(
    parents: Params,
    network: _networks.Architecture,
    num_samples: int = 500,
    *,
    start: Any = None,
    key: Key | None = None,
    num_steps: int = 100,
) -> Any:
    """Return inputs on which the parents' neurons do what they do on their own data.

    Each parent makes an equal part. Where a network has running statistics, the inputs
    descend, all together, until their means and variances at every layer are those
    (without classes and without a prior of images: the first term of Yin et al. 2020,
    *Dreaming to distill*, arXiv 1912.08795). Otherwise each input is the gradient of
    a neuron of some layer, drawn at random, at the start: what it looks for. Its size
    is then that of the start.

    Args:
      parents: networks on a leading axis `[N]`, such as `Merge.aligned`.
      network: their architecture: `networks.Network`, such as `trace` returns.
      num_samples: how many; more than the largest layer has inputs, for least squares.
      start: inputs `[num_samples, ...]` to set out from, of the kind and range that the
        network knows; None for standard normal ones.
      key: random key; None for `jax.random.key(0)`.
      num_steps: of the descent.

    Returns:
      Inputs as `network.apply` takes them, `[num_samples, ...]`, for `repair` or
      `Task(data=...)`.

    Raises:
      TypeError, ValueError: inputs that are not real numbers (tokens cannot descend),
        a start of another number, or networks that do not fit.

    Example:
      >>> from symmerge_jax import networks
      >>> network = networks.mlp((2, 8, 1))
      >>> parents = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 2))
      >>> synthesize(parents, network, 10).shape
      (10, 2)
    """
    each = [symmetry.rows(parents, n) for n in range(symmetry.num_rows(parents))]
    if num_samples < 2 * len(each) or num_steps < 1:
        raise ValueError(
            f"synthesize: num_samples must be at least {2 * len(each)}, two for each"
            f" network, and num_steps at least 1, got {num_samples} and {num_steps}."
        )
    keys = jax.random.split(jax.random.key(0) if key is None else key)
    start = _start(network, num_samples, start, keys[0])
    parts, bounds = [], np.linspace(0, num_samples, len(each) + 1).astype(int)
    for row, params in enumerate(each):
        rows = slice(*bounds[row : row + 2])
        part = jax.tree.map(lambda x, rows=rows: x[rows], start)
        if network.spec.statistics:
            parts.append(_recalled(network, params, part, num_steps))
        else:
            own = jax.random.fold_in(keys[1], row)
            parts.append(_sought(network, params, part, own))
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


def smooth_noise(
    shape: Sequence[int],
    *,
    blur: float | None = None,
    low: float = -1.0,
    high: float = 1.0,
    key: Key | None = None,
) -> np.ndarray:
    """Return blurred noise: of images it knows only that they are smooth.

    Least squares in place of data: convolutional networks without running statistics
    are better fitted on it than on inputs of `synthesize`. Sizes of values are not
    those of data, so repairs that take means or variances from it do harm.

    Args:
      shape: `[S, *space, C]` of the images, channels last.
      blur: standard deviation of the Gaussian in pixels; None for a fourteenth of the
        first spatial axis.
      low: least value of an image. A sixth of all values lies on each bound.
      high: largest value of an image.
      key: random key; None for `jax.random.key(0)`.

    Returns:
      Images `[S, *space, C]`, float32, whose borders continue each other.

    Raises:
      ValueError: no spatial axis, an axis of length 0, a negative blur, or bounds in
        another order.

    Example:
      >>> smooth_noise((500, 28, 28, 1)).shape
      (500, 28, 28, 1)
    """
    if len(shape) < 3 or not all(shape):
        raise ValueError(
            "smooth_noise: shape must be [S, *space, C], all at least 1, got"
            f" {tuple(shape)}."
        )
    blur = shape[1] / 14 if blur is None else blur
    if not (0 <= blur < np.inf and low < high):
        raise ValueError(
            "smooth_noise: blur must be >= 0, finite, and low < high, got"
            f" {blur}, {low} and {high}."
        )
    white = jax.random.normal(jax.random.key(0) if key is None else key, tuple(shape))
    widths = (0, *(blur,) * (len(shape) - 2), 0)
    noise = ndimage.gaussian_filter(np.asarray(white, np.float32), widths, mode="wrap")
    noise = np.clip(noise / noise.std(), -1, 1)
    return ((low + high) / 2 + (high - low) / 2 * noise).astype(np.float32)


def _start(network: _networks.Architecture, num_samples: int, start: Any, key: Key):
    """Return the inputs to set out from, checked."""
    if start is None:
        example = _networks.example(network)
        leaves, treedef = jax.tree.flatten(example)
        keys = jax.random.split(key, len(leaves))
        shapes = [(num_samples, *np.shape(x)[1:]) for x in leaves]
        _check_real(leaves)
        normal = [jax.random.normal(*pair) for pair in zip(keys, shapes, strict=True)]
        return jax.tree.unflatten(treedef, normal)
    leaves = jax.tree.leaves(start)
    _check_real(leaves)
    if {np.shape(x)[:1] for x in leaves} != {(num_samples,)}:
        raise ValueError(
            f"synthesize: start must have num_samples = {num_samples} inputs, got"
            f" arrays of shape {[np.shape(x) for x in leaves]}."
        )
    return jax.tree.map(jnp.asarray, start)


def _check_real(leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        dtype = jnp.asarray(leaf).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"synthesize: inputs must be real numbers, but some are {dtype}: only"
                " data can serve here."
            )


def _recalled(network, params, start, num_steps: int):
    """Return inputs that have the running statistics of a network."""
    tape = _tape.record(network.apply, params, start)
    found = _sites.find(tape, network.spec.statistics).statistics
    if not found:
        raise ValueError(
            "synthesize: no statistic of the network is that of one value of its"
            " program, so no inputs can be fitted to it."
        )
    rates = jax.tree.map(lambda x: _RATE * jnp.std(x), start)
    optimizer = optax.adam(1.0)

    def miss(inputs):
        run, parts = _tape.Run(tape, params, jax.tree.leaves(inputs)), []
        for number in sorted(found):
            run.advance(number)
            parts += _misses(run, found[number])
        return jnp.mean(jnp.stack(parts))

    def step(state, _):
        inputs, moments = state
        updates, moments = optimizer.update(jax.grad(miss)(inputs), moments)
        moved = jax.tree.map(lambda x, r, u: x + r * u, inputs, rates, updates)
        return (moved, moments), None

    @jax.jit
    def descend(inputs):
        state = inputs, optimizer.init(inputs)
        (inputs, _), _ = jax.lax.scan(step, state, length=num_steps)
        return inputs

    return descend(start)


def _misses(run: _tape.Run, statistics: Sequence[_sites.Statistic]) -> list[Array]:
    """Return by how much means and deviations differ, in standard deviations."""
    parts = []
    for statistic in statistics:
        wanted, found = _wanted(statistic, run), _layers.measure(statistic, run)
        if statistic.is_variance:
            ratio = (found + _TINY) / (wanted + _TINY)
            parts.append(jnp.mean((jnp.sqrt(ratio) - 1) ** 2))
            continue
        beside = [x for x in statistics if x.is_variance and x.data == statistic.data]
        spread = [_wanted(x, run).reshape(wanted.shape) for x in beside[:1]]
        scale = spread[0] + _TINY if spread else 1.0
        parts.append(jnp.mean((found - wanted) ** 2 / scale))
    return parts


def _wanted(statistic: _sites.Statistic, run: _tape.Run) -> Array:
    return jnp.asarray(run.leaf(statistic.path))[statistic.row]


def _sought(network, params, start, key: Key):
    """Return gradients of single neurons, of the size of the start."""
    one = jax.tree.map(lambda x: x[:1], start)
    tape = _tape.record(network.apply, params, one)
    layers = _sites.find(tape, ()).layers.values()
    shapes = [tape.shapes[layer.written] for layer in layers]
    written, sizes = [layer.written for layer in layers], [*map(math.prod, shapes)]
    neurons = [
        math.prod(shape[axis] for axis in layer.features)
        for layer, shape in zip(layers, shapes, strict=True)
    ]
    num, shares = symmetry.num_rows(start), jnp.array(neurons) / sum(neurons)
    layer_key, neuron_key = jax.random.split(key)
    layer = jax.random.choice(layer_key, len(sizes), (num,), p=shares)
    within = jax.random.uniform(neuron_key, (num,)) * jnp.array(sizes)[layer]
    picked = jnp.array(np.cumsum(sizes) - sizes)[layer] + within.astype(int)

    def output(inputs, index):
        run = _tape.Run(tape, params, [x[None] for x in jax.tree.leaves(inputs)])
        kept: Mapping[int, list[Array]] = {value: [] for value in written}
        run.advance(len(tape.steps), kept)
        return jnp.concatenate([kept[v][0].ravel() for v in written])[index]

    gradients = jax.jit(jax.vmap(jax.grad(output)))(start, picked)
    return jax.tree.map(_like, gradients, start)


def _like(gradients: Array, start: Array) -> Array:
    """Return gradients `[S, ...]` with the root mean square of the start."""
    axes = tuple(range(1, gradients.ndim))
    size = jnp.sqrt(jnp.mean(gradients**2, axes, keepdims=True))
    factor = jnp.sqrt(jnp.mean(start**2)) / jnp.where(size > 0, size, 1)
    # A neuron that is silent at its start looks for nothing: the start stays.
    return jnp.where(size > 0, gradients * factor, start)
