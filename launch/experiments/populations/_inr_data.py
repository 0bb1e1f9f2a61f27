"""The networks of an autoencoder experiment: made, loaded, divided, rendered."""

import pathlib
from typing import Any, NamedTuple

import numpy as np

from experiments import harness
from experiments.populations import _inr_tasks, _population, make_zoo
from symmerge_jax import autoencoders, zoo

find_images = _inr_tasks.find_images
render_all = _inr_tasks.render_all
targets = _inr_tasks.targets
true_images = _inr_tasks.true_images


class InrData(NamedTuple):
    """A zoo of INRs, divided by image.

    Attributes:
      zoo: all networks.
      parts: numbers of the networks in "train", "val" and "test".
      statistics: mean and standard deviation per tensor over the training networks.
      height: of the images, in pixels.
      width: of the images, in pixels.
    """

    zoo: zoo.Zoo
    parts: dict[str, np.ndarray]
    statistics: autoencoders.Statistics
    height: int
    width: int


def load(config: harness.Config, workdir: pathlib.Path) -> InrData:
    """Return the networks that a config asks for, checked.

    Args:
      config: `config.zoo` names a zoo file or a folder of INR checkpoints; without it
        the zoo of the other keys is made in the workdir.
      workdir: folder of the run, for the zoo that is made or imported.

    Returns:
      The data.

    Raises:
      ValueError: networks that are not finite, or fewer than the split needs.
      FileNotFoundError: no such zoo, or no images.
    """
    return _divide(_open_zoo(config, workdir), config)


def plan(config: harness.Config) -> InrData | None:
    """Return the data of a config before any work: weights may still be zeros.

    Returns:
      The data; None for a folder of checkpoints, which has to be imported first.

    Raises:
      ValueError: as `load`; or keys that describe a zoo to be made, beside a
        `config.zoo` that was made differently.
      FileNotFoundError: as `load`.
    """
    if config.zoo is None:
        return _divide(make_zoo.plan(_zoo_config(config)), config)
    path = pathlib.Path(config.zoo)
    inrs = None if path.is_dir() else zoo.load(path)
    harness.refuse_unused(
        _zoo_config(config),
        make_zoo.default_config(),
        ("fits_per_image", "data", "architecture", "fit"),
        f"zoo={config.zoo!r}",
        fulfilled={"data.dir": config.data.dir} | _recorded(inrs),
    )
    return None if inrs is None else _divide(inrs, config)


def _divide(inrs: zoo.Zoo, config: harness.Config) -> InrData:
    zoo.check_finite(inrs)
    parts = split(inrs, config)
    train = zoo.select(inrs, parts["train"])
    if inrs.images is not None:
        height, width = inrs.images.shape[1:]
    else:
        height = width = config.image_size
    return InrData(inrs, parts, zoo.statistics(train), height, width)


def split(networks_zoo: zoo.Zoo, config: harness.Config) -> dict[str, np.ndarray]:
    """Divide networks as `populations.split` does, by the keys of a config."""
    return _population.split(
        networks_zoo,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )


def coordinates(data: InrData, pixel_expansion: int) -> np.ndarray:
    """Return the grid `[S, I]` of the images or signals, finer by a whole factor."""
    return _inr_tasks.fine_grid((data.height, data.width), pixel_expansion)


def _open_zoo(config: harness.Config, workdir: pathlib.Path) -> zoo.Zoo:
    made = workdir / "inrs.zoo"
    if config.zoo is None:
        return make_zoo.run(_zoo_config(config), made)
    path = pathlib.Path(config.zoo)
    if path.is_dir():
        return zoo.load(made) if made.exists() else make_zoo.run_import(path, made)
    return zoo.load(path)


def _zoo_config(config: harness.Config) -> harness.ConfigDict:
    keys = make_zoo.default_config().keys()
    return harness.ConfigDict({key: config[key] for key in keys})


def _recorded(inrs: zoo.Zoo | None) -> dict[str, Any]:
    """Return what a zoo tells of how it was made, by key of `make_zoo`."""
    if inrs is None or inrs.provenance.get("made_by") != "generate_siren_zoo":
        return {}
    made, architecture = inrs.provenance, dict(inrs.architecture)
    source, _, split = made["source"].partition("/")
    architecture["hidden_sizes"] = tuple(architecture["layer_sizes"][1:-1])
    return {
        "data.source": source,
        "data.split": split,
        "data.num_images": made["images_shape"][0],
        "fits_per_image": made["fits_per_image"],
        **{f"architecture.{name}": value for name, value in architecture.items()},
        **{f"fit.{name}": value for name, value in made["options"].items()},
    }
