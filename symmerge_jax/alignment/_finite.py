"""What is not finite is refused by name, or marked where programs cannot raise.

Called eagerly, every solver raises. A compiled program cannot: there an element that
means nothing has the permutation -1 and NaN scales, and the result has not converged.
`check_element` finds it when the program has ended.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base
from symmerge_jax.typing import Array


def check_data(data: Any, where: str = "data") -> None:
    """Refuse data with NaN or infinite entries.

    Args:
      data: tree of arrays with a leading axis of samples; traced ones, integers and
        what is no array pass.
      where: who needs the data, for the message.

    Raises:
      ValueError: names the array, the first sample, and counts the entries.
    """
    for path, leaf in symmetry.flatten(data).items():
        if symmetry.is_traced(leaf) or not symmetry.is_parameter(leaf):
            continue
        finite = np.isfinite(np.asarray(jnp.asarray(leaf)))
        if not finite.all():
            array = f" '{symmetry.name(path)}'" if path else ""
            index = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise ValueError(
                f"{where}: array{array} of the data is not finite: {leaf[index]} at"
                f" sample {index[0] if index else 0}"
                f" ({int((~finite).sum())} such entries). Repair or drop these samples."
            )


def check_problem(problem: _base.AlignmentProblem, solver: str) -> None:
    """Refuse many networks, and NaN or infinite weights where values are known."""
    if not isinstance(problem, _base.AlignmentProblem):
        raise TypeError(
            f"{solver} aligns two networks: it takes an AlignmentProblem, got"
            f" {type(problem).__name__}."
        )
    for name in ("params_a", "params_b"):
        params = getattr(problem, name)
        if not symmetry.is_traced(params):
            symmetry.check_finite(params, f"{solver}: {name}: ")


def finish(
    result: _base.AlignmentResult,
    valid: Array | Mapping[str, Array],
    message: str,
) -> _base.AlignmentResult:
    """Refuse a result that means nothing, or mark it under `jax.jit`.

    `valid` says whether it means something, `[]` for all spaces or for each.
    """
    by_space = isinstance(valid, Mapping)
    every = jnp.asarray(list(valid.values()) if by_space else valid, bool).all()
    if not symmetry.is_traced(every) and not every:
        raise ValueError(message)
    element = {}
    for name, (perm, scale) in result.element.items():
        keep = valid[name] if by_space else every
        element[name] = symmetry.Monomial(
            jnp.where(keep, perm, -1), jnp.where(keep, scale, jnp.nan)
        )
    return result._replace(element=element, converged=result.converged & every)


def check_element(
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    sizes: Mapping[str, int],
    solver: str = "The solver",
    *,
    factors: bool = True,
) -> None:
    """Refuse what a solver returned if it is no element of the symmetry group.

    Args:
      element: concrete arrays, with or without leading axes `*N`.
      spec: the symmetry.
      sizes: number of neurons per space, as `spec.sizes(params)` returns.
      solver: name of the solver, for messages.
      factors: False leaves it to a certificate whether the group has these factors.

    Raises:
      ValueError: names the space: an unknown one, other shapes, no permutation, or
        factors that its group does not have.
    """
    groups = {space.name: space.group for space in spec.movable_spaces}
    for name, (perm, scale) in element.items():
        where = f"{solver} returned for space '{name}'"
        if name not in groups:
            raise ValueError(f"{where} an element, but only {list(groups)} can move.")
        perm, scale = np.asarray(perm), np.asarray(scale)
        if perm.shape != scale.shape or perm.shape[-1:] != (sizes[name],):
            raise ValueError(
                f"{where} a permutation of shape {perm.shape} and scales of shape"
                f" {scale.shape}, expected {sizes[name]} neurons."
            )
        scale = scale.astype(np.float64)
        right = (np.sort(perm, axis=-1) == np.arange(sizes[name])).all(axis=-1)
        right &= np.isfinite(scale).all(axis=-1)
        if not right.all():
            raise ValueError(
                f"{where} no permutation with finite scales{_which(right)}: something"
                " that it compared was not finite. Look for NaN in the data, in the"
                " features or in the loss of this network."
            )
        if not factors:
            continue
        group = groups[name]
        if group is symmetry.Group.SCALE:
            right, allowed = scale > 0, "positive scales"
        elif group is symmetry.Group.SIGN:
            right, allowed = np.abs(scale) == 1, "the signs +1 and -1"
        else:
            right, allowed = scale == 1, "the scale 1"
        if not (right := right.all(axis=-1)).all():
            raise ValueError(
                f"{where} the factors {scale[~right][0].tolist()}{_which(right)}, but"
                f" its group '{group.value}' has {allowed} only."
            )


def _which(right: np.ndarray | np.bool_) -> str:
    """Return which problem of a batch is not right, in words."""
    if not right.ndim:
        return ""
    return f" (problem {tuple(int(i) for i in np.argwhere(~right)[0])} of the batch)"
