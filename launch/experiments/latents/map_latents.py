"""Map the latents of trained autoencoders, and measure what they keep apart.

Boufalis et al. 2025 (arXiv 2511.12601): held-out networks in the plane, coloured by
what they show, and among them the orbit of one of them, which an invariant model puts
into one point and others tear apart. The same in numbers, on several orbits and in the
latent space itself, beside the weights as they are and in closed canonical form. A run
leaves in its workdir:

    config.json, versions.json    what was run, and on what
    latents/, maps/, numbers/     what was computed, by encoder
    results.json, results.npz     the numbers, and the arrays of the figures
    maps, orbits, distances       the figures, as .png and .pdf
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import config_dict

from experiments import harness
from experiments.latents import _maps, _numbers, _report
from experiments.populations import families
from experiments.train import TrainedRun, closed_forms, file_name, flat, open_runs
from symmerge_jax import networks, symmetry, training, zoo
from symmerge_jax.typing import Params

BASELINES = ("closed form", "raw weights")
"""What is measured beside encoders: all weights of a network, as they are or moved."""


def default_config() -> harness.Config:
    """Return every key that exists; see `launch/configs/latent_maps.py`.

    `canonicalizers` are workdirs of finished `autoencode` or `autoencode_classifiers`
    runs on the same networks, by their names in tables and figures. `maps` are "tsne"
    and "umap". Of the networks that they hold out the first `num_networks` are mapped
    (None for all); `num_train` are what classes are read with. `num_orbits` of the
    mapped ones get `num_twins` random twins: by permutations ("P"), by signs or scales
    ("D"), or by both; `families` may name several, the first is drawn. `batch_size`
    networks are encoded at once.
    """
    return harness.ConfigDict(
        {
            "experiment": "map_latents",
            "seed": 0,
            "canonicalizers": {},
            "maps": ("tsne",),
            "families": ("PD",),
            "num_networks": config_dict.placeholder(int),
            "num_train": 4000,
            "num_neighbors": 5,
            "num_orbits": 8,
            "num_twins": 512,
            "batch_size": 64,
        }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured, and on what; options are those of `default_config`.

    Attributes:
      encoders: finished runs of autoencoders on the same networks.
      spec: symmetry of the networks.
      train: networks that classes are read with.
      test: held-out networks, which are mapped.
      row: numbers of those whose orbits are drawn.
      values_name: "class", "accuracy" or None: what networks are coloured by.
      values: that of the networks in "train" and "test".
    """

    encoders: list[TrainedRun]
    spec: symmetry.SymmetrySpec
    train: zoo.Zoo
    test: zoo.Zoo
    row: np.ndarray
    values_name: str | None
    values: Mapping[str, np.ndarray]
    maps: tuple[str, ...]
    families: tuple[str, ...]
    num_neighbors: int
    num_twins: int
    batch_size: int
    seed: int


