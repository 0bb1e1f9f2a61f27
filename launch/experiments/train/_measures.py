"""Measures of a trained autoencoder, and of what its latents tell."""

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import populations
from experiments.train import _training
from symmerge_jax import autoencoders, learning, networks, symmetry, zoo
from symmerge_jax.typing import Params

NUM_POINTS = 1000
"""Points between the pixels at which networks are compared."""


class Reconstruction(NamedTuple):
    """Networks, decoded, and what both of them render.

    Attributes:
      measures: see `reconstruct`.
      originals: `[N, S, 1]` renderings of the networks.
      decoded: `[N, S, 1]` renderings of the decoded networks.
    """

    measures: dict[str, float]
    originals: np.ndarray
    decoded: np.ndarray


def reconstruct(
    canonicalizer: autoencoders.Canonicalizer, inrs: zoo.Zoo, grid: np.ndarray
) -> Reconstruction:
    """Decode networks and measure how well their function survives.

    Args:
      canonicalizer: the trained autoencoder.
      inrs: networks that it has not seen.
      grid: coordinates `[S, 2]` of the pixels.

    Returns:
      The renderings, and as measures: `mse` against the network's own rendering, its
      median over networks, and `psnr` in dB, the mean over networks; `mse_off_grid` at
      random points, where training did not look; where the zoo has the images,
      `mse_image` against them and `mse_image_inr`, that of the original network.
    """
    network = canonicalizer.autoencoder.network
    decoded = canonicalizer.reconstruct(inrs.params)
    points = np.random.default_rng(0).uniform(-1, 1, (NUM_POINTS, grid.shape[1]))

    def render(where):
        where = where.astype(np.float32)
        return (
            populations.render_all(network, inrs.params, where),
            populations.render_all(network, decoded, where),
        )

    before, after = render(grid)
    errors = np.asarray(autoencoders.functional_loss(after, before))
    measures = {
        "mse": float(errors.mean()),
        "mse_median": float(np.median(errors)),
        "mse_off_grid": _mse(*render(points)),
        "psnr": float(np.mean(np.asarray(autoencoders.psnr(errors)))),
    }
    images = populations.true_images(inrs)
    if images is not None:
        flat = images.reshape(len(images), -1)
        measures["mse_image"] = _mse(after[..., 0], flat)
        measures["mse_image_inr"] = _mse(before[..., 0], flat)
    return Reconstruction(measures, before, after)


def without_parts(
    canonicalizer: autoencoders.Canonicalizer,
    inrs: zoo.Zoo,
    grid: np.ndarray,
    originals: np.ndarray,
) -> dict[str, float]:
    """Ablate each part of the latent: replace it by its mean, then decode.

    The latent of an encoder with probes is a sum of two parts. The mean over the
    networks is the same for all, so it tells nothing about any of them.

    Returns:
      The mean squared error `mse_without_KIND` (as `mse_without_scale_gmn`) to the
      originals `[N, S, 1]`, with the kind of the encoder frozen, and
      `mse_without_probes`; if there is one part, its own: nothing is known then.
    """
    model, variables = canonicalizer.autoencoder, canonicalizer.variables

    @jax.jit
    def render(latents):
        decoded = model.decode(variables, latents)
        return networks.render(model.network, decoded, grid)

    return {
        f"mse_without_{name}": _mse(
            networks.map_batches(render, latents, 256), originals
        )
        for name, latents in frozen_latents(canonicalizer, inrs.params).items()
    }


def frozen_latents(
    canonicalizer: autoencoders.Canonicalizer, params_batch: Params
) -> dict[str, np.ndarray]:
    """Return latents `[N, D]` with one part replaced by its mean over the networks.

    Returns:
      By the name of the part that is frozen: the kind of the encoder, and "probes";
      of a single part its mean.
    """
    model, variables = canonicalizer.autoencoder, canonicalizer.variables
    encode = functools.partial(jax.jit(model.encode_parts), variables)
    parts = networks.map_batches(encode, params_batch, 64)
    names = {"encoder": canonicalizer.encoder_options["kind"], "probe": "probes"}
    whole = sum(parts.values())
    return {
        names[part]: whole - latents + latents.mean(axis=0, keepdims=True)
        for part, latents in parts.items()
    }


