"""Train a predictor: from the weights of a network to its class or its accuracy.

The tasks of ScaleGMN (Kalogeropoulos et al. 2024, arXiv 2406.10685): the class of the
image that an INR draws, the accuracy of a CNN.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import autoencoders, metanets, networks, storage, training, zoo
from symmerge_jax.learning import (
    _autoencoder,
    _canonicalizer,
    _fit,
    _goals,
    _twins,
)
from symmerge_jax.typing import Params

HEAD: Mapping[str, Any] = {"hidden_sizes": (), "dropout": 0.0}
"""Head that is trained if none is described."""

_FORMAT = storage.ModelFormat(
    "predictor", "predictor", ("architecture", "encoder", "head")
)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedPredictor:
    """A trained predictor of one architecture.

    Attributes:
      architecture: see `networks.build`.
      encoder: see `metanets.build_encoder`.
      head: `num_outputs`, `hidden_sizes` and `dropout`, see `metanets.make_predictor`.
      statistics: of the population that the encoder was first trained on.
      variables: parameters of the predictor.
      metadata: JSON values, such as the accuracy on held-out networks.
    """

    architecture: Mapping[str, Any]
    encoder: Mapping[str, Any]
    head: Mapping[str, Any]
    statistics: metanets.Statistics = dataclasses.field(repr=False)
    variables: Any = dataclasses.field(repr=False)
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def predictor(self) -> metanets.Predictor:
        """The predictor as pure functions."""
        encoder = metanets.build_encoder(
            self.architecture, self.encoder, self.statistics
        )
        return metanets.make_predictor(encoder, **self.head)

    @functools.cached_property
    def _predict(self):
        return jax.jit(self.predictor.predict)

    def __call__(self, params_batch: Params, *, batch_size: int = 64) -> np.ndarray:
        """Return the outputs `[N, C]` of networks: logits of classes or of accuracies.

        Args:
          params_batch: `[N]` networks.
          batch_size: networks that are read at once, which bounds memory.
        """
        run = functools.partial(self._predict, self.variables)
        return networks.map_batches(run, params_batch, batch_size)


def save_predictor(path: str | os.PathLike, trained: TrainedPredictor) -> None:
    """Write a predictor to the folder `path`, replacing an older one.

    Args:
      path: the folder, which appears complete or not at all.
      trained: what to write.

    Raises:
      ValueError: if `path` holds anything but a predictor, or a parameter is not
        finite.
    """
    storage.save_model(path, _FORMAT, trained)


def load_predictor(path: str | os.PathLike) -> TrainedPredictor:
    """Read a predictor that `save_predictor` or a training run wrote.

    Args:
      path: its folder, or that of the training.

    Returns:
      The predictor.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if a file is damaged, or does not fit the other.
    """
    return storage.load_model(
        path, _FORMAT, TrainedPredictor, lambda model: model.predictor.init
    )


def predictor_job(
    networks_zoo: zoo.Zoo,
    parts: _autoencoder.Parts,
    targets: np.ndarray,
    goal: _goals.Goal,
    *,
    encoder: Mapping[str, Any] | None = None,
    head: Mapping[str, Any] = HEAD,
    pretrained: autoencoders.Canonicalizer | None = None,
    warp: _twins.Warp | None = None,
    augment: bool = False,
) -> _fit.Job:
    """Return the training of a predictor.

    Args:
      networks_zoo: the networks.
      parts: rows of those to train and to validate on, "train" and "val".
      targets: `[N]`, what is predicted of each network.
      goal: from `classes` or `fractions`.
      encoder: see `metanets.build_encoder`; None with `pretrained`.
      head: see `metanets.make_predictor`, without `num_outputs`.
      pretrained: an autoencoder of such networks, from whose encoder training starts.
      warp: random change of the coordinates of INRs in each step; None for none.
      augment: as for `rendering_job`.

    Returns:
      The job, whose result is a `TrainedPredictor`; for validation measures see
      `Goal.measures`.

    Raises:
      ValueError: an unknown encoder or option, a pretrained autoencoder of other
        networks, or a warp of networks that read no coordinates.
    """
    if (encoder is None) == (pretrained is None):
        raise ValueError("Give either an encoder or a pretrained autoencoder.")
    warp = _twins.Warp() if warp is None else warp
    warp.check(networks_zoo.architecture)
    train, val = _autoencoder.select(networks_zoo, parts)
    statistics = zoo.statistics(train)
    if pretrained is not None:
        zoo.require_architecture(networks_zoo, pretrained.architecture)
        encoder, statistics = pretrained.encoder_options, pretrained.statistics
    untrained = TrainedPredictor(
        architecture=dict(networks_zoo.architecture),
        encoder=dict(encoder or {}),
        head={"num_outputs": goal.num_outputs, **head},
        statistics=statistics,
        variables=None,
    )
    model, spec = untrained.predictor, untrained.predictor.network.spec
    if pretrained is not None:
        model = model._replace(init=_start_from(pretrained, model))

    def loss_fn(variables, batch, key):
        keys = jax.random.split(key, 3)
        params = _twins.warp_coordinates(keys[0], batch["params"], warp)
        if augment:
            params = _twins.random_twins(keys[1], params, spec)
        outputs = model.predict(variables, params, keys[2])
        return jnp.mean(goal.losses(outputs, batch["targets"])), {}

    def batches(seed: int, batch_size: int):
        examples = {"params": train.params, "targets": targets[parts["train"]]}
        return _autoencoder.rows_of(examples, seed, batch_size)

    def evaluator() -> _fit.Evaluator:
        predict, wanted = jax.jit(model.predict), targets[parts["val"]]

        def evaluate(state):
            run = functools.partial(predict, training.eval_params(state))
            outputs = _fit.map_rows(run, val.params, 64)
            yield from goal.measures(outputs, wanted).items()

        return evaluate

    return _fit.Job(
        untrained=untrained,
        model=model,
        loss_fn=loss_fn,
        num_examples=len(train),
        batches=batches,
        evaluator=evaluator,
        best=goal.best,
        mode="max",
        settings={
            "goal": [*goal],
            "warp": dataclasses.asdict(warp),
            "augment": augment,
        },
    )


def fit_predictor(
    networks_zoo: zoo.Zoo,
    targets: np.ndarray,
    folder: str | os.PathLike,
    *,
    encoder: Mapping[str, Any] | None = None,
    head: Mapping[str, Any] = HEAD,
    pretrained: autoencoders.Canonicalizer | None = None,
    augment: bool = False,
    val_fraction: float = 0.1,
    options: _fit.FitOptions | None = None,
) -> TrainedPredictor:
    """Train a predictor on the networks of a zoo, or resume its training.

    Args:
      networks_zoo: the networks.
      targets: `[N]`: integers are classes, others numbers in [0, 1] such as
        accuracies.
      folder: of the training, see `fit`; the result is saved as `predictor`.
      encoder: see `metanets.build_encoder`; None for `pretrained`, or `ENCODER`
        without probes.
      head: see `metanets.make_predictor`, without `num_outputs`.
      pretrained: an autoencoder of such networks, from whose encoder training starts.
      augment: see `rendering_job`.
      val_fraction: share of the images, or of the training runs, for validation.
      options: how it is trained; None for the defaults.

    Returns:
      The predictor, which `load_predictor(folder)` loads again.

    Raises:
      TypeError: networks that are not a zoo.
      ValueError: as `fit`, `classes` and `fractions`.
      FloatingPointError: a loss that is not finite; names the step.

    Example:
      >>> import tempfile
      >>> import numpy as np
      >>> from symmerge_jax import learning, zoo
      >>> random = np.random.default_rng(0)
      >>> kernel = random.normal(size=(20, 2, 3)).astype(np.float32)
      >>> params = {"dense_0": {"kernel": kernel, "bias": kernel[:, 0]}}
      >>> mlps = zoo.create({"kind": "mlp", "layer_sizes": [2, 3]}, params)
      >>> predictor = learning.fit_predictor(
      ...     mlps,
      ...     np.arange(20) % 2,
      ...     tempfile.mkdtemp(),
      ...     encoder={"kind": "probe", "width": 4, "num_probes": 3},
      ...     options=learning.FitOptions(num_steps=2),
      ... )
      >>> predictor(mlps.params).shape
      (20, 2)
    """
    options = _fit.FitOptions() if options is None else options
    parts = _canonicalizer.divide(networks_zoo, val_fraction, options.seed)
    targets = np.asarray(targets)
    if targets.shape != (len(networks_zoo),):
        raise ValueError(
            f"targets must have one entry for each of {len(networks_zoo)} networks, got"
            f" the shape {targets.shape}."
        )
    if encoder is None and pretrained is None:
        encoder = {**_canonicalizer.ENCODER, "num_probes": 0}
    of_classes = np.issubdtype(targets.dtype, np.integer)
    goal = (_goals.classes if of_classes else _goals.fractions)(targets, parts)
    job = predictor_job(
        networks_zoo,
        parts,
        targets,
        goal,
        encoder=encoder,
        head=head,
        pretrained=pretrained,
        augment=augment,
    )
    predictor = _fit.fit(job, folder, options)
    path = pathlib.Path(folder).expanduser() / "predictor"
    training.on_first(lambda: save_predictor(path, predictor))
    return predictor


def _start_from(pretrained: autoencoders.Canonicalizer, model):
    def init(key):
        fresh, trained = model.init(key), pretrained.variables
        return fresh | {name: trained[name] for name in fresh if name != "head"}

    return init
