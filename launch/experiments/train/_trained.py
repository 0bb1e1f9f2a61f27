"""Autoencoders that are compared: finished runs on the same networks.

All are opened and checked before any work. What they are compared on are the networks
that the first run holds out, and every other one has to hold out the same.
"""

import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import harness, populations
from experiments.train import autoencode, autoencode_classifiers
from symmerge_jax import autoencoders, zoo

_KINDS = {
    "autoencode": (autoencode.EXPERIMENT, "inrs.zoo"),
    "autoencode_classifiers": (autoencode_classifiers.EXPERIMENT, "classifiers.zoo"),
}
"""Experiments that train an autoencoder, and the zoo they make in their workdir."""


class TrainedRun(NamedTuple):
    """A finished run of an autoencoder.

    Attributes:
      name: what it is called in tables and figures.
      folder: its workdir.
      canonicalizer: what was trained.
      results: what its `results.json` holds.
    """

    name: str
    folder: pathlib.Path
    canonicalizer: autoencoders.Canonicalizer
    results: dict[str, Any]

    @property
    def file_name(self) -> str:
        """The name as that of a file."""
        return file_name(self.name)


class Compared(NamedTuple):
    """Runs of autoencoders on the same networks.

    Attributes:
      encoders: by name, as a config sorts them.
      experiment: "autoencode" or "autoencode_classifiers".
      zoo: of the first run.
      parts: numbers of its networks in "train", "val" and "test".
      size: height and width of the images of INRs, in pixels.
    """

    encoders: list[TrainedRun]
    experiment: str
    zoo: zoo.Zoo
    parts: dict[str, np.ndarray]
    size: tuple[int, int]


def open_runs(
    canonicalizers: Mapping[str, str], *, reserved: Collection[str] = ()
) -> Compared:
    """Open runs of autoencoders and check that they can be compared.

    Args:
      canonicalizers: workdir of each run by its name in tables and figures.
      reserved: names that mean something else there.

    Raises:
      ValueError: no runs, names that clash, a run of something else than an
        autoencoder, or runs on other networks or with others held out; names both.
      FileNotFoundError: a run that has not finished, or has lost its zoo.
    """
    _check_names(canonicalizers, reserved)
    folders = {name: pathlib.Path(path) for name, path in canonicalizers.items()}
    kinds = {name: _check_finished(name, folder) for name, folder in folders.items()}
    opened = [_open(name, folders[name], kind) for name, kind in kinds.items()]
    first, config, inrs = opened[0]
    parts = populations.parts_of(inrs, config)
    held_out = zoo.select(inrs, parts["test"])
    for encoder, other_config, other in opened:
        try:
            zoo.require_architecture(inrs, encoder.canonicalizer.architecture)
        except ValueError as error:
            raise ValueError(
                f"{_where(encoder.name, encoder.folder)} was not trained on the"
                f" networks of {first.name!r} in '{first.folder}'. {error}"
            ) from error
        rows = populations.parts_of(other, other_config)["test"]
        if not _are_same(held_out, other, rows):
            raise ValueError(
                f"{_where(encoder.name, encoder.folder)} holds out other networks than"
                f" {first.name!r} in '{first.folder}', so that it may have seen what"
                " they are compared on: train both on one zoo, with the same seed and"
                " fractions."
            )
    if inrs.images is not None:
        size = inrs.images.shape[1:]
    else:
        size = 2 * (config.get("image_size", 0),)
    return Compared(
        [encoder for encoder, *_ in opened], config.experiment, inrs, parts, size
    )


def file_name(name: str) -> str:
    """Return a name with letters, digits and underscores only, in lower case."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _check_names(canonicalizers: Mapping[str, str], reserved) -> None:
    if not canonicalizers:
        raise ValueError(
            "config.canonicalizers names no run of an autoencoder: give"
            " --config.canonicalizers=\"{'ScaleGMN': 'runs/mnist_inr_cpu'}\", names and"
            " workdirs of any number."
        )
    taken = {file_name(name): name for name in reserved}
    for name in canonicalizers:
        short = file_name(name)
        if not short or short in taken:
            clash = f", which clashes with {taken[short]!r}" if short else ""
            raise ValueError(
                f"config.canonicalizers has the name {name!r}{clash}: choose another,"
                " different in letters or digits."
            )
        taken[short] = name


def _check_finished(name: str, folder: pathlib.Path) -> str:
    """Return the experiment of a run; refuse one that has not all that is read here."""
    where = _where(name, folder)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(
            f"{where} is not a run: there is no config.json. Give the workdir of a"
            " finished launch/train.py run."
        )
    experiment = harness.load_config(folder / "config.json").get("experiment")
    if experiment not in _KINDS:
        raise ValueError(
            f"{where} is a run of {experiment!r}, which trains no autoencoder; give one"
            f" of {' or '.join(_KINDS)}."
        )
    for part in ("canonicalizer/canonicalizer.json", "results.json"):
        if not (folder / part).exists():
            raise FileNotFoundError(
                f"{where} has not finished: there is no {part}. Start it again with"
                f" --workdir={folder}, it resumes."
            )
    return experiment


def _open(name: str, folder: pathlib.Path, experiment: str):
    """Return a run, its config and its zoo."""
    kind, file = _KINDS[experiment]
    config = kind.completed(harness.load_config(folder / "config.json"))
    path = folder / file
    if config.zoo is not None and not pathlib.Path(config.zoo).is_dir():
        path = pathlib.Path(config.zoo)
    if not path.exists():
        raise FileNotFoundError(
            f"{_where(name, folder)} has lost its networks: there is no '{path}'."
        )
    encoder = TrainedRun(
        name,
        folder,
        autoencoders.load_canonicalizer(folder),
        harness.read_json(folder / "results.json"),
    )
    return encoder, config, zoo.load(path)


def _where(name: str, folder: pathlib.Path) -> str:
    return f"config.canonicalizers: {name!r} in '{folder}'"


def _are_same(held_out: zoo.Zoo, other: zoo.Zoo, rows: np.ndarray) -> bool:
    """Whether these networks of another zoo are the ones that are held out."""
    if len(rows) != len(held_out):
        return False
    pairs = zip(
        jax.tree.leaves(held_out.params),
        jax.tree.leaves(zoo.select(other, rows).params),
        strict=True,
    )
    return all(np.array_equal(a, b) for a, b in pairs)
