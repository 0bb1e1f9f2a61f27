"""What solvers refuse: options of another kind, data that do not fit, NaN.

Called eagerly, every solver raises. A compiled program cannot: there an element that
means nothing has the permutation -1 and NaN scales, and the result has not converged.
`check_element` finds it when the program has ended. Shapes are checked before any work,
also under `jax.jit`.
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import programs, symmetry
from symmerge_jax.alignment import _base
from symmerge_jax.typing import Array, Params

SCALES = ("balanced", "matched")
"""Where positive scales come from: from balance alone, or from the partner."""


def check_integer(solver: str, name: str, value: Any, least: int) -> None:
    """Refuse what is not an integer of at least this size."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{solver}: {name} must be an integer, got {value!r}.")
    if number < least:
        raise ValueError(f"{solver}: {name} must be >= {least}, got {number}.")


def check_number(solver: str, name: str, value: Any) -> None:
    """Refuse what is not a number."""
    if isinstance(value, str | bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{solver}: {name} must be a number, got {value!r}.")


def check_name(solver: str, name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse what is not a known name."""
    if value not in known:
        raise ValueError(
            f"{solver}: {name} must be one of {tuple(known)}, got {value!r}."
        )


def check_names(
    solver: str, name: str, value: Any, known: Sequence[str], *, hint: str = ""
) -> None:
    """Refuse what is not a tuple of known names."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(
            f"{solver}: {name} must be a tuple of names of {tuple(known)}, got"
            f" {value!r}."
        )
    for item in value:
        if item not in known:
            raise ValueError(
                f"{solver}: {name} has the unknown name {item!r}; known are"
                f" {tuple(known)}{hint}."
            )


def check_aligner(solver: str, name: str, value: Any) -> None:
    """Refuse what is not a solver for two networks."""
    if isinstance(value, type) or not callable(value):
        hint = f": write {value.__name__}()" if isinstance(value, type) else ""
        raise TypeError(
            f"{solver}: {name} must be a solver for two networks, got {value!r}{hint}."
        )
    if hasattr(value, "aligner") and hasattr(value, "max_sweeps"):
        raise TypeError(
            f"{solver}: {name} must be a solver for two networks, but"
            f" {type(value).__name__} brings many together."
        )


def count_samples(problem: _base.AlignmentProblem, solver: str) -> int:
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
    check_data(data, solver)
    return shapes[0][0]


def check_loss(
    problem: _base.AlignmentProblem, solver: str, num_drawn: Mapping[str, int | None]
) -> Callable[[Params, Any], Array]:
    """Return the task loss of a problem, or refuse an invalid one.

    `num_drawn` are samples to be drawn at once, by the name of the option that says so.
    """
    loss_fn = problem.task.loss_fn
    if loss_fn is None:
        raise ValueError(f"{solver} needs a loss: give the task `loss_fn`.")
    num_samples = count_samples(problem, solver)
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
    num_samples = count_samples(problem, solver)
    features = jax.eval_shape(features_fn, problem.params_a, problem.task.data)
    known = {space.name for space in problem.spec.spaces}
    inner = {name for space in problem.spec.matched_spaces for name in space.over[-1:]}
    needed = {space.name for space in problem.spec.matched_spaces}
    needed -= inner - features.keys()  # heads are known by their dimensions
    if not needed <= features.keys() <= known:
        raise ValueError(
            f"{solver}: features_fn returns the spaces {sorted(features)}, but the spec"
            f" needs {sorted(needed)} and knows {sorted(known)}."
        )
    sizes = problem.spec.sizes(problem.params_a)
    shapes = symmetry.element_shapes(problem.spec, sizes)
    for name in sorted(needed):
        shape, last = features[name].shape, shapes[name]
        fits = len(shape) > len(last) and shape[-len(last) :] == last
        if not fits or shape[0] != num_samples:
            raise ValueError(
                f"{solver}: features of space '{name}' have shape {shape}, expected"
                f" ({num_samples}, ..., {', '.join(map(str, last))}): samples first,"
                " neurons last."
            )
    return features_fn


def check_data(data: Any, where: str = "data") -> None:
    """Refuse data with NaN or infinite entries, by array and sample.

    Args:
      data: tree of arrays with a leading axis of samples; traced ones, integers and
        what is not an array pass.
      where: who needs the data, for the message.
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


def check_problem(
    problem: _base.AlignmentProblem,
    solver: str,
    *,
    relaxed: bool = False,
    on_host: bool = False,
) -> _base.AlignmentProblem:
    """Return the problem of the atoms of two networks.

    Refuses many networks, NaN or infinite weights where values are known, and spaces
    over others where a solver relaxes elements to matrices. Arrays are those of numpy
    where a solver computes on the host, and of JAX elsewhere.
    """
    if not isinstance(problem, _base.AlignmentProblem):
        raise TypeError(
            f"{solver} aligns two networks: it takes an AlignmentProblem, got"
            f" {type(problem).__name__}."
        )
    for name in ("params_a", "params_b"):
        params = getattr(problem, name)
        if not symmetry.is_traced(params):
            symmetry.check_finite(params, f"{solver}: {name}: ")
    if relaxed and (inner := [s for s in problem.spec.matched_spaces if s.over]):
        raise ValueError(
            f"{solver} does not support spaces over others, as '{inner[0].name}' lies"
            f" over {list(inner[0].over)}: use WeightMatching or ActivationMatching."
        )
    pair = problem.params_a, problem.params_b
    a, b = programs.placed(pair, on_host=on_host)
    problem = dataclasses.replace(problem, params_a=a, params_b=b)
    view = symmetry.atoms_of(problem.spec, whole := a)
    if view.spec is problem.spec:
        return problem

    def of_atoms(function):
        if function is None:
            return None
        return lambda atoms, *rest: function(view.undo(atoms, whole), *rest)

    return dataclasses.replace(
        problem,
        params_a=view.view(problem.params_a),
        params_b=view.view(problem.params_b),
        task=dataclasses.replace(
            problem.task,
            features_fn=of_atoms(problem.task.features_fn),
            loss_fn=of_atoms(problem.task.loss_fn),
        ),
        spec=view.spec,
    )


def check_stored(
    problem: _base.AlignmentProblem, solver: str
) -> _base.AlignmentProblem:
    """Return the problem of the atoms of two networks, of which nothing is read.

    Refuses arrays of other names, shapes or types than in the first network.
    """
    if not isinstance(problem, _base.AlignmentProblem):
        raise TypeError(
            f"{solver}.stream aligns two networks: it takes an AlignmentProblem, got"
            f" {type(problem).__name__}."
        )
    pair = {"params_a": problem.params_a, "params_b": problem.params_b}
    symmetry.check_same_architecture(pair)
    view = symmetry.atoms_of(problem.spec, problem.params_a)
    a, b = map(view.view, pair.values())
    return dataclasses.replace(problem, params_a=a, params_b=b, spec=view.spec)


def finish(
    result: _base.AlignmentResult,
    valid: Array | Mapping[str, Array],
    message: str,
) -> _base.AlignmentResult:
    """Refuse a result that means nothing, or mark it under `jax.jit`.

    `valid` says whether it means something, `[]` for all spaces or for each.
    """
    by_space = isinstance(valid, Mapping)
    numbers = programs.namespace(valid)
    every = numbers.asarray(list(valid.values()) if by_space else valid, bool).all()
    if not symmetry.is_traced(every) and not every:
        raise ValueError(message)
    element = {}
    for name, (perm, scale) in result.element.items():
        keep = valid.get(name, every) if by_space else every
        element[name] = symmetry.Monomial(
            numbers.where(keep, perm, -1),
            numbers.where(keep, scale, np.nan).astype(scale.dtype),
        )
    converged = numbers.asarray(result.converged & every)
    return result._replace(element=element, converged=converged)


def check_element(
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    sizes: Mapping[str, int],
    solver: str = "The solver",
    *,
    factors: bool = True,
) -> None:
    """Refuse what a solver returned if it is not an element of the symmetry group.

    Args:
      element: concrete arrays, with or without leading axes `*N`.
      spec: the symmetry.
      sizes: number of neurons per space, as `spec.sizes(params)` returns.
      solver: name of the solver, for messages.
      factors: False leaves it to a certificate whether the group has these factors.
    """
    groups = {space.name: space.group for space in spec.movable_spaces}
    shapes = symmetry.element_shapes(spec, sizes)
    for name, (perm, scale) in element.items():
        where = f"{solver} returned for space '{name}'"
        if name not in groups:
            raise ValueError(f"{where} an element, but only {list(groups)} can move.")
        perm, scale = np.asarray(perm), np.asarray(scale)
        shape = shapes[name]
        if perm.shape != scale.shape or perm.shape[-len(shape) :] != shape:
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
