"""The loss along a path between two networks, and how far it rises above its ends."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import alignment, symmetry
from symmerge_jax.merging import _interpolate
from symmerge_jax.typing import Array, Params


class Barrier(NamedTuple):
    """The loss along the path between networks `a` and `b`, in the unit of the loss.

    Where `eval_fn` returns a tree of losses, all but `lams` are such trees.

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
    eval_fn: Callable[..., Any],
    params_a: Params,
    params_b: Params,
    num_points: int = 25,
    *,
    data: Any = None,
    method: str = "linear",
    num_batch_axes: int | None = None,
    batch_size: int = 16,
    spec: symmetry.SymmetrySpec | None = None,
    compiled: bool = True,
) -> Barrier:
    """Measure the loss barrier between two networks, or between pairs of networks.

    The barrier and its integral are those of Navon et al. 2024 (arXiv 2310.13397,
    section 4); the published curves of Git Re-Basin have 25 points. Nothing is aligned
    here: align first, or measure what happens without.

    All points of all pairs are evaluated by one compiled program, `batch_size` networks
    at a time, so that memory does not grow with their number. The program is kept for
    the next call with an `eval_fn` that computes the same.

    Args:
      eval_fn: `eval_fn(params) -> []`, or `eval_fn(params, data) -> []` where `data` is
        given: the loss of one network, smaller is better, or a tree of several (for
        accuracy pass the error rate). A pure function of JAX, unless `compiled` is
        False. Large arrays belong into `data`: what the function closes over is copied
        into the program.
      params_a: parameters of one network, or of a batch of networks. What is no
        parameter (counters, random keys) is that of `params_a` on the whole path.
      params_b: parameters of as many networks, aligned with the first.
      num_points: points on the path, both ends included; at least 3.
      data: any tree of arrays, the same for all networks, or None.
      method: path, see `interpolate`.
      num_batch_axes: number of leading axes `*N` of every parameter that number pairs;
        None to read it off `spec`, or for none without one.
      batch_size: networks evaluated at once, where the program is compiled.
      spec: symmetry of the networks, which tells their batch axes from others; None if
        not known.
      compiled: False calls `eval_fn` once for every point, with arrays: for a loss that
        needs their values, as loops over batches, numpy or scikit-learn do.

    Returns:
      The curve, the barrier and its integral.

    Raises:
      TypeError: a parameter that is no array, or an `eval_fn` that cannot be compiled.
      ValueError: networks of another tree, shape or type, options out of range, batch
        axes that the spec does not allow, or a loss that is no scalar.

    Example:
      >>> a, b = {"w": jnp.array(-1.0)}, {"w": jnp.array(1.0)}
      >>> result = loss_barrier(lambda params: -(params["w"] ** 2), a, b, num_points=3)
      >>> result.losses.tolist(), float(result.barrier), float(result.auc)
      ([-1.0, -0.0, -1.0], 1.0, 0.5)
    """
    alignment.check_same_architecture({"params_a": params_a, "params_b": params_b})
    if num_points < 3:
        raise ValueError(
            f"num_points must be >= 3, two ends and a point between, got {num_points}."
        )
    if method not in _interpolate.METHODS:
        raise ValueError(f"Unknown method {method!r}; known: {_interpolate.METHODS}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}.")
    base, carried = symmetry.split(params_a)
    params_b = alignment.on_devices_of(params_a, params_b)
    other = symmetry.rebuild(base, symmetry.flatten(symmetry.split(params_b)[0]))
    num_batch_axes = _count_batch_axes(params_a, num_batch_axes, spec)
    batch_shape = _batch_shape(base, num_batch_axes)
    num_pairs = math.prod(batch_shape)
    pairs = jax.tree.map(
        lambda x: jnp.reshape(x, (num_pairs, *x.shape[num_batch_axes:])), (base, other)
    )
    evaluate = alignment.with_carried(eval_fn, carried)
    options = (num_points, method, data is not None)
    if compiled:
        batch_size = min(batch_size, num_pairs * num_points)
        one = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), pairs[0]
        )
        curve = alignment.remembered(
            functools.partial(_compile, evaluate, *options, batch_size),
            *options,
            batch_size,
            calls={"eval_fn": (evaluate, (one, data) if data is not None else (one,))},
            remedy="write it with jax.numpy, or pass compiled=False",
        )
        lams, losses = curve(*pairs, data)
    else:
        lams, losses = _loop(evaluate, *options, pairs, data)
    psi = jax.tree.map(functools.partial(_excess, lams), losses)
    shape = lambda x: x.reshape(*batch_shape, *x.shape[1:])  # noqa: E731
    return Barrier(
        lams=lams,
        losses=jax.tree.map(shape, losses),
        barrier=jax.tree.map(lambda x: shape(x.max(1)), psi),
        auc=jax.tree.map(
            lambda x: shape(jnp.trapezoid(x, dx=1 / (num_points - 1), axis=1)), psi
        ),
    )


