"""Means of more than two CNNs, brought together in several ways."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.compare import _cnn_methods
from symmerge_jax import alignment, merging, symmetry
from symmerge_jax.typing import Params


class Crowds(NamedTuple):
    """Crowds after a method.

    Attributes:
      aligned: parameters `[R, k, ...]`, in a common frame.
      seconds: what the method took for all crowds; compiled before.
    """

    aligned: Params
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to bring several networks together.

    Attributes:
      label: name in tables and figures.
      bring: `bring(context, params [R, k, ...]) -> aligned`.
      is_exact: whether it keeps functions.
      needs_canonicalizer: whether it uses the autoencoder.
      groups: the groups of neurons for which it is a method of its own.
    """

    label: str
    bring: Callable[[_cnn_methods.Context, Params], Params]
    is_exact: bool = True
    needs_canonicalizer: bool = False
    groups: tuple[symmetry.Group, ...] = tuple(symmetry.Group)


def bring_together(name: str, context: _cnn_methods.Context, params: Params) -> Crowds:
    """Apply a method to crowds of one size.

    Args:
      name: a key of `METHODS`.
      context: what the method uses.
      params: networks `[R, k, ...]`.

    Returns:
      The networks in a common frame.
    """
    bring = METHODS[name].bring
    bring(context, params)  # compiles
    start = time.perf_counter()
    aligned = jax.device_get(bring(context, params))
    return Crowds(aligned, time.perf_counter() - start)


def mean(tree: Any) -> Any:
    """Return the means `[R, ...]` of trees `[R, k, ...]`."""
    return jax.tree.map(lambda x: np.mean(x, axis=1, dtype=x.dtype), tree)


def _stay(context: _cnn_methods.Context, params: Params) -> Params:
    del context
    return params


def _solve(solver: Any):
    """Return a method that aligns the networks of a crowd with each other."""

    def bring(context: _cnn_methods.Context, params: Params) -> Params:
        return _solving(solver, context.spec)(context.key, params)

    return bring


@functools.lru_cache(maxsize=32)
def _solving(solver, spec):
    """Return the compiled solver for crowds, one after the other."""

    def program(key, params):
        num_crowds, size = jax.tree.leaves(params)[0].shape[:2]
        weights = merging.check_weights(None, size).astype(np.float32)

        def solve(row):
            key, crowd = row
            problem = alignment.ManyProblem(
                params_batch=crowd, weights=weights, spec=spec
            )
            elements = solver(key, problem).elements
            act = lambda element, one: symmetry.act(element, one, spec)  # noqa: E731
            return jax.vmap(act)(elements, crowd)

        return jax.lax.map(solve, (jax.random.split(key, num_crowds), params))

    return jax.jit(program)


def _canonicalize(form: str):
    """Return a method that takes every network for itself."""

    def bring(context: _cnn_methods.Context, params: Params) -> Params:
        shape = jax.tree.leaves(params)[0].shape[:2]
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), params)
        found, _ = _cnn_methods.canonical_forms(context, flat, form)
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), found)

    return bring


METHODS = {
    "mean": Method(label="naive", bring=_stay),
    "merge_many": Method(
        label="each to the mean (MergeMany)", bring=_solve(alignment.MergeMany())
    ),
    "universe": Method(
        label="common reference (Universe)", bring=_solve(alignment.Universe())
    ),
    "closed_form": Method(label="closed form", bring=_canonicalize("closed")),
    "template": Method(
        label="template of the autoencoder",
        bring=_canonicalize("template"),
        needs_canonicalizer=True,
    ),
    "reconstruct": Method(
        label="decoded weights",
        bring=_canonicalize("decoded"),
        is_exact=False,
        needs_canonicalizer=True,
    ),
}
"""Every method, in the order of tables and colours."""
