"""Train an autoencoder of INRs and measure it: the main experiment.

Boufalis et al. 2025, arXiv 2511.12601, section 5.1: the decoded network has to render
what the original renders. Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    inrs.zoo                     the networks, unless `config.zoo` names others
    metrics.jsonl                losses and held-out errors by step
    checkpoints/{latest,best}    for resuming; best by the error on validation networks
    canonicalizer/               the trained autoencoder, for `load_canonicalizer`
    results.json, results.npz    measures on held-out networks, arrays of the figures
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
from symmerge_jax import autoencoders, learning, plots, symmetry

_CAPTION = """Held-out networks.
`mse`: squared error between what the decoded and the original network draw.
`mse_without_X`: the same with one part of the latent frozen to its mean. Beside probes
(outputs of the network at learned points) an encoder of weights has little to say.
`orbit_spread`: how far the latents of twins are apart, relative to their length
(zero: invariant); `between_networks`: the same for different networks.
`probe_X`: accuracy of a linear classifier of labels on latents, on weights in closed
canonical form, and on raw weights."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs` for complete runs.

    The keys of `make_zoo.default_config` describe the zoo that is made if `zoo` names
    none; beside a zoo they may be omitted, or say how it was made. `encoder` and
    `decoder` are arguments of `autoencoders.build`; `loss` and `num_points` those of
    `learning.rendering_job`, `distort` those of `learning.Warp`: in every step images
    are turned, scaled and moved, and drawn anew.
    """
    config = make_zoo.default_config()
    config.update(
        {
            "experiment": "autoencode",
            "image_size": 28,
            "loss": "function",
            "num_points": config_dict.placeholder(int),
            "pixel_expansion": 1,
            "distort": {"rotation": 0.0, "scale": 0.0, "shift": 0.0},
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
    make_job = functools.partial(
        _make_job,
        pixel_expansion=config.pixel_expansion,
        loss=config.loss,
        num_points=config.num_points,
        warp=learning.Warp(**config.distort),
    )
    source = populations.inr_source(config)
    return _training.autoencoder_plan(config, source, make_job, _measure)


def _make_job(
    population: populations.Population,
    folder: pathlib.Path | None,
    *,
    pixel_expansion: int,
    **options: Any,
) -> learning.Job:
    def draw(step: int, targets: np.ndarray, outputs: np.ndarray) -> None:
        if folder is not None:
            shown = _shown(population, "val")
            rows = {"original": targets[shown], f"step {step}": outputs[shown]}
            figure = _figure(_images(population, rows))
            plots.save_figure(figure, folder / "reconstructions.png")

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
    *,
    num_probe_networks: int,
    num_orbits: int,
    num_twins: int,
) -> tuple[harness.Results, harness.Arrays]:
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
    shown, spec = _shown(population, "test"), canonicalizer.spec
    originals = symmetry.rows(test.params, shown)
    twins = learning.random_orbits(jax.random.key(0), originals, spec, 1)
    of_twins = canonicalizer.reconstruct(twins)
    rows = {
        "original": drawn.originals[shown],
        "decoded": drawn.decoded[shown],
        "twin": populations.render_all(population.network, of_twins, grid),
    }
    images = _images(population, rows)
    return results, {f"rows/{name}": x for name, x in images.items()}


def _shown(population: populations.Population, part: str) -> np.ndarray:
    """Return where in a part the first fits of its first ten images are."""
    groups = learning.image_groups(population.zoo)[population.parts[part]]
    return np.sort(np.unique(groups, return_index=True)[1])[:10]


def _images(
    population: populations.Population, rows: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return renderings as images `[M, H, W]`."""
    shape = (-1, *population.task.size)
    return {name: outputs.reshape(shape) for name, outputs in rows.items()}


def _figure(rows: dict[str, np.ndarray]):
    """Draw renderings in rows, above them the error of the second row."""
    original, decoded, *_ = rows.values()
    errors = np.mean((original - decoded) ** 2, axis=(1, 2))
    return plots.image_rows([*rows.values()], [*rows], [f"{x:.1e}" for x in errors])


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw networks above their reconstructions, and the training."""
    del results
    figures = _training.curves(arrays, label="validation MSE", best="val/mse")
    labels = {"twin": "decoded\nfrom a twin"}
    rows = harness.arrays_below(arrays, "rows/")
    rows = {labels.get(name, name): images for name, images in rows.items()}
    return figures | ({"reconstructions": _figure(rows)} if rows else {})


EXPERIMENT = harness.Experiment(
    name="autoencode",
    defaults=default_config,
    plan=plan,
    run=_training.run,
    evaluate=_training.evaluate,
    many_processes=True,
    tables=lambda results: [harness.measures(_CAPTION, results)],
    draw=draw,
    check_output=autoencoders.load_canonicalizer,
)
