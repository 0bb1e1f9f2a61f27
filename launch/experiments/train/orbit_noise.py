"""What the symmetries of weights cost who reads them: a ladder of orbit noise.

INRs are classified by their weights, after each was replaced by a random twin: the same
function, other weights. Every step of the ladder adds a symmetry, and plain readers are
trained and tested on networks of one step. How much a plain MLP loses says how much the
symmetries hide; how much a canonical form gives back, what it is worth. After the
comparison of Navon et al. 2023 (arXiv 2301.12780), where networks start apart. A run
leaves in its workdir:

    config.json, versions.json   what was run, and on what
    inrs.zoo                     the networks, unless `config.zoo` names others
    readers/                     accuracies, by reader; trainings of encoders
    results.json                 the accuracies
    ladder                       the figure, as .png and .pdf
"""

import dataclasses
import functools
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

import symmerge_jax
from experiments import harness, populations
from experiments.populations import families, make_zoo
from experiments.train import _measures, _training
from symmerge_jax import autoencoders, learning, networks, plots, symmetry, zoo
from symmerge_jax.typing import Key, Params

NOISES = ("none", "P", "PD", "turns")
"""Steps of the ladder: as fitted; permuted; signs flipped too; phases turned too."""

_NAMES = {
    "none": "as fitted",
    "P": "+ permutations",
    "PD": "+ signs",
    "turns": "+ half turns",
}

READERS = {
    "weights": "MLP on the weights",
    "closed": "MLP on the closed form",
    "aligned": "MLP on weights aligned to one network",
    "template": "MLP on weights aligned to what is decoded",
    "decoded": "MLP on the decoded weights",
    "scale_gmn": "ScaleGMN",
}
"""Who reads, by the names in a config."""

