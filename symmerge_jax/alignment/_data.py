"""Checks of a problem's data, and minibatches.

Everything is checked on shapes alone, before any work, also under `jax.jit`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _finite
from symmerge_jax.typing import Array, Key, Params


def check_data(problem: _base.AlignmentProblem, solver: str) -> int:
    """Return the number of samples `S` of the data, or refuse data without samples."""
    data = problem.task.data
    if data is None:
        raise ValueError(f"{solver} needs data: give the task `data`.")
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(data)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths or 0 in lengths:
        raise ValueError(
            f"{solver}: the arrays of `data` must share a leading axis of at least one"
            f" sample, got the shapes {shapes}."
        )
    _finite.check_data(data, solver)
    return shapes[0][0]


def check_loss(
    problem: _base.AlignmentProblem, solver: str, num_drawn: Mapping[str, int | None]
) -> Callable[[Params, Any], Array]:
    """Return the task loss of a problem, or refuse one that cannot be evaluated.

    Args:
      problem: the problem to be solved.
      solver: name of the solver, for messages.
      num_drawn: samples to be drawn at once, by the name of the option that says so.
    """
    loss_fn = problem.task.loss_fn
    if loss_fn is None:
        raise ValueError(f"{solver} needs a loss: give the task `loss_fn`.")
    num_samples = check_data(problem, solver)
    for option, size in num_drawn.items():
        if size is not None and size > num_samples:
            raise ValueError(
                f"{solver}: {option}={size} is more than the {num_samples} samples of"
                " `data`; lower it or give more data."
            )
    loss = jax.eval_shape(loss_fn, problem.params_a, problem.task.data)
    if getattr(loss, "shape", None) != ():
        raise ValueError(
            f"{solver}: loss_fn must return one number, the mean loss, got {loss}."
        )
    return loss_fn


def check_features(
    problem: _base.AlignmentProblem, solver: str
) -> Callable[[Params, Any], Mapping[str, Array]]:
    """Return the features of a problem, or refuse ones that do not fit the spec."""
    features_fn = problem.task.features_fn
    if features_fn is None:
        raise ValueError(
            f"{solver} needs the values of the neurons: give the task `features_fn`,"
            " for example the `features` of a `networks.Network`."
        )
    num_samples = check_data(problem, solver)
    features = jax.eval_shape(features_fn, problem.params_a, problem.task.data)
    known = {space.name for space in problem.spec.spaces}
    needed = {space.name for space in problem.spec.movable_spaces}
    if not needed <= features.keys() <= known:
        raise ValueError(
            f"{solver}: features_fn returns the spaces {sorted(features)}, but the spec"
            f" needs {sorted(needed)} and knows {sorted(known)}."
        )
    sizes = problem.spec.sizes(problem.params_a)
    for name in sorted(needed):
        shape = features[name].shape
        if len(shape) < 2 or shape[0] != num_samples or shape[-1] != sizes[name]:
            raise ValueError(
                f"{solver}: features of space '{name}' have shape {shape}, expected"
                f" ({num_samples}, ..., {sizes[name]}): samples first, neurons last."
            )
    return features_fn


def minibatch(key: Key, data: Any, size: int) -> Any:
    """Return `size` samples of the data, drawn with replacement."""
    return _take(data, jax.random.randint(key, (size,), 0, symmetry.num_rows(data)))


def subset(key: Key, data: Any, size: int | None) -> Any:
    """Return `size` different samples of the data in random order; None for all."""
    if size is None:
        return data
    num_samples = symmetry.num_rows(data)
    return _take(data, jax.random.choice(key, num_samples, (size,), replace=False))


def slice_samples(data: Any, start: Array | int, size: int) -> Any:
    """Return the samples `start` to `start + size`."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), start, size), data
    )


def _take(data: Any, chosen: Array) -> Any:
    return jax.tree.map(lambda leaf: jnp.take(jnp.asarray(leaf), chosen, axis=0), data)
