"""Train a canonicaliser on a zoo: an autoencoder that is blind to symmetries."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from symmerge_jax import autoencoders, networks, training, zoo
from symmerge_jax.learning import _distillation, _fit, _rendering

ENCODER: Mapping[str, Any] = {
    "kind": "scale_gmn",
    "width": 64,
    "num_layers": 4,
    "num_probes": 128,
    "scale_inputs": True,
}
"""Encoder that is trained if none is described."""

DECODER: Mapping[str, Any] = {"hidden_multipliers": (4, 8), "head": "affine"}
"""Decoder that is trained if none is described."""


def fit_canonicalizer(
    networks_zoo: zoo.Zoo,
    folder: str | os.PathLike,
    *,
    encoder: Mapping[str, Any] | None = None,
    decoder: Mapping[str, Any] | None = None,
    inputs: np.ndarray | None = None,
    loss: str = "function",
    augment: bool = False,
    val_fraction: float = 0.1,
    options: _fit.FitOptions | None = None,
) -> autoencoders.Canonicalizer:
    """Train an autoencoder of the networks of a zoo, or resume its training.

    INRs are compared by what they draw, see `rendering_job`, classifiers by their
    logits, see `distillation_job`. The best state on validation networks is kept.

    Args:
      networks_zoo: SIRENs, or classifiers.
      folder: of the training, see `fit`; the result is saved as `canonicalizer`.
      encoder: see `autoencoders.build`; None for `ENCODER`.
      decoder: see `autoencoders.build`; None for `DECODER`.
      inputs: at which functions are compared: `[S, I]` coordinates of INRs, None for
        the pixels of the zoo's images; `[S, *input_shape]` images of classifiers.
      loss: "function", or "weights" for INRs.
      augment: see `rendering_job`.
      val_fraction: share of the images, or of the training runs, for validation.
      options: how it is trained; None for the defaults.

    Returns:
      The canonicaliser, which `load_canonicalizer(folder)` loads again.

    Raises:
      TypeError: networks that are not a zoo.
      ValueError: as `fit`; networks that are not finite, or missing inputs.
      FloatingPointError: a loss that is not finite; names the step.

    Example:
      >>> import tempfile
      >>> import numpy as np
      >>> from symmerge_jax import learning, zoo
      >>> random = np.random.default_rng(0)
      >>> kernel = random.normal(size=(12, 3, 3)).astype(np.float32)
      >>> layer = {"kernel": kernel, "bias": kernel[:, 0]}
      >>> params = {"dense_0": layer, "dense_1": layer}
      >>> mlps = zoo.create({"kind": "mlp", "layer_sizes": [3, 3, 3]}, params)
      >>> canonicalizer = learning.fit_canonicalizer(
      ...     mlps,
      ...     tempfile.mkdtemp(),
      ...     inputs=kernel[0],
      ...     encoder={"kind": "probe", "width": 4, "num_probes": 3},
      ...     options=learning.FitOptions(num_steps=2),
      ... )
      >>> canonicalizer.encode(mlps.params).shape
      (12, 4)
    """
    encoder = ENCODER if encoder is None else encoder
    decoder = DECODER if decoder is None else decoder
    options = _fit.FitOptions() if options is None else options
    parts = divide(networks_zoo, val_fraction, options.seed)
    if networks_zoo.architecture["kind"] == "siren":
        job = _rendering.rendering_job(
            networks_zoo,
            parts,
            _pixels(networks_zoo) if inputs is None else inputs,
            encoder=encoder,
            decoder=decoder,
            loss=loss,
            augment=augment,
        )
    else:
        if inputs is None or loss != "function":
            raise ValueError(
                "Classifiers are compared by their logits: give images as inputs, and"
                f" loss='function', got loss={loss!r}."
            )
        zeros = np.zeros(len(inputs), np.int32)
        network = networks.build(networks_zoo.architecture)
        zoo.check_data(network, inputs, zeros, "inputs")
        job = _distillation.distillation_job(
            networks_zoo,
            parts,
            inputs,
            encoder=encoder,
            decoder=decoder,
            images_per_step=min(128, len(inputs)),
            augment=augment,
        )
    canonicalizer = _fit.fit(job, folder, options)
    path = pathlib.Path(folder).expanduser() / "canonicalizer"
    training.on_first(lambda: autoencoders.save_canonicalizer(path, canonicalizer))
    return canonicalizer


def divide(
    networks_zoo: zoo.Zoo, val_fraction: float, seed: int
) -> dict[str, np.ndarray]:
    """Return the rows of the parts "train" and "val" of networks that are finite."""
    if not isinstance(networks_zoo, zoo.Zoo):
        raise TypeError(
            f"networks_zoo must be a zoo.Zoo, got {type(networks_zoo).__name__}: make"
            " one with zoo.create(architecture, params_batch), the trees of all"
            " networks with a leading axis, or read one with zoo.load."
        )
    zoo.check_finite(networks_zoo)
    fractions = {"val": val_fraction, "train": 1 - val_fraction}
    return zoo.split(networks_zoo, fractions, seed=seed)


def _pixels(inrs: zoo.Zoo) -> np.ndarray:
    if inrs.images is None:
        raise ValueError(
            "The zoo has no images, whose pixels would be compared: give coordinates as"
            " inputs, such as networks.coordinate_grid(28, 28)."
        )
    return networks.coordinate_grid(*inrs.images.shape[1:])
