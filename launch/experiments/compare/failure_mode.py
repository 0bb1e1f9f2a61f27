"""Paths between the twins that an autoencoder takes for the least alike.

Boufalis et al. 2025 (arXiv 2511.12601): where an encoder is not invariant, some members
of an orbit get latents far apart, and the path between the networks decoded from them
leaves the function. They choose the pair in a map in the plane; here it is the pair
with the largest cosine distance in the latent space itself, found for every encoder,
beside a random pair. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    cells/                       pairs, losses and renderings, by encoder
    results.json                 the numbers
    paths_image, paths_own, renderings  the figures, as .png and .pdf
"""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict, config_dict

from experiments import harness
from experiments.compare import _failure_report, _interpolation, _interpolation_methods
from experiments.latents import _latent_numbers
from experiments.populations import _inr_data, _inr_pairs
from experiments.train import _trained
from symmerge_jax import merging, zoo
from symmerge_jax.typing import Params

_METHODS = ("naive", "matching_pd", "matching_best", "reconstruct", "latent")

MAY_CHANGE: tuple[str, ...] = ("chunk_size",)
"""Keys that change no number."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/failure_mode.py`.

    `canonicalizers` are workdirs of finished `autoencode` runs on the same networks, by
    their names in tables and figures. Of `num_networks` that they hold out, each gets
    `num_twins` random twins of a `family` ("P", "D" or "PD"); noise of the standard
    deviation `sigma` is added to the second network of the pair that is chosen among
    them. `images` say where the images of the networks are, if their zoo has none.
    """
    return ConfigDict(
        {
            "experiment": "failure_mode",
            "seed": 0,
            "canonicalizers": {},
            "images": {
                "source": config_dict.placeholder(str),
                "dir": config_dict.placeholder(str),
            },
            "family": "PD",
            "sigma": 0.0,
            "num_networks": 10,
            "num_twins": 512,
            "num_points": 40,
            "methods": _METHODS,
            "num_random_starts": 8,
            "chunk_size": 64,
        }
    )


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Find the pairs of every encoder, bring them together, and measure the paths.

    A run that was stopped goes on at the encoder that comes next.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      What `results.json` holds: by encoder its `workdir` and, for the "farthest" and
      the "random" twins, the cosine `distance` of the latents of a pair, mean and
      largest (`1 - cos`), the numbers of the twins in `pairs`, and by method its
      `label`, `recovered` (the share of pairs that were aligned exactly, None where
      that means nothing), and the numbers of `_curves.summarize` for each of
      `_interpolation.MEASURES`.

    Raises:
      ValueError: unknown keys or values, a workdir of another config, encoders that
        cannot be compared, or networks that are no INRs of images.
      FileNotFoundError: an encoder's run that has not finished, or no images.
    """
    config = harness.check_config(config, default_config())
    _check_values(config)
    given = _open(config)
    may_change = {*harness.MAY_CHANGE, *MAY_CHANGE}
    folder = harness.open_workdir(workdir, config, may_change=may_change)
    encoders = {encoder.name: encoder for encoder in given.compared.encoders}
    found = harness.complete_arrays(
        {name: folder / f"cells/{e.file_name}.npz" for name, e in encoders.items()},
        lambda name: _measure(config, given, encoders[name]),
        "failure mode",
        "encoder",
    )
    return _failure_report.write(folder, config, given.compared.encoders, found)


def table(results: dict[str, Any]) -> str:
    """Return the results of `run` as lines of text, a block for each encoder."""
    return _failure_report.table(results)


class _Given(NamedTuple):
    """Encoders and `R` networks that none of them has seen, with their images."""

    compared: _trained.Compared
    inrs: zoo.Zoo
    images: np.ndarray | None


def _check_values(config) -> None:
    """Refuse values that cannot work, before any file is opened."""
    if config.family not in _inr_pairs.TWINS:
        raise ValueError(
            f"config.family is {config.family!r}, known are"
            f" {', '.join(_inr_pairs.TWINS)}."
        )
    known, methods = _interpolation_methods.METHODS, config.methods
    if not methods or set(methods) - known.keys() or len(set(methods)) < len(methods):
        raise ValueError(
            f"config.methods must name some of {', '.join(known)}, each once, got"
            f" {methods}."
        )
    if not 0 <= config.sigma < np.inf:
        raise ValueError(f"config.sigma must be >= 0, got {config.sigma}.")
    if not 2 <= config.num_twins <= 4096:
        raise ValueError(
            f"config.num_twins must lie in 2..4096, got {config.num_twins}."
        )
    least = {"num_networks": 1, "num_points": 3, "num_random_starts": 0}
    harness.at_least(config, **least, chunk_size=1)


def _open(config) -> _Given:
    compared = _trained.open_encoders(config.canonicalizers.to_dict())
    if compared.experiment != "autoencode":
        raise ValueError(
            "config.canonicalizers are autoencoders of classifiers, but the paths are"
            " judged by the images that INRs render: give runs of 'autoencode'."
        )
    _interpolation.renderer(compared.zoo.architecture, *compared.size)  # or raises
    held_out = compared.parts["test"]
    if config.num_networks > len(held_out):
        raise ValueError(
            f"config.num_networks is {config.num_networks}, but"
            f" '{compared.encoders[0].folder}' holds out {len(held_out)}."
        )
    random = np.random.default_rng(config.seed)
    drawn = random.choice(held_out, config.num_networks, replace=False)
    inrs = zoo.select(compared.zoo, drawn)
    images = _inr_data.find_images(config, default_config(), inrs, compared.size)
    return _Given(compared, inrs, images)


def _measure(config, given: _Given, encoder: _trained.TrainedRun) -> dict[str, Any]:
    """Return everything that is measured with one encoder.

    Returns:
      As `KIND/...`, for "farthest" and "random": `pairs` `[R, 2]`, `distance` `[R]`; by
      method `METHOD/MEASURE` `[R, T]` and `METHOD/recovered` `[R]`, and for the first
      network `METHOD/rendered` `[S, H, W]` along the path.
    """
    canonicalizer = encoder.canonicalizer
    members = _inr_pairs.make_members(
        config.family, given.inrs, canonicalizer.spec, config.num_twins, config.seed
    )
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), members)
    latents = np.asarray(canonicalizer.encode(flat), np.float64)
    orbits = latents.reshape(config.num_networks, config.num_twins, -1)
    farthest = np.array([_latent_numbers.farthest_pair(orbit)[:2] for orbit in orbits])
    chosen = {"farthest": farthest, "random": np.tile([[0, 1]], (len(orbits), 1))}
    context = _interpolation_methods.Context(
        canonicalizer=canonicalizer,
        num_random_starts=config.num_random_starts,
        chunk_size=min(config.chunk_size, config.num_networks),
    )
    arrays: dict[str, Any] = {}
    for kind, numbers in chosen.items():
        arrays[f"{kind}/pairs"] = numbers
        arrays[f"{kind}/distance"] = np.array(
            [
                _latent_numbers.farthest_pair(orbit[pair])[2]
                for orbit, pair in zip(orbits, numbers, strict=True)
            ]
        )
        pairs = _make_pairs(config, members, numbers)
        found = _paths(config, given, context, pairs)
        arrays |= {f"{kind}/{name}": values for name, values in found.items()}
    return arrays


def _make_pairs(config, members: Params, numbers: np.ndarray) -> _inr_pairs.Pairs:
    """Return one pair of twins for each network, with noise on the second."""
    row = np.arange(len(numbers))
    a, b = (jax.tree.map(lambda x, e=e: x[row, numbers[:, e]], members) for e in (0, 1))
    random = np.random.default_rng([config.seed, 1])

    def noisy(leaf):
        noise = random.standard_normal(leaf.shape, np.float32)
        return leaf + np.float32(config.sigma) * noise

    return _inr_pairs.Pairs(a, jax.tree.map(noisy, b), b, row)


def _paths(config, given: _Given, context, pairs) -> dict[str, np.ndarray]:
    """Return losses along the paths of every method, and what the first renders."""
    architecture, size = given.inrs.architecture, given.compared.size
    render = jax.jit(jax.vmap(_interpolation.renderer(architecture, *size)))
    autoencoder = context.canonicalizer.autoencoder
    variables = context.canonicalizer.variables
    lams = jnp.linspace(0, 1, _failure_report.NUM_SHOWN)
    latents = _interpolation_methods.encode(context, pairs)
    arrays = {}
    for name in config.methods:
        method = _interpolation_methods.METHODS[name]
        ends = _interpolation_methods.find_ends(name, context, pairs, latents)
        decoder: dict[str, Any] = {}
        if method.in_latents:
            decoder = {"decode": autoencoder.decode, "variables": variables}
        losses = _interpolation.loss_curves(
            architecture,
            (ends.a, ends.b),
            pairs.params_a,
            config.num_points,
            size,
            given.images,
            chunk_size=context.chunk_size,
            **decoder,
        )
        arrays |= {f"{name}/{measure}": curve for measure, curve in losses.items()}
        if ends.recovered is not None:
            arrays[f"{name}/recovered"] = ends.recovered
        if not method.in_latents:
            first, last = (
                jax.tree.map(lambda x: x[0], end) for end in (ends.a, ends.b)
            )
            path = merging.interpolate(first, last, lams)
            arrays[f"{name}/rendered"] = np.asarray(render(path)).reshape(-1, *size)
    return arrays
