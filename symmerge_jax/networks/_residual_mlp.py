"""MLPs with a residual stream, the smallest networks with a shared space.

The stream is one space: every block reads it and adds to it, so that one permutation
has to fit all of them. Weight matching from the identity fails on these (issue 8 of
the public repository samuela/git-re-basin).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.networks import _mlp, _network
from symmerge_jax.typing import Array, Key, Params


def residual_mlp(
    layer_sizes: Sequence[int],
    hidden_size: int,
    num_blocks: int = 1,
    activation: str = "relu",
) -> _network.Network:
    """Return `x -> stem`, `x -> x + write(act(read(x)))` for each block, then `head`.

    The stream itself passes no activation and is read by linear layers only; its group
    is the permutations, the part of its symmetry (all invertible maps) that keeps the
    weights comparable neuron by neuron. What writes into it has no bias, except the
    stem: whatever reads the stream has its own.

    Args:
      layer_sizes: neurons of input, stream and output: `(1, 50, 1)`.
      hidden_size: neurons inside each block.
      num_blocks: number of blocks.
      activation: a key of `ACTIVATIONS`, inside the blocks.

    Returns:
      The network. Its parameters are dense layers "stem", "block_0": {"read", "write"},
      ..., "head"; its spaces "in", "stream", "hidden_0", ..., "out".

    Raises:
      ValueError: not three sizes, a size or number below one, an unknown activation.
    """
    if len(layer_sizes) != 3:
        raise ValueError(
            f"layer_sizes must list input, stream and output, got {list(layer_sizes)}."
        )
    _mlp.check_layer_sizes([*layer_sizes, hidden_size, num_blocks])
    _, group = _mlp.find_activation(activation)
    frequency = 1.0 if activation == "sine" else None
    first, *spaces = _mlp.spaces_of(group, [frequency] * num_blocks)
    stream = symmetry.Space("stream", symmetry.Group.PERMUTATION)
    hidden = [space.name for space in spaces[:-1]]
    axes: dict[str, Any] = {"stem": _mlp.dense_axes("in", "stream")}
    for i, name in enumerate(hidden):
        axes[f"block_{i}"] = {
            "read": _mlp.dense_axes("stream", name),
            "write": _mlp.dense_axes(name, "stream", use_bias=False),
        }
    axes["head"] = _mlp.dense_axes("stream", "out")
    num_in, num_stream, num_out = map(int, layer_sizes)
    inside = (activation, num_blocks)
    return _network.Network(
        functools.partial(_init, num_in, num_stream, num_out, hidden_size, num_blocks),
        functools.partial(_apply, *inside),
        dict.fromkeys(hidden, activation),
        symmetry.SymmetrySpec.create(axes, [first, stream, *spaces]),
        functools.partial(_features, *inside),
        (num_in,),
    )


def _init(
    num_in: int,
    num_stream: int,
    num_out: int,
    hidden_size: int,
    num_blocks: int,
    key: Key,
) -> Params:
    def layer(index: int, read: int, written: int, *, use_bias: bool = True) -> Params:
        kernel_key = jax.random.fold_in(key, index)
        kernel = read**-0.5 * jax.random.normal(kernel_key, (read, written))
        return {"kernel": kernel} | ({"bias": jnp.zeros(written)} if use_bias else {})

    params = {"stem": layer(0, num_in, num_stream)}
    for i in range(num_blocks):
        params[f"block_{i}"] = {
            "read": layer(2 * i + 2, num_stream, hidden_size),
            "write": layer(2 * i + 3, hidden_size, num_stream, use_bias=False),
        }
    return params | {"head": layer(1, num_stream, num_out)}


def _apply(activation: str, num_blocks: int, params: Params, x: Array) -> Array:
    stream = _features(activation, num_blocks, params, x)["stream"]
    return _mlp.dense(params["head"], stream)


def _features(
    activation: str, num_blocks: int, params: Params, x: Array
) -> dict[str, Array]:
    stream, values = _mlp.dense(params["stem"], x), {}
    for i in range(num_blocks):
        block = params[f"block_{i}"]
        read = _mlp.dense(block["read"], stream)
        values[f"hidden_{i}"] = _mlp.activate(activation, read)
        stream = stream + _mlp.dense(block["write"], values[f"hidden_{i}"])
    return {"stream": stream, **values}