def plan(config: harness.Config) -> Plan:
    """Take a config apart, open the runs, and choose the networks; see `Experiment`."""
    _maps.check_maps(config.maps)
    harness.each_once("families", config.families, families.TWINS)
    harness.at_least(config, num_train=2, num_neighbors=1, num_orbits=1, batch_size=1)
    if not 3 <= config.num_twins <= 4096:
        raise ValueError(
            f"config.num_twins must lie in 3..4096, got {config.num_twins}."
        )
    compared = open_runs(config.canonicalizers.to_dict(), reserved=BASELINES)
    held_out = compared.parts["test"]
    least, most = max(4, config.num_orbits), len(held_out)
    count = most if config.num_networks is None else config.num_networks
    if not least <= count <= most:
        raise ValueError(
            f"config.num_networks must lie in {least}..{most}, the orbits and the"
            f" networks that '{compared.encoders[0].folder}' holds out, got {count}."
        )
    train, test = (
        zoo.select(compared.zoo, rows)
        for rows in (compared.parts["train"][: config.num_train], held_out[:count])
    )
    name, values = _values(compared.experiment, {"train": train, "test": test})
    random = np.random.default_rng(config.seed)
    return Plan(
        encoders=compared.encoders,
        spec=networks.build(compared.zoo.architecture).spec,
        train=train,
        test=test,
        row=random.choice(count, config.num_orbits, replace=False),
        values_name=name,
        values=values,
        maps=config.maps,
        families=config.families,
        num_neighbors=config.num_neighbors,
        num_twins=config.num_twins,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def run(plan: Plan, folder: pathlib.Path) -> harness.Results:
    """Encode networks and twins, lay out the maps, and measure.

    Returns:
      `values` (what networks are coloured by and read for), counts, and for each of
      `encoders`:
      - `workdir`, and the `error` that its own run has measured: the mean squared one,
        or the divergence of classifiers;
      - `neighbors` and `linear`, see `_numbers.read_labels`;
      - `orbits`, by family, see `_numbers.orbit_numbers`.
      The last two for each of `baselines` as well.
    """
    features = _features(plan)
    files = {encoder.name: encoder.file_name for encoder in plan.encoders}
    latents = harness.complete_arrays(
        {name: folder / f"latents/{file}.npz" for name, file in files.items()},
        lambda name: _encode(plan, features[name]),
        "encode",
        "encoder",
    )
    maps = harness.complete_arrays(
        {
            (kind, name): folder / f"maps/{kind}_{file}.npz"
            for kind in plan.maps
            for name, file in files.items()
        },
        lambda key: _map(plan, key[0], latents[key[1]]),
        "lay out",
        "map",
    )
    numbers = {}
    with training.Progress(len(features), "measure", "encoder") as progress:
        for name, function in features.items():
            file = folder / f"numbers/{file_name(name)}.json"
            make = functools.partial(_encode, plan, function)
            if name in latents:
                make = functools.partial(latents.__getitem__, name)
            numbers[name] = _measure(plan, file, make)
            progress.update()
    harness.save_arrays(folder / "results.npz", _drawn(plan, latents, maps))
    return {
        "values": plan.values_name,
        "num_networks": len(plan.test),
        "num_train": len(plan.train),
        "num_neighbors": plan.num_neighbors,
        "num_orbits": len(plan.row),
        "num_twins": plan.num_twins,
        "encoders": {
            encoder.name: {
                "workdir": str(encoder.folder),
                "error": encoder.results.get("mse", encoder.results.get("test_kl")),
                **numbers[encoder.name],
            }
            for encoder in plan.encoders
        },
        "baselines": {name: numbers[name] for name in BASELINES},
    }


def _values(experiment: str, parts: Mapping[str, zoo.Zoo]) -> tuple[Any, Any]:
    """Return what networks are read for, None for nothing, and that of each part."""
    labels = {name: np.asarray(part.labels) for name, part in parts.items()}
    if experiment == "autoencode_classifiers":
        if "test_accuracy" not in parts["test"].metrics:
            return None, {}
        return "accuracy", {
            name: np.asarray(part.metrics["test_accuracy"], np.float64)
            for name, part in parts.items()
        }
    known = min(x.min() for x in labels.values()) >= 0
    return ("class", labels) if known and np.ptp(labels["train"]) else (None, {})


def _features(plan: Plan) -> dict[str, Callable[[Params], Any]]:
    """Return what turns networks into latents, or into the features of a baseline."""
    encoders = {
        encoder.name: functools.partial(
            encoder.canonicalizer.encode, batch_size=plan.batch_size
        )
        for encoder in plan.encoders
    }
    return encoders | {
        "closed form": lambda params: flat(closed_forms(params, plan.spec)),
        "raw weights": flat,
    }


def _encode(plan: Plan, features) -> dict[str, np.ndarray]:
    """Return latents of "train" and "test" `[N, D]` and of each family `[R, K, D]`."""
    parts = {"train": plan.train, "test": plan.test}
    found = {name: np.asarray(features(part.params)) for name, part in parts.items()}
    sources = zoo.select(plan.test, plan.row)
    for family in plan.families:
        twins = families.make_members(
            family, sources, plan.spec, plan.num_twins, plan.seed
        )
        stacked = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), twins)
        latents = np.asarray(features(stacked))
        found[family] = latents.reshape(len(sources), plan.num_twins, -1)
    return found


def _measure(
    plan: Plan, file: pathlib.Path, latents: Callable[[], harness.Arrays]
) -> dict[str, Any]:
    """Return the numbers of one row of a table."""
    if file.exists():
        return harness.read_sealed(file)
    arrays = latents()
    numbers: dict[str, Any] = {"neighbors": None, "linear": None}
    if plan.values:
        train, test = ((arrays[name], plan.values[name]) for name in ("train", "test"))
        numbers = dict(_numbers.read_labels(train, test, plan.num_neighbors))
    numbers["orbits"] = {
        family: _numbers.orbit_numbers(arrays[family], arrays["test"], plan.row)
        for family in plan.families
    }
    file.parent.mkdir(exist_ok=True)
    harness.write_sealed(file, numbers)
    return numbers


def _map(plan: Plan, kind: str, latents) -> dict[str, np.ndarray]:
    orbit, network = latents[plan.families[0]][0], int(plan.row[0])
    return _maps.lay_out(kind, latents["test"], orbit, network, plan.seed)._asdict()


def _drawn(plan: Plan, latents, maps) -> dict[str, np.ndarray]:
    """Return the arrays of the figures."""
    arrays = {
        "values": plan.values.get("test", np.zeros(len(plan.test), int)),
        "network": plan.row[0],
    }
    for name, found in latents.items():
        twins = found[plan.families[0]][:, : _report.NUM_DRAWN]
        distances = _numbers.distances(twins, found["test"])
        arrays[f"distances/{name}"] = distances.astype(np.float32)
    for (kind, name), found in maps.items():
        arrays |= {f"{kind}/{name}/{part}": x for part, x in found.items()}
    return arrays


EXPERIMENT = harness.Experiment(
    name="map_latents",
    defaults=default_config,
    plan=plan,
    run=run,
    tables=_report.tables,
    draw=_report.draw,
    may_change=("maps", "batch_size"),
)
