"""Map the latents of trained autoencoders, and measure what they keep apart.

Boufalis et al. 2025 (arXiv 2511.12601): held-out networks in the plane, coloured by
what they show, and among them the orbit of one of them, which a model that is invariant
puts into one point and others tear apart. The same in numbers, on several orbits and in
the latent space itself, beside the weights as they are and in closed canonical form.
Everything a run leaves is in its workdir:

    config.json, versions.json   what was run, and on what
    latents/, maps/, numbers/    what was computed, by encoder
    results.json                 the numbers
    maps, orbits                 the figures, as .png and .pdf
"""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, config_dict

import symmerge_jax
from experiments import harness
from experiments.latents import _latent_maps, _latent_numbers
from experiments.populations import _inr_pairs
from experiments.train import _measures, _trained
from symmerge_jax import networks, plots, training, zoo
from symmerge_jax.typing import Params

BASELINES = ("closed form", "raw weights")
"""What is measured beside encoders: all weights of a network, as they are or moved."""

_NUM_DRAWN = 32
"""Twins of each network whose distances are drawn."""

MAY_CHANGE: tuple[str, ...] = ("maps", "batch_size")
"""Keys that add maps or leave some out, and do not change any."""


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
    return ConfigDict(
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


@harness.locking
def run(config: harness.Config, workdir: str | os.PathLike) -> dict[str, Any]:
    """Encode networks and twins, measure, and draw the maps.

    A run that was stopped goes on at the encoder or map that comes next. Maps may be
    added between starts.

    Args:
      config: keys of `default_config`.
      workdir: folder of the run.

    Returns:
      What `results.json` holds: `values` ("class", "accuracy" or None: what networks
      are coloured by and read for), counts, and for each of `encoders` its `workdir`
      and the `error` that its own run has measured (mean squared, or divergence of
      classifiers), `neighbors` and `linear` (see `_latent_numbers.read_labels`), and
      by family `orbits` (see `_latent_numbers.orbit_numbers`); the same for each of
      `baselines`.

    Raises:
      ValueError: unknown keys or values, a workdir of another config, or encoders that
        cannot be compared.
      FileNotFoundError: an encoder's run that has not finished.
    """
    config = harness.check_config(config, default_config())
    _check_values(config)
    canonicalizers = config.canonicalizers.to_dict()
    compared = _trained.open_encoders(canonicalizers, reserved=BASELINES)
    given = _choose(config, compared)
    may_change = {*harness.MAY_CHANGE, *MAY_CHANGE}
    folder = harness.open_workdir(workdir, config, may_change=may_change)
    results: dict[str, Any] = {
        "values": given.values_name,
        "num_networks": len(given.test),
        "num_train": len(given.train),
        "num_neighbors": config.num_neighbors,
        "num_orbits": config.num_orbits,
        "num_twins": config.num_twins,
        "encoders": {},
        "baselines": {},
    }
    maps: dict[str, dict[str, _latent_maps.Map]] = {name: {} for name in config.maps}
    apart: dict[str, np.ndarray] = {}
    features = _features(config, compared)
    total = len(features) + len(compared.encoders) * (1 + len(maps))
    with training.Progress(total, "map", "piece") as progress:
        for encoder in compared.encoders:
            short = encoder.file_name
            latents = _kept(
                folder / f"latents/{short}.npz",
                functools.partial(_encode, config, given, features[encoder.name]),
            )
            progress.update()
            apart[encoder.name] = _latent_numbers.distances(
                latents[config.families[0]][:, :_NUM_DRAWN], latents["test"]
            )
            results["encoders"][encoder.name] = {
                "workdir": str(encoder.folder),
                "error": encoder.results.get("mse", encoder.results.get("test_kl")),
                **_numbers(config, given, folder / f"numbers/{short}.json", latents),
            }
            progress.update()
            for kind, found in maps.items():
                found[encoder.name] = _latent_maps.Map(
                    **_kept(
                        folder / f"maps/{kind}_{short}.npz",
                        functools.partial(_map, config, given, kind, latents),
                    )
                )
                progress.update()
        for name in BASELINES:
            make = functools.partial(_encode, config, given, features[name])
            file = folder / f"numbers/{_trained.file_name(name)}.json"
            results["baselines"][name] = _numbers(config, given, file, make)
            progress.update()
    harness.write_json(folder / "results.json", results)
    figure = plots.distance_panels(
        apart,
        min(_NUM_DRAWN, config.num_twins),
        label="distance of latents (mean of networks: 1)",
    )
    plots.save_figure(figure, folder / "distances")
    _draw(folder, config, given, maps)
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return the results of `run` as lines of text, encoders as rows."""
    rows = results["encoders"] | results["baselines"]
    width = max(map(len, rows)) + 2
    error, unit, factor = "MSE", "%", 100
    if results["values"] == "accuracy":
        error, unit, factor = "KL", "tau", 1
    near = f"{results['num_neighbors']}-NN {unit}"

    def line(name, cells):
        return f"{name:<{width}}" + "".join(f"{cell:>14}" for cell in cells)

    lines = [
        f"{results['num_networks']} held-out networks, read with"
        f" {results['num_train']} others",
        line("", (error, near, f"linear {unit}")),
    ]
    for name, row in rows.items():
        read = [row[key] for key in ("neighbors", "linear")]
        read = [None if value is None else factor * value for value in read]
        cells = [_show(row.get("error"), "{:.4f}")]
        lines.append(line(name, cells + [_show(x, "{:.2f}") for x in read]))
    formats = {
        **{"spread": "{:.1e}", "within": "{:.2e}", "between": "{:.2e}"},
        **{"ratio": "{:.1e}", "found": "{:.3f}", "two_parts": "{:.2f}"},
        "smaller_part": "{:.2f}",
    }
    titles = [name.replace("_", " ") for name in formats]
    for family in next(iter(rows.values()))["orbits"]:
        lines += [
            "",
            f"{family} orbits of {results['num_orbits']} networks,"
            f" {results['num_twins']} twins each",
            line("", titles),
        ]
        for name, row in rows.items():
            orbit = row["orbits"][family]
            lines.append(line(name, [_show(orbit[k], f) for k, f in formats.items()]))
    return "\n".join(lines)


class _Given(NamedTuple):
    """What all encoders read."""

    spec: Any
    train: zoo.Zoo
    test: zoo.Zoo
    row: np.ndarray
    values_name: str | None

    def values(self, part: zoo.Zoo) -> np.ndarray:
        """Return classes or accuracies `[N]`."""
        if self.values_name == "accuracy":
            return np.asarray(part.metrics["test_accuracy"], np.float64)
        return np.asarray(part.labels)


def _check_values(config) -> None:
    """Refuse values that cannot work, before any file is opened."""
    _latent_maps.check_maps(tuple(config.maps))
    families = config.families
    if not families or len(set(families)) != len(families):
        raise ValueError(
            f"config.families must name at least one, each once, got {families}."
        )
    for family in families:
        if family not in _inr_pairs.TWINS:
            raise ValueError(
                f"config.families has {family!r}, known are"
                f" {', '.join(_inr_pairs.TWINS)}."
            )
    harness.at_least(config, num_train=2, num_neighbors=1, num_orbits=1, batch_size=1)
    if not 3 <= config.num_twins <= 4096:
        raise ValueError(
            f"config.num_twins must lie in 3..4096, got {config.num_twins}."
        )


def _choose(config, compared: _trained.Compared) -> _Given:
    """Choose the networks that are mapped, and those whose orbits are drawn."""
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
    name = None
    if compared.experiment == "autoencode_classifiers":
        name = "accuracy" if "test_accuracy" in test.metrics else None
    elif min(train.labels.min(), test.labels.min()) >= 0:
        name = "class" if len(np.unique(train.labels)) > 1 else None
    random = np.random.default_rng(config.seed)
    row = random.choice(count, config.num_orbits, replace=False)
    spec = networks.build(compared.zoo.architecture).spec
    return _Given(spec, train, test, row, name)


def _features(config, compared) -> dict[str, Callable[[Params], Any]]:
    """Return what turns networks into latents, or into the features of a baseline."""
    spec = networks.build(compared.zoo.architecture).spec

    def closed_form(params):
        return symmerge_jax.canonicalize(params, spec).params

    return {
        **{
            encoder.name: functools.partial(
                encoder.canonicalizer.encode, batch_size=config.batch_size
            )
            for encoder in compared.encoders
        },
        "closed form": lambda params: _measures.flat(
            networks.map_batches(closed_form, params, 512)
        ),
        "raw weights": _measures.flat,
    }


def _encode(config, given: _Given, features) -> dict[str, np.ndarray]:
    """Return latents of "train" and "test" `[N, D]` and of each family `[R, K, D]`."""
    found = {
        name: np.asarray(features(part.params))
        for name, part in (("train", given.train), ("test", given.test))
    }
    sources = zoo.select(given.test, given.row)
    for family in config.families:
        twins = _inr_pairs.make_members(
            family, sources, given.spec, config.num_twins, config.seed
        )
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), twins)
        latents = np.asarray(features(flat))
        found[family] = latents.reshape(len(sources), config.num_twins, -1)
    return found


def _numbers(config, given: _Given, file: pathlib.Path, latents) -> dict[str, Any]:
    """Return the numbers of one row of the table; `latents` may be what makes them."""
    if file.exists():
        return harness.read_sealed(file)
    arrays: Any = latents() if callable(latents) else latents
    numbers: dict[str, Any] = {"neighbors": None, "linear": None}
    if given.values_name is not None:
        train, test = (
            (arrays[name], given.values(part))
            for name, part in (("train", given.train), ("test", given.test))
        )
        numbers = dict(_latent_numbers.read_labels(train, test, config.num_neighbors))
    numbers["orbits"] = {
        family: _latent_numbers.orbit_numbers(arrays[family], arrays["test"], given.row)
        for family in config.families
    }
    file.parent.mkdir(exist_ok=True)
    harness.write_sealed(file, numbers)
    return numbers


def _map(config, given: _Given, kind: str, latents) -> dict[str, np.ndarray]:
    orbit = latents[config.families[0]][0]
    network = int(given.row[0])
    found = _latent_maps.draw_map(kind, latents["test"], orbit, network, config.seed)
    return found._asdict()


def _kept(file: pathlib.Path, make: Callable[[], dict[str, np.ndarray]]):
    """Return the arrays of a file, which is made first if there is none to read."""
    if (found := harness.find_arrays(file)) is None:
        found = harness.save_arrays(file, make())
    return found


def _draw(folder: pathlib.Path, config, given: _Given, maps) -> None:
    if not maps:
        return
    titles = {kind: _latent_maps.MAPS[kind][0] for kind in maps}
    style: dict[str, Any] = {"values": np.zeros(len(given.test), int)}
    if given.values_name is not None:
        style = {"values": given.values(given.test)}
        labels = {"class": "class", "accuracy": "test accuracy"}
        style["values_label"] = labels[given.values_name]

    def of(part):
        return {
            titles[kind]: {name: getattr(found, part) for name, found in by.items()}
            for kind, by in maps.items()
        }

    plots.save_figure(plots.map_panels(of("points"), **style), folder / "maps")
    figure = plots.map_panels(
        of("with_orbit"),
        orbits=of("orbit"),
        orbit_label=f"its {config.num_twins} {config.families[0]} twins",
        network=int(given.row[0]),
        **style,
    )
    plots.save_figure(figure, folder / "orbits")


def _show(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
