"""Deep weight space layers: all linear maps that commute with permutations of neurons.

For tensors `x_s` with free axes, and for every subset `K` of the axes that `s` and `t`
share, a layer has one matrix:

    y_t = b_t + mean over (s, K) of  broadcast(pool(x_s, axes not in K) @ M_{s,t,K})

where `pool` is a mean, a maximum or a learned weighted mean (attention). Between a
weight tensor and itself these are the four terms of an exchangeable matrix layer
(Navon et al. 2023, arXiv 2301.12780, section 5). Only *neighbours*, tensors that share
a space, exchange messages, as in Deep-Align (Navon et al. 2024, arXiv 2310.13397).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import graphs
from symmerge_jax.metanets import _affine
from symmerge_jax.typing import Array, Key, Params

POOLS = ("mean", "max", "attention")


class WeightTensor(NamedTuple):
    """One weight tensor or bias of an architecture.

    Attributes:
      spaces: indices of the spaces that it runs over.
      free: those of them that are hidden: its axes, in this order.
      fixed: number of fixed neurons (or pairs of them) in its channels.
      reads_inputs: whether one of its spaces holds the inputs.
    """

    spaces: tuple[int, ...]
    free: tuple[int, ...]
    fixed: int
    reads_inputs: bool


def weight_tensors(topology: graphs.Topology) -> tuple[WeightTensor, ...]:
    """Return the tensors: one per block of edges, then one per space that is written.

    The latter hold the biases, zeros where there are none.
    """

    def describe(*spaces: int) -> WeightTensor:
        free = tuple(i for i in spaces if topology.spaces[i].role == "hidden")
        fixed = math.prod(topology.spaces[i].size for i in spaces if i not in free)
        reads_inputs = any(topology.spaces[i].role == "input" for i in spaces)
        return WeightTensor(spaces, free, fixed, reads_inputs)

    return (
        *(describe(block.source, block.target) for block in topology.blocks),
        *(
            describe(i)
            for i, space in enumerate(topology.spaces)
            if space.role != "input"
        ),
    )


def split(
    topology: graphs.Topology, nodes: Sequence[Array], edges: Sequence[Array]
) -> tuple[Array, ...]:
    """Return the values of every tensor, `[N, *free, fixed * F]`; `F` is 1 for biases.

    From nodes `[N, n, 1]` per space and edges `[N, S * T, F]` per block.
    """
    arrays = []
    for block, x in zip(topology.blocks, edges, strict=True):
        source, target = topology.spaces[block.source], topology.spaces[block.target]
        x = x.reshape(len(x), *topology.block_shape(block), x.shape[-1])
        if source.role != "hidden":
            x = jnp.moveaxis(x, 1, -2)
            x = x.reshape(*x.shape[:-2], -1)
        if target.role != "hidden":
            x = jnp.moveaxis(x, -2 if source.role == "hidden" else 1, -2)
            x = x.reshape(*x.shape[:-2], -1)
        arrays.append(x)
    for space, x in zip(topology.spaces, nodes, strict=True):
        if space.role != "input":
            arrays.append(x if space.role == "hidden" else x.reshape(len(x), -1))
    return tuple(arrays)


Tensors = tuple[WeightTensor, ...]
Term = tuple[int, int, tuple[int, ...]]


def terms(tensors: Tensors, targets: tuple[int, ...]) -> list[Term]:
    """Return (source tensor, target tensor, spaces of the axes that are kept)."""
    return [
        (s, t, kept)
        for t in targets
        for s, source in enumerate(tensors)
        if set(source.spaces) & set(tensors[t].spaces)
        for kept in _subsets([i for i in source.free if i in tensors[t].free])
    ]


def init_layer(
    key: Key,
    tensors: Tensors,
    sizes: tuple[int, ...],
    new_sizes: dict[int, int],
    pool: str,
) -> Params:
    """Return the parameters of a layer from `sizes` channels per tensor to `new_sizes`.

    Per term its matrix, and for "attention" the vector that scores what is pooled; per
    tensor of `new_sizes` a bias, and gain and shift of the norm that may follow.
    """
    all_terms = terms(tensors, tuple(new_sizes))
    keys = iter(jax.random.split(key, 2 * len(all_terms) + len(tensors)))
    params: dict[str, Any] = {}
    for s, t, kept in all_terms:
        affine = _affine.init_affine(next(keys), sizes[s], new_sizes[t])
        term = {"w": affine["w"]}
        if pool == "attention" and len(kept) < len(tensors[s].free):
            score = _affine.init_linear(next(keys), (sizes[s],), sizes[s])
            term["score"] = score
        params[_name(s, t, kept)] = term
    for t, size in new_sizes.items():
        bias = _affine.init_linear(next(keys), (size,), sizes[t])
        params[f"tensor_{t}"] = {"b": bias, **_affine.init_norm(size)}
    return params


def layer(
    params: Params,
    values: tuple[Array, ...],
    *,
    tensors: Tensors,
    targets: tuple[int, ...],
    pool: str,
    last: bool,
) -> tuple[Array, ...]:
    """Return the values of the targets after one layer, its LayerNorm and relu.

    Equivariant: permuting the neurons of a hidden space permutes the axis that runs
    over them in every tensor, before and after. Values are `[N, *free, channels]` per
    tensor; neither norm nor relu follows the last layer.
    """
    sums: dict[int, list[Array]] = {t: [] for t in targets}
    for s, t, kept in terms(tensors, targets):
        term = params[_name(s, t, kept)]
        source, target = tensors[s], tensors[t]
        axes = tuple(1 + a for a, i in enumerate(source.free) if i not in kept)
        x = pool_axes(pool, values[s], axes, term.get("score")) @ term["w"]
        # What is left has the kept axes in the order of the source.
        order = [i for i in source.free if i in kept]
        x = jnp.moveaxis(
            x,
            [1 + order.index(i) for i in target.free if i in kept],
            range(1, 1 + len(order)),
        )
        shape = [
            values[t].shape[1 + a] if i in kept else 1
            for a, i in enumerate(target.free)
        ]
        sums[t].append(x.reshape(len(x), *shape, x.shape[-1]))
    new = []
    for t, parts in sums.items():
        of_target = params[f"tensor_{t}"]
        x = _affine.add(sum(parts[1:], parts[0]) / len(parts), of_target["b"])
        new.append(x if last else jax.nn.relu(_affine.layer_norm(of_target, x)))
    return tuple(new)


def pool_axes(
    pool: str,
    x: Array,
    axes: tuple[int, ...],
    score: Array | None = None,
    *,
    keepdims: bool = False,
) -> Array:
    """Return `x` pooled over axes; with scores, as attention (which drops the axes)."""
    if not axes:
        return x
    if pool == "mean":
        return jnp.mean(x, axis=axes, keepdims=keepdims)
    if score is None:
        return _affine.largest(x, axes, keepdims=keepdims)
    weights = jax.nn.softmax(x @ score, axis=axes)
    return jnp.sum(weights[..., None] * x, axis=axes)


def _subsets(axes: list[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(axes) + 1):
        yield from itertools.combinations(axes, size)


def _name(s: int, t: int, kept: tuple[int, ...]) -> str:
    return f"{s}_to_{t}_keep_" + ("_".join(map(str, kept)) or "none")
