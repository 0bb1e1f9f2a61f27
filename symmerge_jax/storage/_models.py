"""A trained model as a folder: what it is in JSON, its parameters as safetensors.

NAME.json             format, version, the parts that describe the model,
                      statistics of its population, free metadata, the digest of the
                      other file, and one of all this (since version 2)
weights.safetensors   the parameters
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from symmerge_jax import files, symmetry
from symmerge_jax.typing import Key

Model = TypeVar("Model")

VERSION = 2
_OLD_VERSION = 1


class ModelFormat(NamedTuple):
    """Names in the folders of one kind of model.

    Attributes:
      name: of the JSON file, and of the folder in the workdir of a training run.
      title: what messages call the model.
      parts: attributes that describe the model, from which it is built; a part
        `NAME_options` is called `NAME` in the file.
    """

    name: str
    title: str
    parts: tuple[str, ...]

    @property
    def files(self) -> tuple[str, str]:
        """Names of both files."""
        return f"{self.name}.json", "weights.safetensors"

    @property
    def stamp(self) -> tuple[str, int]:
        """Format and version that are written."""
        return f"symmerge_jax.{self.name}", VERSION


def save_model(path: str | os.PathLike, form: ModelFormat, model: Any) -> None:
    """Write a model to the folder `path`, completely or not at all.

    Args:
      path: the folder.
      form: the kind of model.
      model: has the parts of its kind as attributes, and `statistics` of every tensor,
        `variables`, and `metadata` of JSON values.

    Raises:
      ValueError: if `path` holds anything else, or a parameter is not finite.
    """
    path = pathlib.Path(path)
    if path.exists() and not _is_replaceable(path, form):
        raise ValueError(
            f"'{path}' holds more than a {form.title}, so it is not replaced. Choose"
            " another folder."
        )
    symmetry.check_finite(model.variables)
    leaves = {
        symmetry.name(name): np.asarray(leaf, order="C")
        for name, leaf in symmetry.flatten(model.variables).items()
    }
    with files.replacing_folder(path) as folder:
        description_file, weights = (folder / name for name in form.files)
        files.write_safetensors(weights, leaves)
        file_format, version = form.stamp
        description = {
            "format": file_format,
            "version": version,
            **{_key(part): dict(getattr(model, part)) for part in form.parts},
            "statistics": {
                symmetry.name(name): list(pair)
                for name, pair in model.statistics.items()
            },
            "metadata": dict(model.metadata),
            "weights_sha256": _sha256(weights),
        }
        text = json.dumps(files.seal(description), indent=2, sort_keys=True)
        description_file.write_text(text + "\n", "utf-8")


def load_model(
    path: str | os.PathLike,
    form: ModelFormat,
    make: Callable[..., Model],
    init_of: Callable[[Model], Callable[[Key], Any]],
) -> Model:
    """Read a model that `save_model` wrote.

    Args:
      path: its folder, or the workdir of the training run.
      form: the kind of model.
      make: makes the model of keywords: the attributes that `save_model` writes.
      init_of: returns `init(key) -> variables` of a model, which tells the shapes of
        its weights.

    Returns:
      The model.

    Raises:
      FileNotFoundError: if there is none; says where training puts it.
      ValueError: if a file is damaged, of an unknown format, or does not fit the other,
        or a parameter is not finite.
    """
    path, (name_json, name_weights) = pathlib.Path(path), form.files
    folder = path if (path / name_json).exists() else path / form.name
    for name in form.files:
        if not (folder / name).exists():
            give = (
                "the workdir of a finished launch/train.py run, or its"
                f" '{form.name}' folder"
            )
            if several := sorted(map(str, path.glob(f"models/*/{form.name}"))):
                give = f"one of {', '.join(several)}"
            raise FileNotFoundError(
                f"No {form.title} in '{path}': '{folder / name}' does not exist. Give"
                f" {give}."
            )
    description, leaves = _read(folder, form)
    statistics = {
        tuple(name.split("/")): (pair[0], pair[1])
        for name, pair in description["statistics"].items()
    }
    flat = {tuple(name.split("/")): leaf for name, leaf in leaves.items()}
    try:
        model = make(
            **{part: description[_key(part)] for part in form.parts},
            statistics=statistics,
            variables=symmetry.unflatten(flat),
            metadata=description["metadata"],
        )
        expected = jax.eval_shape(init_of(model), jax.random.key(0))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(
            f"'{folder / name_json}' describes no {form.title}: {error}"
        ) from error
    shapes = {
        symmetry.name(path): shape for path, shape in symmetry.tensor_shapes(expected)
    }
    for name in sorted(shapes.keys() | leaves.keys()):
        got = leaves[name].shape if name in leaves else None
        if got != shapes.get(name):
            raise ValueError(
                f"'{folder / name_weights}': tensor '{name}' has shape {got},"
                f" {name_json} describes {shapes.get(name)}."
            )
        if not np.isfinite(leaves[name]).all():
            raise ValueError(
                f"'{folder / name_weights}': tensor '{name}' has entries that are not"
                " finite. Train the model again."
            )
    return model


def _read(
    folder: pathlib.Path, form: ModelFormat
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the description and the tensors in a folder, both compared and sound."""
    file, weights = (folder / name for name in form.files)
    try:
        description = files.parse_json(file.read_bytes(), file)
        _check_description(description, form)
        leaves, _ = files.read_safetensors(weights)
    except ValueError as error:
        raise ValueError(
            f"The {form.title} in '{folder}' is damaged ({error}); export it again by"
            " rerunning launch/train.py on its workdir, or copy it again."
        ) from error
    stamp = description.get("format"), description.get("version")
    if not _is_known(description, form):
        raise ValueError(
            f"'{file}' has format {stamp[0]!r} version {stamp[1]!r};"
            f" this release reads {form.stamp[0]!r} version {form.stamp[1]}."
        )
    if _sha256(weights) != description["weights_sha256"]:
        raise ValueError(
            f"'{weights}' is damaged: it is not the file that {form.files[0]} was"
            " written with. Copy or export both again."
        )
    for part in form.parts:
        files.check_lengths(description[_key(part)], file, num_tensors=len(leaves))
    return description, leaves


def _key(part: str) -> str:
    """Return the key of a part in the file."""
    return part.removesuffix("_options")


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_known(description: dict[str, Any], form: ModelFormat) -> bool:
    """Whether a description has a format and a version that can be read."""
    known = [(form.stamp[0], version) for version in (_OLD_VERSION, VERSION)]
    return (description.get("format"), description.get("version")) in known


def _check_description(description: Any, form: ModelFormat) -> None:
    """Refuse a description of this version with parts missing or of another kind."""
    file = form.files[0]
    if not isinstance(description, dict):
        raise ValueError(f"{file} holds no object")
    if not _is_known(description, form):
        return
    files.check_seal(description, file, required=description["version"] == VERSION)
    for name in (*map(_key, form.parts), "statistics", "metadata"):
        if not isinstance(description.get(name), dict):
            raise ValueError(f"{file} has no object {name!r}")
    if not isinstance(description.get("weights_sha256"), str):
        raise ValueError(f"{file} has no string 'weights_sha256'")
    for name, pair in description["statistics"].items():
        if not isinstance(pair, list) or list(map(type, pair)) != [float, float]:
            raise ValueError(f"statistics of {name!r} must be a pair, got {pair!r}")


def _is_replaceable(path: pathlib.Path, form: ModelFormat) -> bool:
    """Whether a path is a folder with nothing but such a model, damaged or not."""
    return path.is_dir() and {file.name for file in path.iterdir()} <= set(form.files)
