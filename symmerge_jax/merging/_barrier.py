"""The loss along a path between two networks, and how far it rises above its ends."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import programs, symmetry
from symmerge_jax.merging import _interpolate
from symmerge_jax.typing import Array, Params, Task


class Barrier(NamedTuple):
    """The loss along the path between networks `a` and `b`, in the unit of the loss.

    Where `loss_fn` returns a tree of losses, all but `lams` are such trees.

    Attributes:
      lams: `[num_points]` evenly spaced from 0 (network a) to 1 (network b).
      losses: `[*N, num_points]` loss `L` of the network at each point.
      barrier: `[*N]` largest excess over the straight line between the end losses,
        `max_lam psi(lam)`, `psi(lam) = L(lam) - ((1 - lam) L(0) + lam L(1))`; at least
        0, which it is at the ends.
      auc: `[*N]` integral of `psi` over [0, 1] by the trapezoidal rule; negative if the
        path lies below the line.
    """

    lams: Array
    losses: Any
    barrier: Any
    auc: Any


def loss_barrier(
    params_a: Params,
    params_b: Params,
    loss_fn: Callable[..., Any] | Task,
    *,
    network: Any = None,
    num_batch_axes: int | None = None,
    data: Any = None,
    num_points: int = 25,
    method: str = "linear",
    batch_size: int = 16,
    compiled: bool = True,
) -> Barrier:
    """Measure the loss barrier between two networks, or between pairs of networks.

    The barrier and its integral are those of Navon et al. 2024 (arXiv 2310.13397,
    section 4); the published curves of Git Re-Basin have 25 points. Nothing is aligned
    here: align first, or measure what happens without.

    All points of all pairs are evaluated by one compiled program, `batch_size` networks
    at a time, so that memory does not grow with their number. The program is kept for
    the next call with a `loss_fn` that computes the same.

    Args:
      params_a: parameters of one network, or of a batch of networks with leading axes
        `*N`. What is not a parameter (counters, random keys) is that of `params_a` on
        the whole path.
      params_b: parameters of as many networks, aligned with the first.
      loss_fn: `loss_fn(params) -> []`, or `loss_fn(params, data) -> []` where `data` is
        given: the loss of one network, smaller is better, or a tree of several (for
        accuracy pass the error rate). A pure function of JAX, unless `compiled` is
        False. A `Task` stands for its loss and its data.
      network: a `networks.Network` or `SymmetrySpec`, which tells the batch axes from
        others; None for one network each, or for `num_batch_axes`.
      num_batch_axes: number of leading axes `*N`, where trees have more than parameters
        and no network tells.
      data: any tree of arrays, the same for all networks, or None. Large arrays belong
        here: what `loss_fn` closes over is copied into the program.
      num_points: points on the path, both ends included; at least 3.
      method: path, see `interpolate`.
      batch_size: networks evaluated at once, where the program is compiled.
      compiled: False calls `loss_fn` once for every point, with arrays: for a loss that
        needs their values, as loops over batches, numpy or scikit-learn do.

    Returns:
      The curve, the barrier and its integral.

    Raises:
      TypeError: a parameter that is not an array, a `loss_fn` that cannot be compiled
        or is not a function.
      ValueError: networks of another tree, shape or type, or with NaN; parameters that
        do not fit the network, or a batch of networks without `network`; options out of
        range, or a loss that is not a scalar.

    Example:
      >>> a, b = {"w": jnp.array(-1.0)}, {"w": jnp.array(1.0)}
      >>> result = loss_barrier(a, b, lambda params: -(params["w"] ** 2), num_points=3)
      >>> result.losses.tolist(), float(result.barrier), float(result.auc)
      ([-1.0, -0.0, -1.0], 1.0, 0.5)
    """
    if isinstance(loss_fn, Task):
        if data is not None:
            raise ValueError("Pass data in the Task, or beside a function, not both.")
        evaluate, data = loss_fn.loss_fn, loss_fn.data
    else:
        evaluate = loss_fn
    if not callable(evaluate):
        raise TypeError(
            f"loss_fn must be a function, or a Task with one; got {loss_fn!r}."
        )
    symmetry.check_same_architecture({"params_a": params_a, "params_b": params_b})
    if num_points < 3:
        raise ValueError(
            f"num_points must be >= 3, two ends and a point between, got {num_points}."
        )
    _interpolate.check_method(method)
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}.")
    for name, params in (("params_a", params_a), ("params_b", params_b)):
        if not symmetry.is_traced(params):
            symmetry.check_finite(params, f"{name}: ")
    base, carried = symmetry.split(params_a)
    batch_shape = _batch_shape(base, num_batch_axes, network)
    params_b = symmetry.on_devices_of(params_a, params_b)
    other = symmetry.rebuild(base, symmetry.flatten(symmetry.split(params_b)[0]))
    num_pairs = math.prod(batch_shape)
    pairs = jax.tree.map(
        lambda x: jnp.reshape(x, (num_pairs, *x.shape[len(batch_shape) :])),
        (base, other),
    )
    evaluate = symmetry.with_carried(evaluate, carried)
    if network is None and num_batch_axes is None:
        evaluate = _of_one_network(evaluate, pairs[0])
    arguments = () if data is None else (data,)
    if compiled:
        static = num_points, method, min(batch_size, num_pairs * num_points)
        one = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), pairs[0]
        )
        curve = programs.remembered(
            functools.partial(_compile, evaluate, *static),
            *static,
            calls={"loss_fn": (evaluate, (one, *arguments))},
            remedy="write it with jax.numpy, or pass compiled=False",
        )
        lams, losses = curve(*pairs, *arguments)
    else:
        lams, losses = _loop(evaluate, num_points, method, pairs, arguments)
    psi = jax.tree.map(functools.partial(_excess, lams), losses)

    def shaped(function, tree):
        return jax.tree.map(
            lambda x: (y := function(x)).reshape(*batch_shape, *y.shape[1:]), tree
        )

    return Barrier(
        lams=lams,
        losses=shaped(lambda x: x, losses),
        barrier=shaped(lambda x: x.max(1), psi),
        auc=shaped(lambda x: jnp.trapezoid(x, dx=1 / (num_points - 1), axis=1), psi),
    )


def _excess(lams: Array, losses: Array) -> Array:
    """Return `psi`, `[N, T]`: exactly zero at the ends, whatever the rounding."""
    psi = losses - ((1 - lams)[None] * losses[:, :1] + lams[None] * losses[:, -1:])
    is_end = (lams == 0) | (lams == 1)
    return jnp.where(is_end[None], 0, psi)


def _compile(loss_fn, num_points: int, method: str, batch_size: int):
    """Return the program from pairs `[N]` to lams `[T]` and losses `[N, T]`."""

    def curve(params_a: Params, params_b: Params, *data: Any) -> tuple[Array, Any]:
        lams = jnp.linspace(0, 1, num_points)
        num_pairs = symmetry.num_rows(params_a)
        total = num_pairs * num_points
        num_batches = -(-total // batch_size)

        def loss(index: Array) -> Any:
            pair, point = index // num_points, index % num_points
            a, b = jax.tree.map(
                lambda leaf: jnp.asarray(leaf)[pair], (params_a, params_b)
            )
            params = _interpolate.interpolate(a, b, lams[point], method=method)
            return _as_scalars(loss_fn(params, *data))

        # The last batch is filled up, so that there is one shape to compile.
        indices = jnp.minimum(jnp.arange(num_batches * batch_size), total - 1)
        losses = jax.lax.map(jax.vmap(loss), indices.reshape(num_batches, batch_size))
        return lams, jax.tree.map(
            lambda x: x.ravel()[:total].reshape(num_pairs, num_points), losses
        )

    return jax.jit(curve)


def _loop(loss_fn, num_points: int, method: str, pairs, data) -> tuple[Array, Any]:
    """Return what the compiled program returns, calling the loss point by point."""
    lams = jnp.linspace(0, 1, num_points)
    losses = []
    for pair in range(symmetry.num_rows(pairs)):
        a, b = symmetry.rows(pairs, pair)
        for lam in lams:
            params = _interpolate.interpolate(a, b, lam, method=method)
            losses.append(_as_scalars(loss_fn(params, *data)))
    return lams, jax.tree.map(
        lambda *values: jnp.stack(values).reshape(-1, num_points), *losses
    )


def _batch_shape(params: Params, given: int | None, network) -> tuple[int, ...]:
    """Return the leading axes that all leaves share, as said or as read off."""
    leaves = jax.tree.leaves(params)
    if network is not None:
        shape = symmetry.spec_of(network).batch_shape(params)
        if given not in (None, len(shape)):
            raise ValueError(
                f"num_batch_axes={given}, but by the network the parameters have"
                f" {len(shape)} leading axes."
            )
    else:
        shape, *others = {jnp.shape(leaf)[: given or 0] for leaf in leaves}
        if others or len(shape) != (given or 0):
            raise ValueError(
                f"The parameters do not share {given} leading axes: their shapes are"
                f" {sorted(map(jnp.shape, leaves))}."
            )
    if 0 in shape:
        raise ValueError("There are zero networks in the batch.")
    return shape


def _of_one_network(loss_fn, params_batch: Params):
    """Return the loss, which says so where networks may be an unknown batch."""
    shapes = [jnp.shape(x)[1:] for x in jax.tree.leaves(params_batch)]
    sizes = {shape[:1] for shape in shapes}

    def evaluate(*arguments):
        try:
            return loss_fn(*arguments)
        except (TypeError, ValueError) as error:
            if len(sizes) > 1 or sizes == {()} or isinstance(error, programs.NOT_PURE):
                raise
            [cause, *_] = str(error).splitlines() or [""]
            raise ValueError(
                f"loss_fn fails for a single network ({cause}), and all parameters"
                f" share a leading axis of {next(iter(sizes))[0]}. If that counts"
                " networks, pass network= or num_batch_axes=1."
            ) from error

    return evaluate


def _as_scalars(losses: Any) -> Any:
    """Return losses as arrays, and refuse what is not the loss of one network."""
    if wrong := [x for x in map(jnp.shape, jax.tree.leaves(losses)) if x]:
        raise ValueError(
            f"loss_fn must return the loss of one network, a scalar; got shape"
            f" {wrong[0]}. If the networks are a batch, pass network=."
        )
    return jax.tree.map(jnp.asarray, losses)
