"""Interpolate between INRs of one function, or one image, after bringing them together.

The main experiment of Boufalis et al. 2025 (arXiv 2511.12601): members of the orbit of
a network are paired, the second one is perturbed, and what lies on the straight path
between them is compared with the image. Beside the published methods stand exact ones,
beside orbits separate fits of one image. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    autoencoder/                 made first, unless `config.canonicalizer` names one
    cells/                       losses of every pair by family, noise and method
    results.json, results.npz    the numbers; mean curves with their errors
    paths_image, paths_own, noise  as .png and .pdf, like all figures
"""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict, config_dict

from experiments import harness
from experiments.compare import (
    _interpolation,
    _interpolation_methods,
    _interpolation_report,
)
from experiments.populations import _inr_data, _inr_pairs
from experiments.train import _trained, autoencode
from symmerge_jax import autoencoders, zoo

MAY_CHANGE: tuple[str, ...] = ("families", "sigmas", "sweep", "methods", "chunk_size")
"""Keys that add cells or leave some out, and do not change any."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/orbit_interpolation.py`.

    `canonicalizer` is the workdir of a finished `autoencode` run, whose held-out
    networks are used; without it the run of `autoencoder` is made first (by default
    that of `launch/configs/digits_inr.py`). Every family is perturbed by every one of
    `sigmas`, and the last family by those of `sweep` too. `canonicalizers` are further
    runs on the same networks by name: methods that read latents are then applied with
    each of these instead, which may include the first.
    """
    autoencoder = autoencode.default_config()
    autoencoder.encoder.width = 32
    autoencoder.encoder.latent_size = 64
    autoencoder.encoder.num_probes = 64
    autoencoder.num_steps = 600
    autoencoder.batch_size = 32
    autoencoder.num_microbatches = 4
    return ConfigDict(
        {
            "experiment": "interpolate",
            "seed": 0,
            "canonicalizer": config_dict.placeholder(str),
            "canonicalizers": {},
            "autoencoder": autoencoder,
            "images": {
                "source": config_dict.placeholder(str),
                "dir": config_dict.placeholder(str),
            },
            "families": ("P", "D", "PD"),
            "sigmas": (0.0, 0.005),
            "sweep": (),
            "num_networks": 10,
            "num_members": 512,
            "num_points": 40,
            "methods": tuple(_interpolation_methods.METHODS),
            "num_random_starts": 8,
            "chunk_size": 512,
        }
    )


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Make the pairs, bring them together by every method, and measure the paths.

    A run that was stopped goes on at the (family, noise, method) that comes next.
    Families, noise levels and methods may be added between starts.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      What `results.json` holds: a list of cells, each with `family`, `sigma`, `method`,
      `encoder` if there are several, its `label`, `recovered` (fraction of pairs that
      were aligned exactly, None where that means nothing), `seconds`, and the numbers
      of `_curves.summarize`
      for each of `_interpolation.MEASURES`.

    Raises:
      ValueError: unknown keys or values, a workdir of another config, or a
        canonicaliser that does not fit.
      FileNotFoundError: no canonicaliser, or no images.
    """
    config = harness.check_config(config, default_config())
    _check_values(config)
    given = None
    if (source := config.canonicalizer) is not None:
        because = f"canonicalizer={source!r}"
        harness.refuse_unused(config, default_config(), ("autoencoder",), because)
        given = _open(config, pathlib.Path(source))
    others = _open_others(config)
    may_change = {*harness.MAY_CHANGE, *MAY_CHANGE}
    folder = harness.open_workdir(workdir, config, may_change=may_change)
    if given is None:
        harness.run(autoencode.EXPERIMENT, config.autoencoder, folder / "autoencoder")
        given = _open(config, folder / "autoencoder")
    groups = _groups(config)
    work = _interpolation_methods.with_encoders(config.methods, others)
    cells = [Cell(*group, *pair) for group in groups for pair in work]
    files = {cell: folder / "cells" / f"{cell.file_name}.npz" for cell in cells}
    measure = _measurer(config, given, others)
    found = harness.complete_arrays(files, measure, "interpolate")
    return _interpolation_report.write(folder, found)


def table(results: dict[str, Any]) -> str:
    """Return the results of `run` as lines of text."""
    return _interpolation_report.table(results)


Cell = _interpolation_methods.Cell


class _Given(NamedTuple):
    """What the autoencoder run gives: `R` held-out networks and their images."""

    canonicalizer: autoencoders.Canonicalizer
    inrs: zoo.Zoo
    images: np.ndarray | None
    size: tuple[int, int]


def _check_values(config) -> None:
    """Refuse values that cannot work, before any file is touched."""
    known = _interpolation_methods.METHODS
    if unknown := set(config.methods) - known.keys():
        raise ValueError(
            f"config.methods has {min(unknown)!r}, known are {', '.join(known)}."
        )
    for key in ("families", "sigmas", "methods"):
        if not config[key] or len(set(config[key])) != len(config[key]):
            raise ValueError(
                f"config.{key} must name at least one, each once, got {config[key]}."
            )
    for family in config.families:
        _inr_pairs.check_family(family)
    for sigma in (*config.sigmas, *config.sweep):
        if not 0 <= sigma < np.inf:
            raise ValueError(f"config.sigmas and .sweep must be >= 0, got {sigma}.")
    least = {"num_networks": 2, "num_members": 2, "num_points": 3, "chunk_size": 1}
    harness.at_least(config, **least, num_random_starts=0)


def _open(config, source: pathlib.Path) -> _Given:
    """Read the autoencoder run, and draw held-out networks from its zoo."""
    canonicalizer = autoencoders.load_canonicalizer(source)
    trained = harness.check_config(
        harness.load_config(source / "config.json"), autoencode.default_config()
    )
    data = _inr_data.load(trained, source)
    zoo.require_architecture(data.zoo, canonicalizer.architecture)
    held_out = data.parts["test"]
    if config.num_networks > len(held_out):
        raise ValueError(
            f"config.num_networks is {config.num_networks}, but '{source}' holds out"
            f" {len(held_out)}."
        )
    random = np.random.default_rng(config.seed)
    drawn = random.choice(held_out, config.num_networks, replace=False)
    inrs = zoo.select(data.zoo, drawn)
    for family in config.families:
        _inr_pairs.check_source(family, inrs)
    size = data.task.size
    images = _inr_data.find_images(config, default_config(), inrs, size)
    return _Given(canonicalizer, inrs, images, size)


def _open_others(config) -> dict[str, autoencoders.Canonicalizer]:
    """Read the named autoencoders, which must not have seen the networks either."""
    if not config.canonicalizers:
        return {}
    if config.canonicalizer is None:
        raise ValueError(
            "config.canonicalizers are compared on the networks that"
            " config.canonicalizer holds out: give it too."
        )
    named = {"canonicalizer": config.canonicalizer, **config.canonicalizers.to_dict()}
    opened = _trained.open_encoders(named).encoders
    found = {encoder.name: encoder.canonicalizer for encoder in opened}
    return {name: found[name] for name in config.canonicalizers}


def _groups(config) -> list[tuple[str, float]]:
    """Return (family, noise) of all groups of pairs."""
    groups = [(f, float(s)) for s in config.sigmas for f in config.families]
    groups += [(config.families[-1], float(sigma)) for sigma in config.sweep]
    return list(dict.fromkeys(groups))


def _measurer(
    config, given: _Given, others: dict[str, autoencoders.Canonicalizer]
) -> Callable[[Cell], dict[str, np.ndarray]]:
    """Return what measures a cell; the cells of a group should follow each other."""

    @functools.lru_cache(maxsize=1)
    def open_group(family: str, sigma: float):
        """Return the pairs of a group, and where their latents by encoder are kept."""
        spec, num_members = given.canonicalizer.spec, config.num_members
        members = _inr_pairs.make_members(
            family, given.inrs, spec, num_members, config.seed
        )
        pairs = _inr_pairs.perturbed_pairs(
            members, sigma, config.seed, are_twins=family != "fits"
        )
        return pairs, {}

    def measure(cell: Cell) -> dict[str, np.ndarray]:
        pairs, latents = open_group(cell.family, cell.sigma)
        canonicalizer = given.canonicalizer
        if cell.encoder is not None:
            canonicalizer = others[cell.encoder]
        context = _interpolation_methods.Context(
            canonicalizer=canonicalizer,
            num_random_starts=config.num_random_starts,
            chunk_size=config.chunk_size,
        )
        method = _interpolation_methods.METHODS[cell.method]
        if method.reads_latents and cell.encoder not in latents:
            latents[cell.encoder] = _interpolation_methods.encode(context, pairs)
        ends = _interpolation_methods.find_ends(
            cell.method, context, pairs, latents.get(cell.encoder)
        )
        decoder = {}
        if method.in_latents:
            decoder["decode"] = canonicalizer.autoencoder.decode
            decoder["variables"] = canonicalizer.variables
        losses = _interpolation.loss_curves(
            given.inrs.architecture,
            (ends.a, ends.b),
            pairs.params_a,
            config.num_points,
            given.size,
            None if given.images is None else given.images[pairs.row],
            chunk_size=config.chunk_size,
            **decoder,
        )
        arrays = {**losses, "row": pairs.row, "seconds": np.float64(ends.seconds)}
        if ends.recovered is not None:
            arrays["recovered"] = ends.recovered
        return arrays

    return measure
