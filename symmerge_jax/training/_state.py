"""The state of a training run: one tree that goes into a step and comes out of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int, PyTree

from symmerge_jax.training import _processes, _sharding


class TrainState(NamedTuple):
    """Everything that a run needs to resume exactly where it stopped.

    Attributes:
      step: `[]` int32, number of finished steps.
      params: tree of parameters.
      opt_state: state of the optax optimizer.
      ema_params: moving average of `params`, the same tree; None if off.
      key: typed key of the whole run, never changed; step `k` uses
        `fold_in(key, k)`.
    """

    step: Int[Array, ""]
    params: PyTree
    opt_state: PyTree
    ema_params: PyTree | None
    key: Array


def init_state(
    key: Array,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    ema: bool = False,
    mesh: Mesh | None = None,
) -> TrainState:
    """Return the state before the first step, replicated over a mesh.

    Arrays are copied: a step donates the state's memory, but not the caller's `params`.

    Args:
      key: typed key of the run.
      params: initial parameters.
      optimizer: the optimizer whose state is kept.
      ema: keep a moving average of the parameters, starting at `params`.
      mesh: mesh of the step; all devices if None.

    Raises:
      TypeError: `key` is a raw uint32 key instead of a typed one.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"key must be a typed key, jax.random.key(seed), got dtype {key.dtype}."
        )
    mesh = _sharding.make_mesh() if mesh is None else mesh
    params = jax.tree.map(jnp.asarray, params)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        ema_params=params if ema else None,
        key=key,
    )
    return _sharding.replicate(_processes.map_arrays(jnp.copy, state), mesh)


def eval_params(state: TrainState) -> PyTree:
    """Return the parameters to evaluate: the moving average if there is one."""
    return state.params if state.ema_params is None else state.ema_params
