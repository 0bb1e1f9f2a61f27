"""What the verbs share: arguments checked, functions proven, programs called."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax import alignment, certificates, networks, programs, symmetry
from symmerge_jax.typing import Key, Params, Task

Architecture = networks.Network | symmetry.SymmetrySpec
"""What a verb knows of the networks: all, or their symmetry alone."""


class Proof(NamedTuple):
    """How a verb proves that networks keep their function; not, without `apply`.

    Attributes:
      network: the architecture.
      apply: the function, where the architecture is a spec.
      options: of the certificate.
    """

    network: Architecture
    apply: Callable[[Params, Any], Any] | None
    options: Mapping[str, Any]

    @property
    def is_given(self) -> bool:
        """Whether there is a function to prove anything about."""
        return self.apply is not None or isinstance(self.network, networks.Network)

    def check(self, *params: Params) -> None:
        """Refuse a spec that does not fit the first network, before any work."""
        if not self.is_given:
            return
        certificates.refuse_traced(params)
        certificates.check_spec(
            params[0], self.network, apply=self.apply, **self.options
        )

    def certify(
        self, what: str, before: Params, after: Params
    ) -> certificates.Certificate | None:
        """Return the certificate, or refuse networks that changed as functions."""
        if not self.is_given:
            return None
        certificate = certificates.compare_functions(
            before, after, self.network, apply=self.apply, **self.options
        )
        certificate.require(what)
        return certificate


def prepare_proof(
    verb: str,
    network: Architecture,
    apply: Callable[[Params, Any], Any] | None,
    inputs: Any,
    tolerance: float | None,
) -> Proof:
    """Check the arguments of a certificate; say once per verb that there is none."""
    symmetry.spec_of(network)
    if apply is not None and not callable(apply):
        raise TypeError(f"apply must be a function, got {apply!r}.")
    proof = Proof(network, apply, {"inputs": inputs, "tolerance": tolerance})
    if not proof.is_given:
        if inputs is not None or tolerance is not None:
            name = "tolerance is" if inputs is None else "inputs are"
            raise ValueError(
                f"{name} for the certificate, which needs the function of the network:"
                " pass the network, or apply= beside its spec."
            )
        _say_unproven(verb)
    return proof


unproven: set[str] = set()


def _say_unproven(verb: str) -> None:
    if verb not in unproven:
        unproven.add(verb)
        logging.getLogger("symmerge_jax").warning(
            "%s got only a spec, so nothing could be checked: a wrong one (an axis that"
            " another library stores first, say) gives a wrong network, and no error."
            " Pass the network, or apply=.",
            verb,
        )


def read_task(task: Task | None, network: Architecture) -> Task:
    """Return the task with the features that a network implies, checked.

    Raises:
      TypeError, ValueError: what is not a task, data that nothing reads or with NaN.
    """
    if task is None:
        return Task()
    if not isinstance(task, Task):
        raise TypeError(f"task must be a symmerge_jax.Task, got {task!r}.")
    for name in ("features_fn", "loss_fn"):
        function = getattr(task, name)
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function, got {function!r}.")
    if task.features_fn is None and isinstance(network, networks.Network):
        task = dataclasses.replace(task, features_fn=_features_of(network, task.data))
    if task.data is not None and task.features_fn is None and task.loss_fn is None:
        if not isinstance(network, networks.Network):
            raise ValueError("data is read by features_fn or loss_fn only: pass one.")
        expected = ", ".join(map(str, ("S", *network.input_shape)))
        raise ValueError(
            f"The data have {_shape_of_inputs(task.data)}, and the network reads inputs"
            f" [{expected}]: pass such inputs, or a mapping with them as 'inputs', or a"
            " loss_fn or features_fn that reads other data."
        )
    alignment.check_data(task.data)
    return task


def _features_of(network: networks.Network, data: Any) -> Callable[..., Any] | None:
    """Return the features of a network for these data, None if they are not inputs."""
    inputs = _inputs(data)
    if not _are_inputs(inputs, network):
        return None
    if inputs is data:
        return network.features
    return lambda params, data: network.features(params, data["inputs"])


def _are_inputs(data: Any, network: networks.Network) -> bool:
    """Return whether these can be inputs of a network, a sample in each row."""
    if network.example is None:
        shape = getattr(data, "shape", ())
        return bool(shape) and shape[1:] == tuple(network.input_shape)
    if jax.tree.structure(data) != jax.tree.structure(network.example):
        return False
    pairs = zip(jax.tree.leaves(data), jax.tree.leaves(network.example), strict=True)
    return all(np.shape(x)[1:] == np.shape(y)[1:] for x, y in pairs)


def check_can_repair(params_batch: Any, network: Architecture) -> None:
    """Refuse repairs of what has no function, or is not known yet."""
    if not isinstance(network, networks.Network):
        raise TypeError(
            "repair= needs the function of the networks: pass the network, as trace"
            " returns it, in place of its spec."
        )
    if symmetry.is_traced(params_batch):
        raise ValueError(
            "repair= looks at values, which are not known under jax.jit: merge first,"
            " and call merging.repair outside."
        )


def inputs_of(data: Any, network: Architecture) -> Any:
    """Return the inputs of a network in the data of a task, None without data."""
    assert isinstance(network, networks.Network)
    inputs = _inputs(data)
    if data is not None and not _are_inputs(inputs, network):
        raise ValueError(
            "repair= looks at the inputs of the network, and the data of the task have"
            " none: give them as the data, or as their entry 'inputs'."
        )
    return inputs


def _inputs(data: Any) -> Any:
    """Return what in the data may be the inputs of a network."""
    return data["inputs"] if isinstance(data, Mapping) and "inputs" in data else data


def _shape_of_inputs(data: Any) -> str:
    shape = getattr(_inputs(data), "shape", None)
    if shape is not None:
        return f"the shape {list(shape)}"
    if isinstance(data, Mapping):
        return f"the entries {sorted(map(str, data))}"
    return f"the type {type(data).__name__}"


def check_aligner(aligner: Any, key: Key | None, network: Architecture) -> None:
    """Refuse what is not a solver or a key, and solvers made for other networks."""
    if isinstance(aligner, type) or not callable(aligner):
        raise TypeError(
            "aligner must be a solver, as alignment.WeightMatching() is, or what"
            f" TrainedMatcher.aligner() returns, got {aligner!r}."
        )
    if key is not None and not symmetry.is_array(key):
        raise TypeError(
            f"key must be a random key, as jax.random.key({key}) is, got {key!r}."
        )
    if isinstance(network, networks.Network):
        _check_fits(aligner, network)


def _check_fits(solver: Any, network: networks.Network) -> None:
    """Let each solver inside a solver refuse a network that it was not made for."""
    if hasattr(solver, "check_network"):
        solver.check_network(network)
    if dataclasses.is_dataclass(solver) and callable(solver):
        for field in dataclasses.fields(solver):
            _check_fits(getattr(solver, field.name), network)


def program_of(
    build: Callable[..., Any],
    opened: symmetry.Networks,
    task: Task,
    aligner: Any,
    *rest: Any,
) -> Any:
    """Return the compiled program of a solver for networks like these.

    `build(spec, aligner, make_task, *rest)` makes it; `make_task(data)` is the task of
    the solver, and `task` holds data and functions of whole networks.
    """
    num_batch_axes = len(opened.batch_shape)
    dtype = symmetry.computing_dtype(opened.params[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[num_batch_axes:], dtype),
        opened.params[0],
    )
    functions = {
        name: opened.function(getattr(task, name))
        for name in ("features_fn", "loss_fn")
    }
    return programs.remembered(
        functools.partial(
            build, opened.spec, aligner, functools.partial(Task, **functions), *rest
        ),
        opened.spec,
        aligner,
        *rest,
        calls={
            name: (function, (shapes, task.data))
            for name, function in functions.items()
            if function is not None
        },
    )


def on_host(aligner: Any, opened: symmetry.Networks) -> bool:
    """Return whether numpy solves a problem sooner than JAX would compile it."""
    able = getattr(aligner, "runs_on_host", lambda num_networks: False)
    return not opened.batch_shape and able(len(opened.params))


def widen(params: Params) -> Params:
    """Return parameters in one type: float32, or float64 where any has that."""
    dtype = symmetry.computing_dtype(params)
    return jax.tree.map(lambda x: x if x.dtype == dtype else x.astype(dtype), params)


def narrow(params: Params, like: Params) -> Params:
    """Return parameters in the types of others."""
    return jax.tree.map(lambda x, y: x.astype(y.dtype), params, like)


def check_found(
    aligner: Any,
    element: symmetry.GroupElement,
    opened: symmetry.Networks,
    proof: Proof,
) -> None:
    """Refuse what is not an element: NaN in the data, or a solver that is at fault."""
    num_batch_axes = len(opened.batch_shape)
    one = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[num_batch_axes:], x.dtype),
        opened.params[0],
    )
    name = getattr(type(aligner), "__name__", "The solver")
    # Factors of another group are seen by the certificate, which measures the damage.
    alignment.check_element(
        element, opened.spec, opened.spec.sizes(one), name, factors=not proof.is_given
    )


def check_representable(what: str, params: Params) -> None:
    """Refuse a result that overflows in the data type of its parameters."""
    try:
        symmetry.check_finite(params)
    except ValueError as error:
        [cause, *_] = str(error).split(" Repair or drop")
        raise ValueError(
            f"{what} does not fit its data type, in which its scales overflow: {cause}"
            " Cast the networks to float32 before, or balance the scales of all"
            " (symmetry.balance_scales)."
        ) from error


def moved(
    element: symmetry.GroupElement,
    params: Params,
    spec: symmetry.SymmetrySpec,
    num_batch_axes: int = 0,
) -> Params:
    """Return a whole network, or a batch, moved by an element: as the caller's tree."""
    leaves = symmetry.flatten(params)
    floats = {p: x for p, x in leaves.items() if symmetry.is_parameter(x)}
    tree = symmetry.unflatten(floats)
    static = spec.restrict(tree), num_batch_axes
    program = programs.remembered(functools.partial(_build_move, *static), *static)
    single = num_batch_axes == 0
    result = programs.call(program, tree, element, tree, on_host=single)
    result = symmetry.flatten(result)
    whole = symmetry.rebuild(params, result)
    return symmetry.move_carried(element, whole, spec, num_batch_axes)


def _build_move(spec: symmetry.SymmetrySpec, num_batch_axes: int):
    """Return the compiled action on networks with this many leading axes."""

    def act(element, params):
        return symmetry.act(element, params, spec)

    return programs.batched(act, num_batch_axes)
