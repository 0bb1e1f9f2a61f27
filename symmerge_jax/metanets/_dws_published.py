"""The layers of Deep-Align as its code has them (Navon et al. 2024, arXiv 2310.13397).

Where the layers of `_dws_layers` have one matrix, these have a *set map*: attention
among the neurons that two tensors share, with heads and without LayerNorm (Lee et al.
2019, arXiv 1810.00825, the set attention block),

    a(x) = h + relu(h @ W_o + b_o),    h = q + softmax(q k^T / sqrt(D)) v

for rows `x`, with `q`, `k`, `v` affine in them and of width `D`. The value of a tensor
`t` after a layer is the sum over its neighbours `s`, divided by the number of tensors,
of `a(pool(x_s, axes that t lacks))`, broadcast over the axes that `s` lacks. Fixed
neurons are channels. Exceptions:

- between weights that share two hidden spaces the map is the exchangeable matrix layer
  of four affine terms (Hartford et al. 2018, arXiv 1803.02879), their mean;
- between tensors that share only fixed neurons it is affine;
- from weights to biases, fixed neurons are no channels: they are pooled over, or
  attended to where the bias is theirs (the published code leaves a switch at its
  default there);
- from other weights to those of the outputs, all outputs get the same value (there it
  confuses the outputs with the inputs);
- where more than `max_fixed` inputs are read, a map of sets along the inputs shrinks
  them to `max_fixed` before the layer, another expands them after it, and an affine map
  of every entry is added: see `_map_fixed`.

The published BatchNorm between layers takes mean and variance of each channel over the
entries of a tensor in all networks of a batch. Here it is over those of one network:
what an encoder says of a network must not depend on others.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax.metanets import _affine, _dws_layers
from symmerge_jax.typing import Array, Key, Params

POOLS = ("mean", "max")

_Shape = tuple[int, int, int]
"""Inputs and outputs of an affine map, and how many of them lie side by side."""


class Options(NamedTuple):
    """What a layer is made of, besides its parameters.

    Attributes:
      tensors: what it maps.
      targets: numbers of the tensors that it returns.
      max_fixed: number that inputs are mapped to where there are more.
      num_heads: attention heads; divides the channels after the layer.
      pool: one of `POOLS`.
    """

    tensors: _dws_layers.Tensors
    targets: tuple[int, ...]
    max_fixed: int
    num_heads: int
    pool: str


class _Map(NamedTuple):
    """One map from tensor to tensor.

    Attributes:
      source: number of the tensor that is read.
      target: number of the tensor that is written.
      kind: "attention", "affine" or "exchange".
      kept: hidden spaces that both run over.
      entries: whether fixed neurons are no channels of what is read.
      copies: of the fixed neurons of the target, how many get a value of their own.
    """

    source: int
    target: int
    kind: str
    kept: tuple[int, ...]
    entries: bool
    copies: int


def init_layer(
    key: Key, options: Options, sizes: tuple[int, ...], new_size: int, *, last: bool
) -> Params:
    """Return the parameters of one layer.

    One entry per map; `shrink`, `expand` and `skip` where inputs are many; gain and
    shift of the norms. All affine maps have normal weights of standard deviation
    `2 sqrt(I / (O (I + O)))`, as published, except for those around many inputs. Sizes
    are channels of every entry, of each tensor before the layer and of all after it.
    """
    shapes: dict[str, dict[str, _Shape]] = {}
    for m in _maps(options):
        size = sizes[m.source] * (1 if m.entries else _fixed(options, m.source))
        out = new_size * m.copies
        if m.kind == "attention":
            shapes[_name(m)] = {"qkv": (size, out, 3), "out": (out, out, 1)}
        else:
            names = "0123" if m.kind == "exchange" else "0"
            shapes[_name(m)] = {name: (size, out, 1) for name in names}
    keys = iter(jax.random.split(key, 1 + 3 * len(sizes)))
    params: dict[str, Any] = dict(_init_scaled(next(keys), shapes))
    for s, tensor in enumerate(options.tensors):
        if not _shrinks(options, s):
            continue
        few, many = options.max_fixed, tensor.fixed
        params[f"shrink_{s}"] = _init_map_fixed(next(keys), many, few)
        if s in options.targets:
            params[f"expand_{s}"] = _init_map_fixed(next(keys), few, many)
            params[f"skip_{s}"] = _affine.init_affine(next(keys), sizes[s], new_size)
    if not last:
        params |= {f"norm_{t}": _affine.init_norm(new_size) for t in options.targets}
    return params


def layer(
    params: Params, values: tuple[Array, ...], *, options: Options
) -> tuple[Array, ...]:
    """Return the targets after one layer, `[N, *free, fixed, new_size]`, norm and relu.

    From values `[N, *free, fixed, channels]` per tensor. Equivariant, see
    `_dws_layers.layer`. There is no norm after the last layer.
    """
    inner = tuple(
        _map_fixed(params[f"shrink_{s}"], x) if _shrinks(options, s) else x
        for s, x in enumerate(values)
    )
    sums: dict[int, list[Array]] = {t: [] for t in options.targets}
    for m in _maps(options):
        x = _apply(params[_name(m)], options, m, inner[m.source])
        sums[m.target].append(x)
    new = []
    for t, parts in sums.items():
        x = sum(parts[1:], parts[0]) / len(options.tensors)
        if _shrinks(options, t):
            skip = _affine.affine(params[f"skip_{t}"], values[t])
            x = _map_fixed(params[f"expand_{t}"], x) + skip
        new.append(_normalise(params[f"norm_{t}"], x) if f"norm_{t}" in params else x)
    return tuple(new)


def attend(params: Params, num_heads: int, x: Array) -> Array:
    """Return a set attention block of rows, `[N, n, I]` to `[N, n, O]`.

    Equivariant to permutations of the rows. The affine maps are `qkv` `[I, 3 O]` and
    `out` `[O, O]`; `num_heads` divides `O`.
    """
    size = params["out"]["b"].size
    qkv = _affine.affine(params["qkv"], x)
    qkv = qkv.reshape(*qkv.shape[:-1], 3, num_heads, -1)
    q, k, v = (qkv[:, :, i] for i in range(3))
    scores = jnp.einsum("nihd,njhd->nhij", q, k) / math.sqrt(size)
    h = q + jnp.einsum("nhij,njhd->nihd", jax.nn.softmax(scores, axis=-1), v)
    h = h.reshape(*h.shape[:2], size)
    return h + jax.nn.relu(_affine.affine(params["out"], h))


def _maps(options: Options) -> Iterator[_Map]:
    tensors = options.tensors
    for t in options.targets:
        target = tensors[t]
        outputs = set(target.spaces) - set(target.free)
        for s, source in enumerate(tensors):
            if not set(source.spaces) & set(target.spaces):
                continue
            kept = tuple(i for i in source.free if i in target.free)
            copies = _fixed(options, t)
            # The two exceptions that only their code knows, see the top of the file.
            entries = len(target.spaces) == 1 < len(source.spaces) and bool(source.free)
            other = s != t and len(source.spaces) == len(target.spaces)
            alike = other and not (target.reads_inputs or outputs & set(source.spaces))
            if entries or alike:
                copies = 1
            kind = "attention" if entries or len(kept) == 1 else "affine"
            if len(kept) == 2:
                kind = "exchange"
            yield _Map(s, t, kind, kept, entries, copies)


def _apply(params: Params, options: Options, m: _Map, x: Array) -> Array:
    """Return what a map adds to its target, `[N, *free or 1, fixed or 1, channels]`."""
    source, target = options.tensors[m.source], options.tensors[m.target]
    if m.kind == "exchange":
        return _exchange(params, options.pool, source, target, x)
    kept = [1 + source.free.index(i) for i in m.kept]
    fixed_axis = 1 + len(source.free)
    if m.entries:
        kept = kept or [fixed_axis]
    axes = tuple(a for a in range(1, fixed_axis + m.entries) if a not in kept)
    x = _dws_layers.pool_axes(options.pool, x, axes)
    if not m.entries:
        x = x.reshape(*x.shape[:-2], -1)
    if m.kind == "attention":
        x = attend(params, options.num_heads, x)
    else:
        x = _affine.affine(params["0"], x)
    if m.entries and not m.kept:
        return x  # The neurons attended to are the fixed ones.
    free = [x.shape[1] if i in m.kept else 1 for i in target.free]
    return x.reshape(len(x), *free, m.copies, -1)


def _exchange(
    params: Params,
    pool: str,
    source: _dws_layers.WeightTensor,
    target: _dws_layers.WeightTensor,
    x: Array,
) -> Array:
    """Return the mean of four affine maps: of entries, rows, columns and all."""
    if source.free != target.free:
        x = jnp.swapaxes(x, 1, 2)
    pooled = functools.partial(_dws_layers.pool_axes, pool, x, keepdims=True)
    terms = (
        _affine.affine(params[name], pooled(axes))
        for name, axes in zip("0123", ((), (1,), (2,), (1, 2)), strict=True)
    )
    first, *others = terms
    return sum(others, first) / 4


def _init_map_fixed(key: Key, size: int, new_size: int) -> Params:
    keys = jax.random.split(key)
    return {
        "own": _affine.init_affine(keys[0], size, new_size),
        "common": _affine.init_linear(keys[1], (size, new_size), size),
        "query": jnp.ones((size,), jnp.float32),
    }


def _map_fixed(params: Params, x: Array) -> Array:
    """Map fixed neurons to others, `[N, n, I, C]` to `[N, n, O, C]`.

    For every channel, `x_i W + b - (sum_j p_j x_j) V` with `p = softmax(x @ query)`
    over the `n` neurons.
    """
    own, common, query = params["own"], params["common"], params["query"][:, None]
    size, new_size = common.shape
    # Both ways pass over the larger of the two arrays once; it has most of all numbers.
    if new_size < size:
        matrix = jnp.concatenate([own["w"], common, query], axis=1)
        parts = jnp.split(_times(matrix, x), [new_size, 2 * new_size], axis=2)
        weights = jax.nn.softmax(parts[2], axis=1)
        mean = jnp.sum(weights * parts[1], axis=1, keepdims=True)
        return parts[0] + own["b"].reshape(1, 1, -1, 1) - mean
    weights = jax.nn.softmax(_times(query, x), axis=1)
    mean = jnp.sum(weights * x, axis=1, keepdims=True)
    mean = jnp.broadcast_to(mean, x.shape)
    rows = jnp.concatenate([x, mean, jnp.ones_like(x[:, :, :1])], axis=2)
    matrix = jnp.concatenate([own["w"], -common, own["b"][None]], axis=0)
    return _times(matrix, rows)


def _times(matrix: Array, x: Array) -> Array:
    """Return `x` `[*rows, I, C]` times `matrix` `[I, O]` along the second last axis."""
    # One product per row: nothing as large as `x` is transposed, forward or backward.
    shape = (*x.shape[:-2], *matrix.shape[::-1])
    return jnp.broadcast_to(matrix.T, shape) @ x


def _normalise(params: Params, x: Array) -> Array:
    """Return relu of channels that have mean 0 and variance 1 over all entries."""
    axes = tuple(range(1, x.ndim - 1))
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.mean(centred**2, axis=axes, keepdims=True)
    return jax.nn.relu(
        _affine.rescale(params, centred * jax.lax.rsqrt(variance + 1e-5))
    )


def _init_scaled(key: Key, shapes: Params) -> Params:
    """Return affine maps `{"w", "b"}` for a tree of shapes."""
    found, tree = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    # Two draws for all maps: a program with one per matrix takes minutes to compile.
    keys = jax.random.split(key)
    weight_ends = list(itertools.accumulate(math.prod(x) for x in found))
    bias_ends = list(itertools.accumulate(math.prod(x[1:]) for x in found))
    normal = jax.random.normal(keys[0], weight_ends[-1:], jnp.float32)
    uniform = jax.random.uniform(keys[1], bias_ends[-1:], jnp.float32, -1e-4, 1e-4)
    weights = jnp.split(normal, weight_ends[:-1])
    biases = jnp.split(uniform, bias_ends[:-1])
    maps = []
    for (size, out, num), w, b in zip(found, weights, biases, strict=True):
        std = 2 * math.sqrt(size / (out * (size + out)))
        maps.append({"w": std * w.reshape(size, num * out), "b": b})
    return jax.tree.unflatten(tree, maps)


def _shrinks(options: Options, number: int) -> bool:
    tensor = options.tensors[number]
    many = tensor.fixed > options.max_fixed
    return bool(many and tensor.reads_inputs and tensor.free)


def _fixed(options: Options, number: int) -> int:
    """Return the fixed neurons of a tensor inside a layer."""
    shrinks = _shrinks(options, number)
    return options.max_fixed if shrinks else options.tensors[number].fixed


def _name(m: _Map) -> str:
    return f"{m.source}_to_{m.target}"
