"""Assertions for the laws of weight symmetries, for tests of this and other projects.

A law is checked on random group elements. Failures name the parameter, the largest
deviation and where it is.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import networks, symmetry
from symmerge_jax.typing import Array, Key, Params


def random_params(
    key: Key, template: networks.Network | Params, *, std: float = 0.1
) -> Params:
    """Return generic parameters: no zeros and no ties, for which laws hold trivially.

    Args:
      key: random key.
      template: a network, whose `init` gives the kernels while the biases, which it
        sets to zero, are drawn; or parameters or their shapes, drawn leaf by leaf.
      std: standard deviation of the drawn leaves, which are normal.
    """
    init_key, leaf_key = jax.random.split(key)
    keep_kernels = isinstance(template, networks.Network)
    given = template.init(init_key) if keep_kernels else template
    leaves = {}
    for index, (path, leaf) in enumerate(symmetry.flatten(given).items()):
        if keep_kernels and jnp.any(leaf != 0):
            leaves[path] = leaf
        else:
            key = jax.random.fold_in(leaf_key, index)
            leaves[path] = std * jax.random.normal(key, leaf.shape, leaf.dtype)
    return symmetry.unflatten(leaves)


def assert_same_function(
    apply: Callable[[Params, Array], Array],
    params_a: Params,
    params_b: Params,
    x: Array,
    *,
    atol: float = 1e-5,
    rtol: float = 1e-5,
) -> None:
    """Assert that two parameters give one function.

    Args:
      apply: `apply(params, x) -> y`.
      params_a: parameters of one network.
      params_b: parameters of the other.
      x: inputs to compare on.
      atol: allowed deviation, in units of the output.
      rtol: allowed deviation, relative to the largest output of the first network.

    Raises:
      AssertionError: gives the largest deviation, its index and the allowed one.
    """
    if problem := _deviation(apply(params_a, x), apply(params_b, x), atol, rtol):
        raise AssertionError(f"The networks differ as functions: {problem}.")


def assert_invariant(
    key: Key,
    fn: Callable[[Params], Any],
    params: Params,
    spec: symmetry.SymmetrySpec,
    *,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    num_samples: int = 3,
    permute: bool = True,
    rescale: bool = True,
    scale_std: float = 1.0,
) -> None:
    """Assert that `fn(g . params) = fn(params)` for random group elements `g`.

    Args:
      key: random key.
      fn: map from parameters to an array or a nested mapping of arrays.
      params: parameters of one network.
      spec: their symmetry.
      atol: allowed deviation.
      rtol: allowed deviation, relative to the largest entry of the expected array.
      num_samples: number of group elements.
      permute: see `symmetry.sample`.
      rescale: see `symmetry.sample`.
      scale_std: see `symmetry.sample`.

    Raises:
      AssertionError: names the sample, the leaf and the largest deviation.
    """
    image = fn(params)
    options = dict(permute=permute, rescale=rescale, scale_std=scale_std)
    for sample, element in _elements(key, params, spec, num_samples, **options):
        moved = fn(symmetry.act(element, params, spec))
        _compare(image, moved, f"Not invariant, sample {sample}", atol, rtol)


def assert_equivariant(
    key: Key,
    fn: Callable[[Params], Params],
    params: Params,
    spec: symmetry.SymmetrySpec,
    *,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    num_samples: int = 3,
    permute: bool = True,
    rescale: bool = True,
    scale_std: float = 1.0,
) -> None:
    """Assert that `fn(g . params) = g . fn(params)` for random group elements `g`.

    Args:
      key: random key.
      fn: map from parameters to parameters of the same architecture.
      params: parameters of one network.
      spec: their symmetry, in which both sides are moved.
      atol: see `assert_invariant`; so are the others.
      rtol: relative to the largest entry.
      num_samples: number of group elements.
      permute: see `symmetry.sample`.
      rescale: see `symmetry.sample`.
      scale_std: see `symmetry.sample`.

    Raises:
      AssertionError: names the sample, the parameter and the largest deviation.
    """
    image = fn(params)
    options = dict(permute=permute, rescale=rescale, scale_std=scale_std)
    for sample, element in _elements(key, params, spec, num_samples, **options):
        expected = symmetry.act(element, image, spec)
        moved = fn(symmetry.act(element, params, spec))
        _compare(expected, moved, f"Not equivariant, sample {sample}", atol, rtol)


def _elements(key, params, spec, num_samples, **options):
    """Yield the number of each sample and its element."""
    sizes = spec.sizes(params)
    for sample, sample_key in enumerate(jax.random.split(key, num_samples)):
        yield sample, symmetry.sample(sample_key, spec, sizes, **options)


def _compare(expected, got, what: str, atol: float, rtol: float) -> None:
    structure = jax.tree.structure(got)
    if structure != jax.tree.structure(expected):
        raise AssertionError(
            f"{what}: result {structure}, expected {jax.tree.structure(expected)}."
        )
    others = symmetry.flatten(got)
    for path, leaf in symmetry.flatten(expected).items():
        if problem := _deviation(leaf, others[path], atol, rtol):
            where = f" at '{symmetry.name(path)}'" if path else ""
            raise AssertionError(f"{what}{where}: {problem}.")


def _deviation(expected, got, atol: float, rtol: float) -> str:
    """Return what is wrong with an array, or an empty string."""
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.shape != got.shape:
        return f"shape {got.shape}, expected {expected.shape}"
    if not expected.size:
        return ""
    deviation = np.abs(got - expected)
    allowed = atol + rtol * np.max(np.abs(expected))
    deviation = np.where(np.isfinite(deviation), deviation, np.inf)
    worst = np.unravel_index(np.argmax(deviation), deviation.shape)
    if deviation[worst] <= allowed:
        return ""
    index = tuple(int(i) for i in worst)
    return (
        f"largest deviation {deviation[worst]:.3g} at index {index}"
        f" ({got[worst]:.6g} instead of {expected[worst]:.6g}; allowed {allowed:.3g})"
    )
