"""Make a zoo of image or signal networks from a config, import or inspect one."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict, config_dict

from experiments import harness
from experiments.populations import _population
from symmerge_jax import files, networks, zoo


def default_config() -> harness.Config:
    """Return every key that exists, with the values of the digits zoo.

    The keys are arguments of `zoo.load_images` (`data`), `networks.siren`
    (`architecture`, where `hidden_sizes` are `layer_sizes` without the inputs, 2 for
    images and 1 for signals, and the output), `zoo.SirenOptions` (`fit`) and
    `zoo.load_or_fit_sirens` (the others).
    """
    return ConfigDict(
        {
            "seed": 0,
            "fits_per_image": 1,
            "chunk_size": 256,
            "shard_size": config_dict.placeholder(int),
            "data": {
                "source": "digits",
                "split": "all",
                "dir": config_dict.placeholder(str),
                "num_images": config_dict.placeholder(int),
                "to_grey": False,
                "centre_crop": False,
                "size": config_dict.placeholder(int),
            },
            "architecture": {
                "hidden_sizes": (32, 32),
                "w0": 30.0,
                "first_w0": config_dict.placeholder(float),
                "output_offset": 0.5,
            },
            "fit": {
                "num_steps": 40,
                "target_psnr": config_dict.placeholder(float),
                "check_every": 25,
                "stride": 1,
                "learning_rate": 1.0,
                "warmup": 0.05,
                "decay": 0.05,
                "output_ridge": config_dict.placeholder(float),
                "shared_init": False,
                "group_size": config_dict.placeholder(int),
            },
        }
    )


def run(config: ConfigDict, out: str | os.PathLike) -> zoo.Zoo:
    """Make the zoo of a config in a file, or open it if it is there.

    An interrupted run resumes from its parts in `OUT.parts`.

    Args:
      config: keys of `default_config`.
      out: the zoo file; the folder of its files, if there is a `shard_size`.

    Raises:
      ValueError: an unknown key, a value that does not fit, or a file with another zoo.
      FileNotFoundError: missing images.
    """
    image_set, arguments = _arguments(config)
    shard_size: Any = config.get("shard_size")
    with harness.network_progress("make zoo") as show:
        return zoo.load_or_fit_sirens(
            out, image_set, shard_size=shard_size, on_chunk=show, **arguments
        )


def plan(config: harness.Config) -> zoo.Zoo:
    """Return the zoo that `run` would make, with zeros for its weights.

    It costs nothing, and shows whether a config can work before anything is fitted.
    """
    image_set, arguments = _arguments(config)
    num_networks = arguments["fits_per_image"] * len(image_set.images)
    image_row = np.arange(num_networks) // max(arguments["fits_per_image"], 1)
    return zoo.create(
        arguments["architecture"],
        _population.planned_params(arguments["architecture"], num_networks),
        labels=image_set.labels[image_row],
        **image_set.origin(image_row),
        images=image_set.images,
        image_row=image_row,
    )


def _arguments(config: harness.Config) -> tuple[zoo.ImageSet, dict[str, Any]]:
    """Return the images and the arguments of `zoo.generate_siren_zoo`."""
    values = harness.check_config(config, default_config()).to_dict()
    data, architecture = values["data"], values["architecture"]
    image_set = zoo.load_images(data.pop("source"), data_dir=data.pop("dir"), **data)
    grid = networks.coordinate_grid(*image_set.images.shape[1:])
    layer_sizes = [grid.shape[1], *architecture.pop("hidden_sizes"), 1]
    return image_set, {
        "architecture": {"kind": "siren", "layer_sizes": layer_sizes, **architecture},
        "options": zoo.SirenOptions(**values["fit"]),
        **{key: values[key] for key in ("seed", "fits_per_image", "chunk_size")},
    }


def describes(inrs: zoo.Zoo) -> dict[str, Any]:
    """Return what a zoo tells of how it was made, by key of `default_config`."""
    if inrs.provenance.get("made_by") != "generate_siren_zoo":
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


def run_import(
    folder: str | os.PathLike, out: str | os.PathLike, *, skip_damaged: bool = False
) -> zoo.Zoo:
    """Read a folder of INR checkpoints (`zoo.import_dws`) into a zoo file.

    Args:
      folder: in the layout of the MNIST-INRs data set.
      out: the zoo file.
      skip_damaged: omit files that are not sound, and count them.

    Raises:
      ValueError: a file that is not sound, or `out` exists.
      FileNotFoundError: no checkpoints.
    """
    on_error = "skip" if skip_damaged else "raise"
    return _import(
        out, lambda show: zoo.import_dws(folder, on_error=on_error, on_file=show)
    )


def run_import_small_cnn(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    activation: str | None = None,
    steps: Sequence[int] = (86,),
    split: str | os.PathLike | None = None,
) -> zoo.Zoo:
    """Read checkpoints of the Small CNN Zoo (`zoo.import_small_cnn`) into a zoo file.

    Args:
      folder: in the layout of the Small CNN Zoo.
      out: the zoo file.
      activation: the one that all networks of the zoo have.
      steps: epochs of the checkpoints.
      split: file with the order of the rows, for the published division.

    Raises:
      ValueError: files that are not sound, or `out` exists.
      FileNotFoundError: a file that is missing.
    """
    options: Any = {"activation": activation, "steps": steps, "split": split}
    return _import(
        out, lambda show: zoo.import_small_cnn(folder, **options, on_chunk=show)
    )


def _import(out: str | os.PathLike, read: Callable[[Any], zoo.Zoo]) -> zoo.Zoo:
    """Write what `read(progress)` returns to a new file, and open that."""
    with files.making(out):
        if os.path.exists(out):
            raise ValueError(f"{out} exists. Remove it, or choose another output.")
        with harness.network_progress("import") as show:
            zoo.save(out, read(show))
    return zoo.load(out)