_WITH_CANONICALIZER = ("template", "decoded")


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/orbit_noise.py`.

    The keys of `make_zoo.default_config` describe the INRs that are made if `zoo` names
    none. `canonicalizer` is a name or a finished run of an autoencoder, for the readers
    "template" and "decoded". `mlp` is the plain reader: width of its two hidden layers
    and its most epochs. `encoder` and the keys after it train ScaleGMN, as `predict`.
    """
    options = _training.default_options()
    left_out = ("decoder", "augment", "num_probe_networks", "num_orbits", "num_twins")
    config = make_zoo.default_config()
    config.update(
        {
            "experiment": "orbit_noise",
            "image_size": 28,
            "noises": NOISES,
            "readers": tuple(READERS),
            "canonicalizer": config_dict.placeholder(str),
            "mlp": {"width": 256, "num_epochs": 40},
            "distort": {"rotation": 0.0, "scale": 0.0, "shift": 0.0},
            **{key: options[key] for key in options if key not in left_out},
        }
    )
    config.encoder.num_probes = 0
    return config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Who reads what; all else is as in `default_config`.

    Attributes:
      source: where the networks come from.
      canonicalizer: for the readers that need one.
      encoder: of ScaleGMN.
      options: of its training.
    """

    source: populations.Source
    noises: tuple[str, ...]
    readers: tuple[str, ...]
    canonicalizer: autoencoders.Canonicalizer | None
    mlp: Mapping[str, int]
    encoder: Mapping[str, Any]
    warp: learning.Warp
    options: learning.FitOptions
    seed: int


def plan(config: harness.Config) -> Plan:
    """Take a config apart; see `Experiment`."""
    defaults = default_config()
    harness.each_once("noises", config.noises, NOISES)
    harness.each_once("readers", config.readers, tuple(READERS))
    harness.at_least(config.mlp, "config.mlp", width=1, num_epochs=1)
    canonicalizer = None
    if needing := [name for name in config.readers if name in _WITH_CANONICALIZER]:
        if config.canonicalizer is None:
            raise ValueError(
                f"The readers {needing} need a canonicalizer: give"
                " config.canonicalizer, a finished run of an autoencoder of such INRs,"
                " or omit them."
            )
        canonicalizer = autoencoders.load_canonicalizer(config.canonicalizer)
    else:
        because = f"readers={tuple(config.readers)}"
        harness.refuse_unused(config, defaults, ["canonicalizer"], because)
    _training.check_encoder(config, defaults)
    source = populations.inr_source(config)
    if canonicalizer is not None and source.planned is not None:
        zoo.require_architecture(source.planned.zoo, canonicalizer.architecture)
    return Plan(
        source=source,
        canonicalizer=canonicalizer,
        encoder=_training.encoder_options(config),
        warp=learning.Warp(**config.distort),
        options=_training.fit_options(config, config.seed),
        mlp=config.mlp.to_dict(),
        **{key: config[key] for key in ("noises", "readers", "seed")},
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Train every reader on every step of the ladder.

    A run that was stopped resumes at the next reader, and within a training.

    Returns:
      Counts, `error`, the largest standard error of an accuracy, and `accuracies`: by
      reader, by step.
    """
    population = plan.source.load(folder)
    kept = {noise: _noisy(noise, population, plan.seed) for noise in plan.noises}
    paths = {name: folder / f"readers/{name}.npz" for name in plan.readers}

    def read(name: str) -> dict[str, np.ndarray]:
        if name == "scale_gmn":
            return _read_graphs(plan, population, kept, folder / "readers/scale_gmn")
        return {
            noise: np.array(_read_rows(name, plan, population, params))
            for noise, params in kept.items()
        }

    found = harness.complete_arrays(paths, read, "orbit noise", "reader")
    accuracies = {
        name: {noise: float(value) for noise, value in found[name].items()}
        for name in plan.readers
    }
    num_test = len(population.parts["test"])
    values = np.array([[*row.values()] for row in accuracies.values()])
    return {
        "num_train": len(population.parts["train"]),
        "num_test": num_test,
        "error": float(np.sqrt(values * (1 - values) / num_test).max()),
        "accuracies": accuracies,
    }


def _noisy(noise: str, population: populations.Population, seed: int) -> Params:
    """Return all networks, each replaced by a random twin."""
    inrs, spec = population.zoo, population.network.spec
    if noise == "none":
        return jax.tree.map(np.asarray, inrs.params)
    family = "PD" if noise == "turns" else noise
    twins = families.make_members(family, inrs, spec, 1, seed)
    twins = jax.tree.map(lambda x: x[:, 0], twins)
    if noise != "turns":
        return twins
    keys = jax.random.split(jax.random.key(seed), len(inrs))
    turn = jax.jit(jax.vmap(functools.partial(_turn_phases, spec=spec)))
    return jax.device_get(turn(keys, twins))


def _turn_phases(key: Key, params: Params, *, spec: symmetry.SymmetrySpec) -> Params:
    """Turn the phase of every sine by -2 to 2 half turns; the function stays.

    `sin(x + k pi) = (-1)^k sin(x)`: what reads the neuron changes its sign.
    """
    leaves = symmetry.flatten(params)
    for number, space in enumerate(spec.spaces):
        if space.frequency is None:
            continue
        [bias] = [p for p, axes in spec.axes if axes == (symmetry.Axis(space.name),)]
        shape = leaves[bias].shape
        turns = jax.random.randint(jax.random.fold_in(key, number), shape, -2, 3)
        leaves[bias] = leaves[bias] + turns * (jnp.pi / space.frequency)
        for path, axis, _ in spec.uses(space.name, -1):
            signs = jnp.expand_dims(1 - 2 * (turns % 2), _others(leaves[path], axis))
            leaves[path] = leaves[path] * signs
    return symmetry.unflatten(leaves)


def _others(array: Any, axis: int) -> tuple[int, ...]:
    return tuple(number for number in range(array.ndim) if number != axis)


def _read_rows(
    name: str, plan: Plan, population: populations.Population, params: Params
) -> float:
    """Return the accuracy of an MLP on rows of weights, as they are or after a form."""
    from sklearn import exceptions, neural_network, pipeline, preprocessing

    rows = _measures.flat(_formed(name, plan, population, params))
    labels = np.asarray(population.zoo.labels)
    train, test = (population.parts[part] for part in ("train", "test"))
    width = plan.mlp["width"]
    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        neural_network.MLPClassifier(
            (width, width),
            max_iter=plan.mlp["num_epochs"],
            early_stopping=True,
            random_state=plan.seed,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        model.fit(rows[train], labels[train])
    return float(model.score(rows[test], labels[test]))


def _formed(
    name: str, plan: Plan, population: populations.Population, params: Params
) -> Params:
    """Return the networks `[N]` as a reader of rows sees them."""
    network, spec = population.network, population.network.spec
    if name == "weights":
        return params
    if name == "closed":
        return _measures.closed_forms(params, spec)
    if name in _WITH_CANONICALIZER:
        return symmerge_jax.canonicalize(
            params, network, form=name, canonicalizer=plan.canonicalizer
        ).params
    folded = jax.device_get(symmetry.fold_phases(params, spec))
    first = jax.tree.map(lambda x: x[population.parts["train"][:1]], folded)

    def aligned(batch):
        ends = jax.tree.map(lambda x, y: jnp.broadcast_to(x, y.shape), first, batch)
        return symmerge_jax.align(ends, batch, network).params

    return networks.map_batches(aligned, folded, 512)


def _read_graphs(
    plan: Plan,
    population: populations.Population,
    kept: Mapping[str, Params],
    folder: pathlib.Path,
) -> dict[str, np.ndarray]:
    """Return the accuracies of a ScaleGMN classifier, by step.

    It is trained once: what it reads is the same on every step, up to rounding.
    """
    labels, test = np.asarray(population.zoo.labels), population.parts["test"]
    goal = learning.classes(labels, population.parts)
    job = learning.predictor_job(
        population.zoo,
        population.parts,
        labels,
        goal,
        encoder=plan.encoder,
        warp=plan.warp,
    )
    trained = learning.fit(job, folder, plan.options)
    accuracies = {}
    for noise, params in kept.items():
        outputs = trained(jax.tree.map(lambda x: x[test], params))
        accuracies[noise] = np.array(goal.measures(outputs, labels[test])["accuracy"])
    return accuracies


def tables(results: harness.Results) -> list[harness.Table]:
    """Return the accuracies as a table."""
    found = results["accuracies"]
    noises = [*next(iter(found.values()))]
    cells = [
        [READERS[name], *(harness.to_cell(100 * row[noise], ".1f") for noise in noises)]
        for name, row in found.items()
    ]
    caption = (
        f"Accuracy (%) on {results['num_test']} held-out networks, standard error at"
        f" most {100 * results['error']:.1f} points."
    )
    return [
        harness.Table(caption, ["reader", *(_NAMES[noise] for noise in noises)], cells)
    ]


def draw(results: harness.Results, _: harness.Arrays) -> dict[str, Any]:
    """Draw the accuracy of every reader along the ladder."""
    lines = {}
    for name, row in results["accuracies"].items():
        values = np.array([*row.values()])
        errors = np.sqrt(values * (1 - values) / results["num_test"])
        lines[READERS[name]] = (np.arange(len(row)), 100 * values, 100 * errors)
    figure = plots.mean_curves(
        {"": lines}, "random twins", "accuracy (%)", num_columns=1, markers=True
    )
    steps = [*next(iter(results["accuracies"].values()))]
    figure.axes[0].set_xticks(range(len(steps)), [_NAMES[step] for step in steps])
    return {"ladder": figure}


EXPERIMENT = harness.Experiment(
    name="orbit_noise",
    defaults=default_config,
    plan=plan,
    run=run,
    tables=tables,
    draw=draw,
)
