"""Paths between the twins that an autoencoder takes for the least alike.

Boufalis et al. 2025 (arXiv 2511.12601): where an encoder is not invariant, some members
of an orbit get latents far apart, and the path between the networks decoded from them
leaves the function. They choose the pair in a map in the plane; here it is the pair
with the largest cosine distance in the latent space itself, found for every encoder,
beside a random pair. A run leaves in its workdir:

    config.json, versions.json    what was run, and on what
    cells/                        pairs, losses and renderings, by encoder
    results.json, results.npz     the numbers; the arrays of the figures
    paths_image, paths_own, renderings   the figures, as .png and .pdf
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from experiments import harness, latents, train
from experiments.compare import _failure_report, _inr_losses, _inr_paths
from experiments.populations import families
from symmerge_jax import merging
from symmerge_jax.typing import Array, Params


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/failure_mode.py`.

    `canonicalizers` are workdirs of finished `autoencode` runs on the same networks, by
    their names in tables and figures. Of `num_networks` that they hold out, each gets
    `num_twins` random twins of a `family` ("P", "D" or "PD"); noise of the standard
    deviation `sigma` is added to the second network of the pair that is chosen among
    them. `images` say where the images of the networks are, if their zoo has none.
    """
    return harness.ConfigDict(
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
            "methods": ("naive", "matching", "matching_best", "reconstruct", "latent"),
            "num_random_starts": 9,
            "chunk_size": 64,
        }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, and on what; all else is as in `default_config`.

    Attributes:
      encoders: finished runs of autoencoders, by name.
      inrs: networks that none of them has seen.
      options: of `_inr_paths.measurer`.
    """

    encoders: dict[str, train.TrainedRun]
    inrs: _inr_paths.Inrs
    family: str
    sigma: float
    num_twins: int
    methods: tuple[str, ...]
    seed: int
    options: Mapping[str, int]


def plan(config: harness.Config) -> Plan:
    """Take a config apart, and open the runs; see `Experiment`."""
    harness.each_once("family", (config.family,), families.TWINS)
    harness.each_once("methods", config.methods, _inr_paths.METHODS)
    families.check_sigma("sigma", config.sigma)
    if not 2 <= config.num_twins <= 4096:
        raise ValueError(
            f"config.num_twins must lie in 2..4096, got {config.num_twins}."
        )
    harness.at_least(config, num_networks=1)
    options = _inr_paths.options_of(config)
    compared = train.open_runs(config.canonicalizers.to_dict())
    if compared.experiment != "autoencode":
        raise ValueError(
            "config.canonicalizers are autoencoders of classifiers, but the paths are"
            " measured on the images that INRs render: give runs of 'autoencode'."
        )
    inrs = _inr_paths.held_out(
        config,
        default_config(),
        compared.zoo,
        compared.parts["test"],
        compared.size,
        compared.encoders[0].folder,
    )
    return Plan(
        encoders={encoder.name: encoder for encoder in compared.encoders},
        inrs=inrs,
        **{key: config[key] for key in ("family", "sigma", "num_twins", "methods")},
        seed=config.seed,
        options=options,
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Find the pairs of every encoder, bring them together, and measure the paths.

    A run that was stopped resumes at the next encoder.

    Returns:
      Counts, and by encoder its `workdir` and, for the "farthest" and the "random"
      twins:
      - `distance`: the cosine distance `1 - cos` of the latents of a pair, mean and
        largest;
      - `pairs`: the numbers of the twins;
      - `methods`: by method its `label`, `recovered` (the share of pairs that were
        aligned exactly, None where that means nothing), and the numbers of
        `curves.summarize` for each of `_inr_losses.MEASURES`.
    """
    encoders, inrs = plan.encoders, plan.inrs
    canonicalizers = {name: x.canonicalizer for name, x in encoders.items()}
    measure = _inr_paths.measurer(inrs, canonicalizers, **plan.options)
    renderer = _inr_losses.renderer(inrs.zoo.architecture, *inrs.size)
    render = jax.jit(jax.vmap(renderer))
    found = harness.complete_arrays(
        {
            name: folder / f"cells/{x.file_name}.npz"
            for name, x in plan.encoders.items()
        },
        lambda name: _measure_encoder(plan, name, measure, render),
        "failure mode",
        "encoder",
    )
    harness.save_arrays(folder / "results.npz", _failure_report.drawn(found))
    spec = next(iter(canonicalizers.values())).spec
    return {
        "family": plan.family,
        "sigma": plan.sigma,
        "num_networks": len(inrs.zoo),
        "num_twins": plan.num_twins,
        "encoders": {
            name: {
                "workdir": str(encoder.folder),
                **_failure_report.numbers(plan.methods, spec, found[name]),
            }
            for name, encoder in encoders.items()
        },
    }


def _measure_encoder(
    plan: Plan,
    name: str,
    measure: Callable[[str, str, _inr_paths.Group], _inr_paths.Path],
    render: Callable[[Params], Array],
) -> dict[str, Any]:
    """Return everything that is measured with one encoder.

    Returns:
      As `KIND/...`, for "farthest" and "random": `pairs` `[R, 2]`, `distance` `[R]`; by
      method `METHOD/MEASURE` `[R, T]` and `METHOD/recovered` `[R]`. For the farthest
      twins of the first network `METHOD/rendered` `[S, H, W]` along the path.
    """
    canonicalizer = plan.encoders[name].canonicalizer
    twins = families.make_members(
        plan.family, plan.inrs.zoo, canonicalizer.spec, plan.num_twins, plan.seed
    )
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), twins)
    orbits = np.asarray(canonicalizer.encode(flat), np.float64)
    orbits = orbits.reshape(len(plan.inrs.zoo), plan.num_twins, -1)
    farthest = np.array([latents.farthest_pair(orbit)[:2] for orbit in orbits])
    chosen = {"farthest": farthest, "random": np.tile([[0, 1]], (len(orbits), 1))}
    arrays: dict[str, Any] = {}
    for kind, numbers in chosen.items():
        arrays[f"{kind}/pairs"] = numbers
        arrays[f"{kind}/distance"] = np.array(
            [
                latents.farthest_pair(orbit[pair])[2]
                for orbit, pair in zip(orbits, numbers, strict=True)
            ]
        )
        pairs = families.chosen_pairs(twins, numbers, plan.sigma, plan.seed)
        group = _inr_paths.group_of(pairs, plan.inrs.images, plan.seed)
        for method in plan.methods:
            path = measure(method, name, group)
            found = dict(path.arrays)
            if kind == "farthest" and method in _failure_report.RENDERED:
                a, b = (jax.tree.map(lambda x: x[0], end) for end in (path.a, path.b))
                lams = jnp.linspace(0, 1, _failure_report.NUM_SHOWN)
                pixels = np.asarray(render(merging.interpolate(a, b, lams)))
                found["rendered"] = pixels.reshape(-1, *plan.inrs.size)
            arrays |= {f"{kind}/{method}/{part}": x for part, x in found.items()}
    return arrays


EXPERIMENT = harness.Experiment(
    name="failure_mode",
    defaults=default_config,
    plan=plan,
    run=run,
    tables=_failure_report.tables,
    draw=_failure_report.draw,
    may_change=("chunk_size",),
)
