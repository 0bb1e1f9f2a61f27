"""The ways to align a pair that the table of learned alignment compares."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from experiments import harness
from experiments.compare import _old_methods as _methods
from experiments.populations import _align_population
from symmerge_jax import alignment, certificates, deep_align, networks, symmetry
from symmerge_jax.typing import Params

BLOCKS = {
    "weights": "weights only",
    "learned": "weights only, learned on other networks",
    "data": "with training data for each pair",
}
"""What methods see, in the order of tables."""

SWEEPS = 2
"""Sweeps of weight matching that finish what a matcher has found."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to bring the second network of a pair onto the first.

    Attributes:
      label: name in tables and figures; "{group}" stands for "P + scale" or "P + sign".
      block: a key of `BLOCKS`.
      make: `make(config, learned) -> solver`, None to leave networks alone; `learned`
        makes `learned(num_sweeps=...)`, the solver of the method's model.
      model: one of `_align_training.MODELS` that it uses, or None.
    """

    label: str
    block: str
    make: Callable[[Any, Any], alignment.Aligner | None]
    model: str | None = None


class Solved(NamedTuple):
    """Pairs after a method.

    Attributes:
      params: `[N]` the second networks, moved.
      seconds: per pair, compiled before.
      function_error: `[N]` largest change of an output, relative to the largest output,
        in float64.
    """

    params: Params
    seconds: float
    function_error: np.ndarray


def _sinkhorn(config, **start) -> alignment.Aligner:
    return alignment.SinkhornRebasin(**config.sinkhorn.to_dict(), **start)


def _matched(label: str, model: str) -> dict[str, Method]:
    """Return the methods that start with a matcher."""
    return {
        model: Method(
            label=label,
            block="learned",
            make=lambda config, learned: learned(num_sweeps=0),
            model=model,
        ),
        f"{model}_sweeps": Method(
            label=f"{label} + sweeps",
            block="learned",
            make=lambda config, learned: learned(num_sweeps=SWEEPS),
            model=model,
        ),
        f"{model}_best": Method(
            label=f"{label} + matching {{group}}, best start",
            block="learned",
            make=lambda config, learned: _methods.best(
                config, init=learned(num_sweeps=0)
            ),
            model=model,
        ),
        f"{model}_sinkhorn": Method(
            label=f"{label} + Sinkhorn",
            block="data",
            make=lambda config, learned: _sinkhorn(
                config, similarity_fn=learned(num_sweeps=0).similarities
            ),
            model=model,
        ),
    }


METHODS = {
    "naive": Method(label="naive", block="weights", make=lambda config, learned: None),
    "matching_p": Method(
        label="matching P (published)",
        block="weights",
        make=lambda config, learned: _methods.PUBLISHED,
    ),
    "matching_p_best": Method(
        label="matching P, best start",
        block="weights",
        make=lambda config, learned: _methods.best(config, rescale=False),
    ),
    "matching_best": Method(
        label="matching {group}, best start",
        block="weights",
        make=lambda config, learned: _methods.best(config),
    ),
    **_matched("Deep-Align", "deep_align"),
    **_matched("ours", "ours"),
    "activation_matching": Method(
        label="activation matching",
        block="data",
        make=lambda config, learned: _methods.CORRELATION,
    ),
    "sinkhorn": Method(
        label="Sinkhorn re-basin",
        block="data",
        make=lambda config, learned: _sinkhorn(config),
    ),
    "matching_sinkhorn": Method(
        label="matching P (published) + Sinkhorn",
        block="data",
        make=lambda config, learned: _sinkhorn(config, init=_methods.PUBLISHED),
    ),
}
"""Every method by name."""


def label_of(name: str, spec: symmetry.SymmetrySpec) -> str:
    """Return the label of a method for networks of this symmetry."""
    return _methods.label(METHODS[name].label, spec)


def choose(
    names: tuple[str, ...], models: tuple[str, ...], key: str = "methods"
) -> tuple[str, ...]:
    """Return the methods that are asked for, in the order of tables.

    Args:
      names: keys of `METHODS`; none for all that the models allow.
      models: matchers that a run trains.
      key: of the config that names them.

    Raises:
      ValueError: an unknown or repeated name, or a method of a model that is not
        trained.
    """
    _methods.check_names(names, METHODS, f"config.{key}")
    for name in names:
        if (model := METHODS[name].model) is not None and model not in models:
            raise ValueError(
                f"config.{key} has {name!r}, but config.models has no {model!r}: name"
                " methods of models that are trained."
            )
    return tuple(
        name
        for block in BLOCKS
        for name, method in METHODS.items()
        if method.block == block
        and (name in names if names else method.model in (None, *models))
    )


def check_samples(
    config: harness.Config,
    names: tuple[str, ...],
    population: _align_population.Population,
) -> None:
    """Refuse to draw more training examples than there are.

    Raises:
      ValueError: names the key.
    """
    num = len(population.train_data["inputs"])
    for key in ("batch_size", "eval_size"):
        if any("sinkhorn" in name for name in names) and config.sinkhorn[key] > num:
            raise ValueError(
                f"config.sinkhorn.{key} must be at most {num}, the training examples"
                f" of a network, got {config.sinkhorn[key]}."
            )


def make_aligner(
    config: harness.Config,
    name: str,
    matcher: deep_align.Matcher | None,
    variables: Any,
) -> alignment.Aligner | None:
    """Return the solver of a method; None if it leaves networks alone.

    Args:
      config: keys of `deep_align.default_config`.
      name: a key of `METHODS`.
      matcher: of the method's model, or None.
      variables: its parameters.

    Raises:
      ValueError: an option that the solver refuses.
    """

    def learned(num_sweeps: int) -> alignment.Aligner:
        assert matcher is not None
        return deep_align.DeepAlign(
            matcher=matcher, variables=variables, num_sweeps=num_sweeps
        )

    return METHODS[name].make(config, learned)


def make_solver(
    config: harness.Config,
    name: str,
    matcher: deep_align.Matcher | None,
    network: networks.Network,
) -> Callable[..., Solved]:
    """Return the program that brings the second network of pairs onto the first.

    Args:
      config: keys of `deep_align.default_config`.
      name: a key of `METHODS`.
      matcher: of the method's model, for networks of this architecture; or None.
      network: the architecture.

    Returns:
      `solve(variables, population, pairs, seed)`, with parameters of the matcher, rows
      `[N, 2]` of a population and the seed of the solver. It is compiled once for all
      populations and seeds, and raises ValueError if an element changes a function.
    """
    method, task = METHODS[name], _align_population.make_loss(network)
    compiled: dict[Any, Any] = {}

    def align(variables, shared, key_data, a, b, own) -> symmetry.GroupElement:
        uses_data = method.block == "data"
        problem = alignment.AlignmentProblem(
            params_a=a,
            params_b=b,
            spec=network.spec,
            task=symmerge_jax.Task(
                {**shared, **own} if uses_data else None,
                lambda params, data: task(params, data)["loss"],
                lambda params, data: network.features(params, data["inputs"]),
            ),
        )
        aligner = make_aligner(config, name, matcher, variables)
        assert aligner is not None
        return aligner(jax.random.wrap_key_data(key_data), problem).element

    def solve(variables, population, pairs: np.ndarray, seed: int) -> Solved:
        a, b = (_align_population.pick(population.params, pairs[:, i]) for i in (0, 1))
        if make_aligner(config, name, matcher, variables) is None:
            return Solved(b, 0.0, np.zeros(len(pairs)))
        keys = jax.random.key_data(jax.random.split(jax.random.key(seed), len(pairs)))
        own = _align_population.pick(population.own, pairs[:, 0])
        shared = jax.device_put(population.train_data)
        size = min(config.chunk_size, len(pairs))
        rows = (np.asarray(keys), a, b, own)
        shape = size, len(shared["inputs"])
        if shape not in compiled:
            program = jax.jit(jax.vmap(align, in_axes=(None, None, 0, 0, 0, 0)))
            some = jax.tree.map(lambda x: x[:size], rows)
            compiled[shape] = program.lower(variables, shared, *some).compile()
        start = time.perf_counter()
        element = networks.map_batches(
            lambda rows: compiled[shape](variables, shared, *rows), rows, size
        )
        seconds = (time.perf_counter() - start) / len(pairs)
        inputs = population.test_data["inputs"][:64]
        proof = certificates.certify(b, element, network, inputs=inputs)
        proof.require(f"A network, when aligned by {name!r},")
        moved = networks.map_batches(
            lambda rows: _act(network.spec)(*rows), (element, b), size
        )
        return Solved(moved, seconds, proof.max_difference / proof.output_scale)

    return solve


@functools.lru_cache(maxsize=4)
def _act(spec: symmetry.SymmetrySpec):
    return jax.jit(jax.vmap(lambda element, x: symmetry.act(element, x, spec)))
