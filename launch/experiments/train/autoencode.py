"""Train an autoencoder of INRs and measure it: the main experiment.

Boufalis et al. 2025, arXiv 2511.12601, section 5.1: the decoded network has to render
what the original renders. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    inrs.zoo                     the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out errors by step
    checkpoints/{latest,best}    for resuming; best by the error on validation networks
    canonicalizer/               the trained autoencoder, for `load_canonicalizer`
    results.json                 measures on held-out networks
    reconstructions, curves      as .png and .pdf, like all figures
"""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness, populations
from experiments.populations import make_zoo
from experiments.train import _measures, _training
from symmerge_jax import autoencoders, learning, plots

_CAPTION = """Held-out networks.
`mse`: squared error between what the decoded and the original network draw.
`mse_without_X`: the same with one part of the latent frozen to its mean. In short runs
the probes (outputs of the network at learned points) carry nearly all of it, and the
encoder of weights learns slowly: `encoder.num_probes=0` shows it alone.
`orbit_spread`: how far the latents of twins are apart, relative to their length
(zero: invariant); `between_networks`: the same for different networks.
`probe_X`: accuracy of a linear classifier of labels on latents, on weights in closed
canonical form, and on raw weights."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    The keys of `make_zoo.default_config` describe the zoo that is made if `zoo` names
    none; beside a zoo they may be omitted, or say how it was made. `encoder` and
    `decoder` are arguments of `autoencoders.build`; `loss` and `num_points` those of
    `learning.rendering_job`.
    """
    config = make_zoo.default_config()
    config.update(
        {
            "experiment": "autoencode",
            "image_size": 28,
            "loss": "function",
            "num_points": config_dict.placeholder(int),
            "pixel_expansion": 1,
            **_training.default_options(),
        }
    )
    return config


def plan(config: harness.Config) -> _training.Plan:
    """Take a checked config apart."""
    defaults = default_config()
    _training.check_encoder(config, defaults)
    if config.loss == "weights":
        keys = ("num_points", "pixel_expansion")
        harness.refuse_unused(config, defaults, keys, "loss='weights'")
    _training.check_counts(config)
    harness.at_least(config, pixel_expansion=1)
    return _training.Plan(
        source=populations.inr_source(config),
        make_job=functools.partial(
            _make_job,
            pixel_expansion=config.pixel_expansion,
            encoder=_training.encoder_options(config),
            decoder=config.decoder.to_dict(),
            loss=config.loss,
            num_points=config.num_points,
            augment=config.augment,
        ),
        options=_training.fit_options(config, config.seed),
        save=_measures.save_canonicalizer,
        load=autoencoders.load_canonicalizer,
        measure=functools.partial(
            _measure,
            num_probe_networks=config.num_probe_networks,
            num_orbits=config.num_orbits,
            num_twins=config.num_twins,
        ),
    ).check()


def _make_job(
    population: populations.Population,
    folder: pathlib.Path | None,
    *,
    pixel_expansion: int,
    **options: Any,
) -> learning.Job:
    def draw(step: int, targets: np.ndarray, outputs: np.ndarray) -> None:
        if folder is not None:
            rows = {"original": targets, f"step {step}": outputs}
            _draw(population, rows, folder / "reconstructions.png")

    size = population.task.size
    return learning.rendering_job(
        population.zoo,
        population.parts,
        populations.fine_grid(size, pixel_expansion),
        val_points=population.task.train.inputs,
        on_renderings=draw,
        **options,
    )


def _measure(
    canonicalizer: autoencoders.Canonicalizer,
    population: populations.Population,
    folder: pathlib.Path,
    *,
    num_probe_networks: int,
    num_orbits: int,
    num_twins: int,
) -> harness.Results:
    test, train = population.part("test"), population.part("train", num_probe_networks)
    grid = population.task.train.inputs
    drawn = _measures.reconstruct(canonicalizer, test, grid)
    few = jax.tree.map(lambda x: x[:num_orbits], test.params)
    results = {
        **drawn.measures,
        **_measures.without_parts(canonicalizer, test, grid, drawn.originals),
        **_measures.orbit_spread(canonicalizer, few, num_twins),
        **_measures.probes(
            train, test, canonicalizer.spec, latent=canonicalizer.encode
        ),
        **_measures.sizes_and_speed(canonicalizer, population, test),
    }
    shown = jax.tree.map(lambda x: x[:10], test.params)
    spec, network = canonicalizer.spec, population.network
    twins = learning.random_orbits(jax.random.key(0), shown, spec, 1)
    of_twins = canonicalizer.reconstruct(twins)
    rows = {
        "original": drawn.originals,
        "decoded": drawn.decoded,
        "decoded\nfrom a twin": populations.render_all(network, of_twins, grid),
    }
    _draw(population, rows, folder / "reconstructions")
    _training.draw_curves(folder, label="validation MSE", best="val/mse")
    return results


def _draw(
    population: populations.Population,
    rows: dict[str, np.ndarray],
    path: pathlib.Path,
) -> None:
    """Draw renderings in rows, above them the error of the second row."""
    original, decoded, *_ = rows.values()
    errors = np.mean((original[:10] - decoded[:10]) ** 2, axis=(1, 2))
    figure = plots.image_rows(
        [x[:10].reshape(-1, *population.task.size) for x in rows.values()],
        [*rows],
        [f"{error:.1e}" for error in errors],
    )
    plots.save_figure(figure, path)


def tables(results: harness.Results) -> list[harness.Table]:
    """Return the results as a table whose caption explains them."""
    return [harness.measures(_CAPTION, results)]


EXPERIMENT = harness.Experiment(
    name="autoencode",
    defaults=default_config,
    plan=plan,
    run=_training.run,
    evaluate=_training.evaluate,
    tables=tables,
    check_output=autoencoders.load_canonicalizer,
)
