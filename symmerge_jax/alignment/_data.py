"""Data behind an alignment: what a problem must bring along, and minibatches of it.

Everything is checked on shapes alone, before any work, also under `jax.jit`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax.alignment import _base, _finite
from symmerge_jax.typing import Array, Key, Params


def check_data(problem: _base.AlignmentProblem, solver: str) -> int:
    """Return the number of samples `S` of the data of a problem.

    Args:
      problem: the problem to be solved.
      solver: name of the solver that needs the data, for messages.

    Returns:
      Length of the leading axis of every array of the data.

    Raises:
      ValueError: no data, no arrays or no samples in it, arrays that disagree, or,
        where values are known, one that is not finite.
    """
    if problem.data is None:
        raise ValueError(f"{solver} needs data: give the problem `data`.")
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(problem.data)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths or 0 in lengths:
        raise ValueError(
            f"{solver}: the arrays of `data` must share a leading axis of at least one"
            f" sample, got the shapes {shapes}."
        )
    _finite.check_data(problem.data, solver)
    return shapes[0][0]


def check_loss(
    problem: _base.AlignmentProblem, solver: str, num_drawn: Mapping[str, int | None]
) -> Callable[[Params, Any], Array]:
    """Return the task loss of a problem, or refuse one that cannot be evaluated.

    Args:
      problem: the problem to be solved.
      solver: name of the solver, for messages.
      num_drawn: samples to be drawn at once, by the name of the option that says so.

    Returns:
      The `loss_fn` of the problem.

    Raises:
      ValueError: no loss or no data, more samples to be drawn than there are, or a loss
        that is no scalar.
    """
    if problem.loss_fn is None:
        raise ValueError(f"{solver} needs a task loss: give the problem `loss_fn`.")
    num_samples = check_data(problem, solver)
    for option, size in num_drawn.items():
        if size is not None and size > num_samples:
            raise ValueError(
                f"{solver}: {option}={size} is more than the {num_samples} samples of"
                " `data`; lower it or give more data."
            )
    loss = jax.eval_shape(problem.loss_fn, problem.params_a, problem.data)
    if getattr(loss, "shape", None) != ():
        raise ValueError(
            f"{solver}: loss_fn must return one number, the mean loss, got {loss}."
        )
    return problem.loss_fn


def check_features(
    problem: _base.AlignmentProblem, solver: str
) -> Callable[[Params, Any], Mapping[str, Array]]:
    """Return the features of a problem, or refuse ones that do not fit the spec.

    Args:
      problem: the problem to be solved.
      solver: name of the solver, for messages.

    Returns:
      The `features_fn` of the problem.

    Raises:
      ValueError: no features or no data, a missing or unknown space, or a space with
        another number of samples or neurons.
    """
    if problem.features_fn is None:
        raise ValueError(
            f"{solver} needs the values of the neurons: give the problem `features_fn`,"
            " for example the `features` of a `networks.Network`."
        )
    num_samples = check_data(problem, solver)
    found = jax.eval_shape(problem.features_fn, problem.params_a, problem.data)
    known = {space.name for space in problem.spec.spaces}
    needed = {space.name for space in _base.movable_spaces(problem.spec)}
    if not needed <= found.keys() <= known:
        raise ValueError(
            f"{solver}: features_fn returns the spaces {sorted(found)}, but the spec"
            f" needs {sorted(needed)} and knows {sorted(known)}."
        )
    sizes = problem.spec.sizes(problem.params_a)
    for name in sorted(needed):
        shape = found[name].shape
        if len(shape) < 2 or shape[0] != num_samples or shape[-1] != sizes[name]:
            raise ValueError(
                f"{solver}: features of space '{name}' have shape {shape}, expected"
                f" ({num_samples}, ..., {sizes[name]}): samples first, neurons last."
            )
    return problem.features_fn


def minibatch(key: Key, data: Any, size: int) -> Any:
    """Return `size` samples of the data, drawn with replacement."""
    length = jax.tree.leaves(data)[0].shape[0]
    chosen = jax.random.randint(key, (size,), 0, length)
    return jax.tree.map(lambda leaf: jnp.take(jnp.asarray(leaf), chosen, axis=0), data)


def subset(key: Key, data: Any, size: int | None) -> Any:
    """Return `size` different samples of the data in random order; None for all."""
    if size is None:
        return data
    length = jax.tree.leaves(data)[0].shape[0]
    chosen = jax.random.choice(key, length, (size,), replace=False)
    return jax.tree.map(lambda leaf: jnp.take(jnp.asarray(leaf), chosen, axis=0), data)


def slice_samples(data: Any, start: Array | int, size: int) -> Any:
    """Return the samples `start` to `start + size`."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), start, size), data
    )
