"""Weight files that a user hands in: read, and checked against an architecture."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

import symmerge_jax
from symmerge_jax import networks, symmetry, zoo
from symmerge_jax.typing import Params

_WRITABLE = (".npz", ".safetensors")


class WeightFile(NamedTuple):
    """What a weight file holds.

    Attributes:
      path: the file, as given.
      params: parameters of one network or a batch.
      architecture: the description stored beside them, or None.
    """

    path: str
    params: Params
    architecture: Mapping[str, Any] | None


def read(path: str | os.PathLike) -> WeightFile:
    """Return the content of a `.safetensors`, `.npz` or `.pth` file.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, or one of another format.
    """
    path = pathlib.Path(path)
    if path.suffix == ".pth":
        state_dict = zoo.load_torch_state_dict(path)
        try:
            params = zoo.params_from_sequential(state_dict)
        except ValueError as error:
            raise ValueError(f"'{path}': {error}") from error
        return WeightFile(str(path), params, None)
    params, architecture = symmerge_jax.load(path), symmerge_jax.load_architecture(path)
    return WeightFile(str(path), params, architecture)


def check(file: WeightFile, network: networks.Network, architecture: Any) -> None:
    """Refuse weights that are not of an architecture, or not finite; name the file."""
    try:
        num_batch_axes = len(network.spec.batch_shape(file.params))
        one = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[num_batch_axes:], x.dtype),
            file.params,
        )
        given = tuple(network.spec.sizes(one).values())
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        expected = tuple(network.spec.sizes(shapes).values())
        if given != expected:
            raise ValueError(
                f"The weights are of layers {given}; the architecture of the"
                f" canonicaliser, or the one given, {dict(architecture)}, has"
                f" {expected}."
            )
        symmetry.check_finite(file.params)
    except ValueError as error:
        raise ValueError(f"'{file.path}': {error}") from error


def check_writable(path: str | os.PathLike) -> pathlib.Path:
    """Return a path that weights can be written to; refuse another suffix."""
    path = pathlib.Path(path)
    if path.suffix not in _WRITABLE:
        raise ValueError(
            f"'{path}': weights are written as {' or '.join(_WRITABLE)}, got suffix"
            f" {path.suffix!r}."
        )
    return path


def read_architecture(text: str) -> dict[str, Any]:
    """Return an architecture given as JSON, or as the name of a file that holds it."""
    where, content = "the architecture", text
    if not text.lstrip().startswith("{"):
        path = pathlib.Path(text)
        where = f"'{path}'"
        if not path.is_file():
            raise FileNotFoundError(
                f"No such file: {where}; an architecture is JSON in braces, or a file"
                " with it."
            )
        content = path.read_text()
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where} must be a JSON object, got {content!r}.")
    return found
