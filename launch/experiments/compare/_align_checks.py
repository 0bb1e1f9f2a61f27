"""What learned alignment refuses, before any work."""

from typing import Any

from experiments import harness, populations
from experiments.compare import _methods
from experiments.train import matcher_training
from symmerge_jax import deep_align, learning


def check_values(config: harness.Config) -> None:
    """Refuse invalid values before any file is opened; names the key."""
    harness.each_once("models", config.models, matcher_training.MODELS)
    if not config.seeds or len(set(config.seeds)) != len(config.seeds):
        raise ValueError(f"config.seeds must be different, got {config.seeds}.")
    harness.check_midpoint(config)
    counts = ("num_pairs", "chunk_size", "num_val_pairs", "num_val_inputs")
    inputs = ("num_train_inputs", "num_test_inputs")
    given = [key for key in inputs if config[key] is not None]
    harness.at_least(config, **dict.fromkeys((*counts, *given), 1))
    if config.rotated and config.networks != "mlp":
        raise ValueError(
            "config.rotated turns images for MLPs, config.networks is"
            f" {config.networks!r}."
        )
    if config.networks == "siren":
        if config.other_data.source is not None:
            raise ValueError("config.other_data is for classifiers, not for SIRENs.")
        if config.crowds.sizes:
            raise ValueError("config.crowds.sizes is for classifiers, not for SIRENs.")
    elif any(config.distort.values()):
        raise ValueError("config.distort changes INRs, not classifiers.")
    for group, key in (("other_data", "source"), ("other_width", "hidden_sizes")):
        if config[group].zoo is not None and not config[group][key]:
            raise ValueError(
                f"config.{group}.zoo {config[group].zoo!r} goes with"
                f" config.{group}.{key}, which says what the networks are."
            )


def check_methods(
    plan: Any,
    name: str,
    population: populations.Population,
    trained_on: populations.Population,
) -> None:
    """Refuse matchers and solvers that do not fit a population; names the key."""
    num, options = len(population.task.train.inputs), plan.options["sinkhorn"]
    if any("sinkhorn" in method for method in plan.methods[name]):
        for key in ("batch_size", "eval_size"):
            if options[key] > num:
                raise ValueError(
                    f"config.sinkhorn.{key} must be at most {num}, the training"
                    f" examples of a network, got {options[key]}."
                )
    solvers: dict[str | None, deep_align.Matcher | None] = {None: None}
    for model, matcher in plan.matchers.items():
        try:
            if name == "held_out":
                learning.check(matcher.job(population), matcher.options)
            untrained = matcher.untrained(trained_on)
            architecture = population.zoo.architecture
            solvers[model] = untrained.aligner(architecture=architecture).matcher
        except ValueError as error:
            raise ValueError(f"config.{model}: {error}") from error
    for method in plan.methods[name]:
        needs = _methods.METHODS[method].needs
        _methods.prepare(method, plan.context(population, solvers[needs]))


def check_crowds(plan: Any, population: populations.Population) -> None:
    """Refuse sizes below 2 or above the number of held-out networks, and no crowds."""
    sizes, num = plan.sizes, len(population.parts["test"])
    if min(sizes) < 2 or max(sizes) > num or len(set(sizes)) != len(sizes):
        raise ValueError(
            f"config.crowds.sizes must differ and lie in 2..{num}, the networks that"
            f" are held out, got {tuple(sizes)}."
        )
    if plan.num_crowds < 1:
        raise ValueError(
            f"config.crowds.num_crowds must be >= 1, got {plan.num_crowds}."
        )
