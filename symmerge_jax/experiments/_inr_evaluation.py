"""What an autoencoder of INRs is judged by."""

import warnings
from typing import Any

import jax
import numpy as np

from symmerge_jax import autoencoders, symmetry, zoo
from symmerge_jax.experiments import _inr_data
from symmerge_jax.typing import Params


def reconstruction(
    canonicalizer: autoencoders.Canonicalizer,
    inrs: zoo.Zoo,
    grid: np.ndarray,
    *,
    compare_with_images: bool,
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Measure how well the function of networks survives.

    Args:
      canonicalizer: the trained autoencoder.
      inrs: networks that it has not seen.
      grid: coordinates `[S, 2]`.
      compare_with_images: whether the grid is that of the images in the zoo.

    Returns:
      The measures, and the renderings `[N, S, 1]` of originals and reconstructions.
      `mse` is against the network's own rendering, `mse_image` against the image it
      was fitted to, `mse_image_inr` that of the original network; `psnr` in dB is the
      mean over networks.
    """
    network = canonicalizer.autoencoder.network
    decoded = canonicalizer.reconstruct(inrs.params)
    originals = _inr_data.render_all(network, inrs, grid)
    twins = zoo.create(inrs.architecture, decoded)
    reconstructions = _inr_data.render_all(network, twins, grid)
    errors = np.asarray(autoencoders.functional_loss(reconstructions, originals))
    measures = {
        "mse": float(errors.mean()),
        "mse_median": float(np.median(errors)),
        "psnr": float(np.mean(np.asarray(autoencoders.psnr(errors)))),
    }
    images = _inr_data.true_images(inrs)
    if compare_with_images and images is not None:
        flat = images.reshape(len(images), -1)
        measures["mse_image"] = _mse(reconstructions[..., 0], flat)
        measures["mse_image_inr"] = _mse(originals[..., 0], flat)
    return measures, originals, reconstructions


def off_grid(
    canonicalizer: autoencoders.Canonicalizer, inrs: zoo.Zoo, *, num_points: int = 1000
) -> float:
    """Return the error at random points, where training did not look.

    Args:
      canonicalizer: the trained autoencoder.
      inrs: networks that it has not seen.
      num_points: points, uniform in [-1, 1], the same for all networks.

    Returns:
      The mean squared error between original and reconstruction.
    """
    shape = (num_points, canonicalizer.autoencoder.topology.spaces[0].size)
    points = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    network = canonicalizer.autoencoder.network
    decoded = zoo.create(inrs.architecture, canonicalizer.reconstruct(inrs.params))
    return _mse(
        _inr_data.render_all(network, inrs, points),
        _inr_data.render_all(network, decoded, points),
    )


def orbit_spread(
    canonicalizer: autoencoders.Canonicalizer,
    params_batch: Params,
    num_twins: int,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Measure how far apart the latents and reconstructions of twins are.

    Args:
      canonicalizer: the trained autoencoder.
      params_batch: `[N]` networks, each of which gets `num_twins` random twins.
      num_twins: twins per network.
      seed: seed of the twins.

    Returns:
      `orbit_spread`: largest deviation of a twin's latent from the mean of its orbit,
      divided by the norm of that mean; the worst of the networks. `between_networks`:
      the same ratio between different networks (mean), for scale.
    """
    keys = jax.random.split(jax.random.key(seed), _num(params_batch))
    orbits = jax.vmap(
        lambda key, params: symmetry.sample_orbit(
            key, params, canonicalizer.spec, num_twins
        )
    )(keys, params_batch)
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), orbits)
    latents = np.asarray(canonicalizer.encode(flat))
    latents = latents.reshape(len(keys), num_twins, -1).astype(np.float64)
    centres = latents.mean(axis=1)
    norms = np.linalg.norm(centres, axis=-1)
    within = np.linalg.norm(latents - centres[:, None], axis=-1).max(axis=1) / norms
    between = np.linalg.norm(centres - centres.mean(axis=0)[None], axis=-1) / norms
    return {
        "orbit_spread": float(within.max()),
        "between_networks": float(between.mean()),
    }


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
    canonicalizer: autoencoders.Canonicalizer, train: zoo.Zoo, test: zoo.Zoo
) -> dict[str, float]:
    """Return linear-probe accuracies: of latents, and of weights for comparison.

    Returns:
      `probe_latent`; `probe_canonical`, of the weights in closed canonical form;
      `probe_weights`, of the raw weights. Empty if the networks have no two labels.
    """
    labels = np.asarray(train.labels), np.asarray(test.labels)
    if min(labels[0].min(), labels[1].min()) < 0 or len(np.unique(labels[0])) < 2:
        return {}
    spec = canonicalizer.spec
    closed_form = jax.jit(jax.vmap(lambda p: symmetry.canonical_form(p, spec)))
    features: dict[str, Any] = {
        "probe_latent": canonicalizer.encode,
        "probe_canonical": lambda params: _flat(closed_form(params)),
        "probe_weights": _flat,
    }
    return {
        name: linear_probe(
            np.asarray(function(train.params)),
            labels[0],
            np.asarray(function(test.params)),
            labels[1],
        )
        for name, function in features.items()
    }


def _flat(params: Params) -> np.ndarray:
    return np.concatenate(
        [np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(params)], axis=1
    )


def _mse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a - b) ** 2))


def _num(params_batch: Params) -> int:
    return len(jax.tree.leaves(params_batch)[0])
