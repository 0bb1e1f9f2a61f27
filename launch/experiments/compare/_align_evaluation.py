"""What aligned pairs are judged by, and whether a matcher undoes twins."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.compare import _curves
from experiments.populations import _align_population
from experiments.train import _align_training
from symmerge_jax import deep_align, merging, networks
from symmerge_jax.typing import Params


def path_measurer(
    network: networks.Network, num_points: int
) -> Callable[..., dict[str, np.ndarray]]:
    """Return the program that measures the paths of pairs on test data.

    Args:
      network: the architecture.
      num_points: points of a path.

    Returns:
      `measure(population, pairs, params_b)`: curves `[N, T]` by measure of
      `_align_population.make_loss`, from rows `[N, 2]` of the population and the second
      networks `[N]` when aligned. Compiled once for all populations.
    """
    task = _align_population.make_loss(network)
    # On a CPU networks follow each other: side by side none would stay in the cache.
    batch_size = 1 if jax.default_backend() == "cpu" else 64

    def losses(point, data):
        return task(point["params"], {**data, **point.get("own", {})})

    def measure(population, pairs: np.ndarray, params_b: Params):
        first = pairs[:, 0]
        shared: dict[str, Any] = {}
        if population.own:
            shared["own"] = _align_population.pick(population.own, first)
        params_a = _align_population.pick(population.params, first)
        found = merging.loss_barrier(
            {"params": params_a, **shared},
            {"params": params_b, **shared},
            losses,
            num_points=num_points,
            data=jax.device_put(population.test_data),
            num_batch_axes=1,
            batch_size=batch_size,
        )
        return jax.device_get(found.losses)

    return measure


def recovered(
    config: harness.Config,
    matcher: deep_align.Matcher,
    variables: Any,
    params_batch: Params,
) -> dict[str, float]:
    """Return the fraction of neurons that a matcher finds again in twins.

    Args:
      config: keys of `deep_align.default_config`.
      matcher: the model.
      variables: its parameters.
      params_batch: `[N]` networks.

    Returns:
      `twins` for exact copies, and `changed_twins` for copies that are augmented as in
      training. Neurons that are dead on all inputs cannot be told apart, and count.
    """
    exact = config.copy_and_resolve_references()
    for group in (exact.augment, exact.distort):
        group.update(dict.fromkeys(group, 0.0))
    key = jax.random.key(config.split.seed)
    return {
        name: float(_fraction_found(options, matcher)(variables, params_batch, key))
        for name, options in (("twins", exact), ("changed_twins", config))
    }


def summarize(
    curves: list[dict[str, np.ndarray]],
) -> dict[str, float | None]:
    """Return means over seeds of the means over pairs, and their standard deviation.

    Args:
      curves: for each seed `{measure: [N, T]}` with "loss", and "error" of classifiers.

    Returns:
      `barrier`, `auc` and `middle` of the loss, `accuracy` of the midpoint for
      classifiers, each with the standard deviation `..._std` over seeds, None for one.
    """
    by_seed = []
    for seed in curves:
        numbers = _curves.summarize(seed["loss"])
        kept = {key: numbers[key] for key in ("barrier", "auc", "middle")}
        if "error" in seed:
            kept["accuracy"] = 1 - _curves.summarize(seed["error"])["middle"]
        by_seed.append(kept)
    return over_seeds(by_seed)


def over_seeds(numbers: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Return means over seeds, and standard deviations `..._std`, None for one seed."""
    found: dict[str, float | None] = {}
    for key in numbers[0]:
        values = np.array([one[key] for one in numbers])
        found[key] = float(values.mean())
        found[f"{key}_std"] = float(values.std(ddof=1)) if len(values) > 1 else None
    return found


def _fraction_found(options: harness.Config, matcher: deep_align.Matcher):
    """Return the program that makes twins and says how many neurons are found."""
    spec = matcher.network.spec

    def fraction(variables, params, key):
        twins, elements = _align_training.make_twins(options, matcher, params, key)
        found = matcher.similarities(variables, params, twins)

        def one(similarities, element):
            hits = []
            chosen = deep_align.nearest_element(
                similarities, spec, signed=matcher.signed
            )
            for name, (perm, scale) in chosen.items():
                hit = perm == element[name].perm
                if matcher.signed:
                    hit &= jnp.sign(scale) == jnp.sign(element[name].scale)
                hits.append(hit)
            return jnp.mean(jnp.concatenate(hits))

        return jnp.mean(jax.vmap(one)(found, elements))

    return jax.jit(fraction)
