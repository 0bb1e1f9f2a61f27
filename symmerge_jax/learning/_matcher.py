"""Train a matcher on a zoo: Deep-Align (Navon et al. 2024, arXiv 2310.13397)."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import deep_align, networks, symmetry, training, zoo
from symmerge_jax.learning import _canonicalizer, _fit, _pairs, _twins
from symmerge_jax.typing import Array

FEATURES: Mapping[str, Any] = {
    "kind": "probes",
    "num_probes": 64,
    "feature_size": 64,
    "width": 128,
}
"""Features that are trained if none are described."""


class LossWeights(NamedTuple):
    """Weights of the losses of Navon et al. 2024, section 4; published: all 1.

    Attributes:
      supervised: cross-entropy of the known elements of moved copies.
      alignment: difference of the weights of aligned pairs.
      task: loss of a random network between aligned pairs.
    """

    supervised: float = 1.0
    alignment: float = 1.0
    task: float = 1.0


def matcher_job(
    data: _pairs.Pairable,
    untrained: deep_align.TrainedMatcher,
    *,
    weights: LossWeights | None = None,
    copies: _twins.CopyOptions | None = None,
    inputs_per_pair: int = 32,
    num_val_pairs: int = 64,
    num_val_inputs: int = 256,
) -> _fit.Job:
    """Return the training of a matcher.

    Args:
      data: the networks and their task.
      untrained: the matcher; its variables are not read.
      weights: of the losses; None for all 1.
      copies: how the copies differ that it is to recognise; None for the defaults.
      inputs_per_pair: examples of the task that each pair sees in a step.
      num_val_pairs: pairs of the validation.
      num_val_inputs: examples that each of them sees.

    Returns:
      The job, whose result is a `TrainedMatcher`. The validation measure is `loss`, the
      mean task loss at the midpoints of aligned pairs; of classifiers also `error`.

    Raises:
      ValueError: weights that are negative or all zero, counts below 1, or networks
        that the copies do not fit.
    """
    weights = LossWeights() if weights is None else weights
    copies = _twins.CopyOptions() if copies is None else copies
    if not any(weights) or min(weights) < 0:
        raise ValueError(
            f"losses must be >= 0 and not all zero, got {weights._asdict()}."
        )
    if inputs_per_pair < 1:
        raise ValueError(f"inputs_per_pair must be >= 1, got {inputs_per_pair}.")
    copies.warp.check(untrained.architecture)
    matcher = untrained.matcher
    loss_fn = _loss(matcher, weights, copies)

    def batches(seed: int, batch_size: int):
        """Return pairs "a" and "b", and the "data" of each.

        Each network comes first in one pair of every pass over the training part.
        """
        rows = data.parts["train"]

        def batch_fn(step: int):
            first = rows[zoo.batch_indices(seed, step, batch_size, len(rows))]
            random = np.random.default_rng([seed, step])
            second = np.array([data.partner(random, row) for row in first])
            examples = data.examples(first, inputs_per_pair, random)
            return {
                "a": symmetry.rows(data.params, training.own_rows(first)),
                "b": symmetry.rows(data.params, training.own_rows(second)),
                "data": jax.tree.map(training.own_rows, examples),
            }

        return batch_fn

    batch = batches(0, jax.process_count())(0)
    variables = jax.eval_shape(matcher.init, jax.random.key(0))
    jax.eval_shape(loss_fn, variables, batch, jax.random.key(0))

    return _fit.Job(
        untrained=untrained,
        model=matcher,
        loss_fn=loss_fn,
        num_examples=len(data.parts["train"]),
        batches=batches,
        evaluator=functools.partial(
            _evaluator, data, matcher, num_val_pairs, num_val_inputs
        ),
        best="val/loss",
        settings={
            "losses": weights._asdict(),
            "copies": dataclasses.asdict(copies),
            "inputs_per_pair": inputs_per_pair,
        },
    )


def fit_matcher(
    networks_zoo: zoo.Zoo,
    folder: str | os.PathLike,
    *,
    inputs: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    features: Mapping[str, Any] | None = None,
    weights: LossWeights | None = None,
    copies: _twins.CopyOptions | None = None,
    val_fraction: float = 0.1,
    options: _fit.FitOptions | None = None,
) -> deep_align.TrainedMatcher:
    """Train a matcher on the networks of a zoo, or resume its training.

    Classifiers are paired with any other, INRs with others of the same image.

    Args:
      networks_zoo: SIRENs with their images, or classifiers.
      folder: of the training, see `fit`; the result is saved as `matcher`.
      inputs: `[S, *input_shape]` images of classifiers; None for INRs.
      labels: `[S]` their classes; None for INRs.
      features: see `deep_align.build`; None for `FEATURES`.
      weights: of the losses; None for all 1.
      copies: how the copies differ that it is to recognise; None for the defaults.
      val_fraction: share of the images, or of the training runs, for validation.
      options: how it is trained; None for the defaults.

    Returns:
      The matcher, which `deep_align.load_matcher(folder)` loads again; its `aligner()`
      is a solver for `align`.

    Raises:
      TypeError: networks that are not a zoo.
      ValueError: as `fit`, or data that do not fit the networks.
      FloatingPointError: a loss that is not finite; names the step.

    Example:
      >>> import tempfile
      >>> import numpy as np
      >>> from symmerge_jax import learning, zoo
      >>> random = np.random.default_rng(0)
      >>> kernel = random.normal(size=(20, 3, 3)).astype(np.float32)
      >>> layer = {"kernel": kernel, "bias": kernel[:, 0]}
      >>> params = {"dense_0": layer, "dense_1": layer}
      >>> mlps = zoo.create({"kind": "mlp", "layer_sizes": [3, 3, 3]}, params)
      >>> matcher = learning.fit_matcher(
      ...     mlps,
      ...     tempfile.mkdtemp(),
      ...     inputs=kernel[0],
      ...     labels=np.arange(3),
      ...     features={"kind": "probes", "num_probes": 3, "width": 4},
      ...     options=learning.FitOptions(num_steps=2),
      ... )
      >>> matcher.metadata["num_steps"]
      2
    """
    options = _fit.FitOptions() if options is None else options
    parts = _canonicalizer.divide(networks_zoo, val_fraction, options.seed)
    options = options.resolve(len(parts["train"]), 32)
    network, group = networks.build(networks_zoo.architecture), None
    params = jax.tree.map(np.asarray, dict(networks_zoo.params))
    if networks_zoo.architecture["kind"] == "siren":
        params = jax.device_get(symmetry.fold_phases(params, network.spec))
        group = _pairs.image_groups(networks_zoo)
        inputs, labels = _pairs.inr_targets(networks_zoo)
    elif inputs is None or labels is None:
        raise ValueError("Classifiers need images as inputs, and their labels.")
    else:
        zoo.check_data(network, inputs, labels, "inputs")
    untrained = deep_align.TrainedMatcher(
        architecture=dict(networks_zoo.architecture),
        features=dict(FEATURES if features is None else features),
        statistics=zoo.statistics(zoo.select(networks_zoo, parts["train"])),
        variables=None,
    )
    data = _pairs.Pairable(params, parts, group, inputs, labels)
    if not len(data.pairs("val", 1, [0])):
        raise ValueError(
            "There are no two validation networks to pair: use more networks, a larger"
            " val_fraction, or more fits per image."
        )
    job = matcher_job(data, untrained, weights=weights, copies=copies)
    matcher = _fit.fit(job, folder, options)
    path = pathlib.Path(folder).expanduser() / "matcher"
    training.on_first(lambda: deep_align.save_matcher(path, matcher))
    return matcher


def _loss(matcher: deep_align.Matcher, weights: LossWeights, copies):
    """Return `loss_fn(variables, batch, key)`: the weighted sum, and each loss."""
    spec, signed = matcher.network.spec, matcher.signed

    def supervised(variables, params, key) -> Array:
        moved, elements = _twins.moved_copies(key, params, spec, copies, signed=signed)
        found = matcher.similarities(variables, params, moved)
        one = functools.partial(deep_align.supervised_loss, signed=signed)
        return jnp.mean(jax.vmap(one)(found, elements))

    def task(params, data) -> Array:
        return _pairs.task_losses(matcher.network, params, data)["loss"]

    def between(variables, batch, key) -> dict[str, Array]:
        found = matcher.similarities(variables, batch["a"], batch["b"])

        def one(key, similarities, a, b, data):
            moved = deep_align.move_softly(similarities, b, spec, signed=signed)
            lam = jax.random.uniform(key)
            loss = deep_align.task_loss(task, a, moved, lam, data)
            return {"alignment": deep_align.alignment_loss(a, moved), "task": loss}

        keys = jax.random.split(key, symmetry.num_rows(batch))
        losses = jax.vmap(one)(keys, found, batch["a"], batch["b"], batch["data"])
        return jax.tree.map(jnp.mean, losses)

    def loss_fn(variables, batch, key):
        twin_key, pair_key = jax.random.split(key)
        losses = {}
        if weights.supervised:
            losses["supervised"] = supervised(variables, batch["a"], twin_key)
        if weights.alignment or weights.task:
            losses |= between(variables, batch, pair_key)
        factors = weights._asdict()
        total = sum((factors[name] * losses[name] for name in losses), jnp.zeros(()))
        return total, losses

    return loss_fn


def _evaluator(
    data: _pairs.Pairable, matcher: deep_align.Matcher, num_pairs: int, num_inputs: int
) -> _fit.Evaluator:
    spec = matcher.network.spec
    pairs = data.pairs("val", num_pairs, [0, *b"val"])
    random = np.random.default_rng(0)
    a, b = (symmetry.rows(data.params, pairs[:, i]) for i in (0, 1))
    rows = a, b, data.examples(pairs[:, 0], num_inputs, random)

    @jax.jit
    def losses(variables, rows):
        a, b, examples = rows
        found = matcher.similarities(variables, a, b)

        def midpoint(similarities, a, b, examples):
            element = deep_align.nearest_element(
                similarities, spec, signed=matcher.signed
            )
            moved = symmetry.act(element, b, spec)
            mean = jax.tree.map(lambda x, y: (x + y) / 2, a, moved)
            return _pairs.task_losses(matcher.network, mean, examples)

        return jax.vmap(midpoint)(found, a, b, examples)

    def evaluator(state):
        run = functools.partial(losses, training.eval_params(state))
        for name, values in _fit.map_rows(run, rows, 32).items():
            yield name, float(np.mean(values))

    return evaluator