def orbit_spread(
    canonicalizer: autoencoders.Canonicalizer,
    params_batch: Params,
    num_twins: int,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Measure how far apart the latents of `num_twins` random twins of networks are.

    Returns:
      `orbit_spread`: largest deviation of a twin's latent from the mean of its orbit,
      divided by the norm of that mean; the worst of the networks. `between_networks`:
      the same ratio between different networks (mean), for scale.
    """
    twins = learning.random_orbits(
        jax.random.key(seed), params_batch, canonicalizer.spec, num_twins
    )
    latents = np.asarray(canonicalizer.encode(twins))
    latents = latents.reshape(-1, num_twins, latents.shape[-1]).astype(np.float64)
    centres = latents.mean(axis=1)
    norms = np.linalg.norm(centres, axis=-1)
    between = np.linalg.norm(centres - centres.mean(axis=0)[None], axis=-1) / norms
    return {
        "orbit_spread": float(learning.orbit_spread(latents).max()),
        "between_networks": float(between.mean()),
    }


def closed_forms(params: Params, spec: symmetry.SymmetrySpec) -> Params:
    """Return the canonical twins of networks `[N, ...]`, in closed form."""
    return networks.map_batches(_closed_form(spec), params, 512)


@functools.lru_cache(maxsize=8)
def _closed_form(spec: symmetry.SymmetrySpec) -> Callable[[Params], Params]:
    return jax.jit(jax.vmap(functools.partial(symmetry.canonical_form, spec=spec)))


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
) -> float:
    """Return the test accuracy of logistic regression on standardised features."""
    from sklearn import exceptions, linear_model, pipeline, preprocessing

    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        linear_model.LogisticRegression(max_iter=300, C=0.1),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        model.fit(train_features, train_labels)
    return float(model.score(test_features, test_labels))


def probes(
    train: zoo.Zoo,
    test: zoo.Zoo,
    spec: symmetry.SymmetrySpec,
    **features: Callable[[Params], Any],
) -> dict[str, float]:
    """Return linear-probe accuracies: of features, and of weights for comparison.

    Each of `features` maps networks to `[N, D]`; the probes are fitted to `train`.

    Returns:
      `probe_NAME` of every feature; `probe_canonical`, of the weights in closed
      canonical form; `probe_weights`, of the raw weights. Empty if the networks have
      no two labels.
    """
    labels = np.asarray(train.labels), np.asarray(test.labels)
    if min(labels[0].min(), labels[1].min()) < 0 or len(np.unique(labels[0])) < 2:
        return {}

    features = {
        **features,
        "canonical": lambda params: flat(closed_forms(params, spec)),
        "weights": flat,
    }
    return {
        f"probe_{name}": linear_probe(
            np.asarray(function(train.params)),
            labels[0],
            np.asarray(function(test.params)),
            labels[1],
        )
        for name, function in features.items()
    }


def flat(params: Params) -> np.ndarray:
    """Return all weights of stacked networks as rows `[N, P]`."""
    return np.concatenate(
        [np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(params)], axis=1
    )


def sizes_and_speed(
    canonicalizer: autoencoders.Canonicalizer,
    population: populations.Population,
    test: zoo.Zoo,
) -> dict[str, Any]:
    """Return sizes, networks encoded per second, and what the training recorded."""
    canonicalizer.encode(test.params)  # compiles where no measure before did
    start = time.perf_counter()
    canonicalizer.encode(test.params)
    seconds = time.perf_counter() - start
    return {
        "num_train": len(population.parts["train"]),
        "num_test": len(test),
        "num_parameters": _training.num_parameters(canonicalizer.variables),
        "encoded_per_second": len(test) / seconds,
        **canonicalizer.metadata,
    }


def _mse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a - b) ** 2))