def _excess(lams: Array, losses: Array) -> Array:
    """Return `psi`, `[N, T]`: exactly zero at the ends, whatever the rounding."""
    psi = losses - ((1 - lams)[None] * losses[:, :1] + lams[None] * losses[:, -1:])
    is_end = (lams == 0) | (lams == 1)
    return jnp.where(is_end[None], 0, psi)


def _compile(eval_fn, num_points: int, method: str, has_data: bool, batch_size: int):
    """Return the program from pairs `[N]` to lams `[T]` and losses `[N, T]`."""

    def curve(params_a: Params, params_b: Params, data: Any) -> tuple[Array, Any]:
        lams = jnp.linspace(0, 1, num_points)
        num_pairs = len(jax.tree.leaves(params_a)[0])
        total = num_pairs * num_points
        num_batches = -(-total // batch_size)

        def loss(index: Array) -> Any:
            pair, point = index // num_points, index % num_points
            a, b = jax.tree.map(
                lambda leaf: jnp.asarray(leaf)[pair], (params_a, params_b)
            )
            params = _interpolate.interpolate(a, b, lams[point], method=method)
            value = eval_fn(params, data) if has_data else eval_fn(params)
            _check_scalars(value)
            return jax.tree.map(jnp.asarray, value)

        # The last batch is filled up, so that there is one shape to compile.
        indices = jnp.minimum(jnp.arange(num_batches * batch_size), total - 1)
        losses = jax.lax.map(jax.vmap(loss), indices.reshape(num_batches, batch_size))
        return lams, jax.tree.map(
            lambda x: x.ravel()[:total].reshape(num_pairs, num_points), losses
        )

    return jax.jit(curve)


def _loop(
    eval_fn, num_points: int, method: str, has_data: bool, pairs, data
) -> tuple[Array, Any]:
    """Return what the compiled program returns, calling the loss point by point."""
    lams = jnp.linspace(0, 1, num_points)
    rows = []
    for pair in range(len(jax.tree.leaves(pairs)[0])):
        a, b = jax.tree.map(lambda x, pair=pair: x[pair], pairs)
        for lam in lams:
            params = _interpolate.interpolate(a, b, lam, method=method)
            value = eval_fn(params, data) if has_data else eval_fn(params)
            _check_scalars(value)
            rows.append(jax.tree.map(jnp.asarray, value))
    stack = lambda *values: jnp.stack(values).reshape(-1, num_points)  # noqa: E731
    return lams, jax.tree.map(stack, *rows)


def _check_scalars(value: Any) -> None:
    if wrong := [x for x in map(jnp.shape, jax.tree.leaves(value)) if x]:
        raise ValueError(
            "eval_fn must return the loss of one network, a scalar; got shape"
            f" {wrong[0]}. If the networks are a batch, pass num_batch_axes."
        )


def _count_batch_axes(params: Params, given: int | None, spec) -> int:
    """Return the number of leading axes, and refuse one that the spec contradicts."""
    if spec is None:
        return given or 0
    known = len(spec.batch_shape(params))
    if given not in (None, known):
        raise ValueError(
            f"num_batch_axes={given}, but by the spec the parameters have {known}"
            " leading axes."
        )
    return known


def _batch_shape(params: Params, num_batch_axes: int) -> tuple[int, ...]:
    """Return the leading axes that all leaves share."""
    leaves = jax.tree.leaves(params)
    found = {jnp.shape(leaf)[:num_batch_axes] for leaf in leaves}
    if len(found) != 1 or len(min(found)) != num_batch_axes:
        raise ValueError(
            f"The parameters do not share {num_batch_axes} leading axes: their shapes"
            f" are {sorted(map(jnp.shape, leaves))}."
        )
    [shape] = found
    if 0 in shape:
        raise ValueError("There are zero networks in the batch.")
    return shape
