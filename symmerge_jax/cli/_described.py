"""Weights with a description of their architecture, which is checked against them."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax import files, networks, storage, symmetry, zoo
from symmerge_jax.typing import Params

_WRITABLE = (".npz", ".safetensors")
LAYOUT = "dense_0/kernel is [in, out], the transpose of torch's weight"


class WeightFile(NamedTuple):
    """What a weight file holds.

    Attributes:
      path: the file, as given.
      params: parameters of one network or a batch.
      architecture: the description stored beside them, or None.
      read_as: which layers of torch became which, or "" for parameters of ours.
    """

    path: str
    params: Params
    architecture: Mapping[str, Any] | None
    read_as: str = ""


def read(path: str | os.PathLike, key: str | None = None) -> WeightFile:
    """Return the content of a checkpoint of any format.

    Tensors with the names of torch, `fc1.weight` and `fc1.bias`, are transposed and
    renamed, whatever the format.

    Args:
      path: the file.
      key: dotted name of the part of it that holds the parameters; None for all, or for
        the one state dict in a torch checkpoint.

    Raises:
      OSError: no such file, or one that may not be read.
      ValueError: a damaged file, one of another format, or no such part.
    """
    path = pathlib.Path(path)
    if files.is_torch_file(path):
        found, params = files.find_torch_state_dict(path, key=key)
        architecture = None
    else:
        found, params = key or "", _part(storage.load(path), path, key)
        architecture = storage.load_architecture(path)
        if not _has_torch_names(params):
            return WeightFile(str(path), params, architecture)
    with _naming(path):
        layers = zoo.torch_layers(params)
        params = zoo.params_from_sequential(params)
    where = f"torch layers of {found!r}" if found else "torch layers"
    names = ", ".join(f"{layer} -> {name}" for name, layer in layers.items())
    return WeightFile(str(path), params, architecture, f"{where}: {names} (transposed)")


def describe(
    file: WeightFile,
    given: Mapping[str, Any] | str | None,
    trained: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the complete architecture of a file; guess nothing.

    Args:
      file: its own description is taken if no other is given.
      given: what `networks.build` takes, JSON text, a file with it, or None.
      trained: the architecture that a trained model is for, the last resort.

    Raises:
      FileNotFoundError: `given` names no file.
      ValueError: no description, or one that leaves open what the weights do not tell.
    """
    if isinstance(given, str):
        given = read_architecture(given)
    found = file.architecture or trained if given is None else given
    if found is None:
        raise ValueError(
            f"'{file.path}' does not say which architecture it holds: pass"
            f" {_example(file.params, {})} with what is true of your network (kinds are"
            f" {', '.join(networks.KINDS)})."
        )
    with _naming(file.path):
        missing = networks.undecided(found)
        if missing:
            choices = ""
            if "activation" in missing:
                known = ", ".join(sorted(networks.ACTIVATIONS))
                choices = f" (activations are {known})"
            raise ValueError(
                f"the architecture lacks {', '.join(missing)}, which the weights do not"
                " tell and the function depends on: pass"
                f" {_example(file.params, found)} with what is true of your network"
                f"{choices}."
            )
        return zoo.complete_architecture(found)


def describe_all(
    found: Sequence[WeightFile],
    given: Mapping[str, Any] | str | None,
    trained: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the one complete architecture of all files.

    Args:
      found: the files.
      given: see `describe`.
      trained: see `describe`.

    Raises:
      FileNotFoundError, ValueError: as `describe`, or files that differ.
    """
    described = found[:1]
    if given is None:
        described = [x for x in found if x.architecture is not None] or found[:1]
    first, *others = described
    expected = describe(first, given, trained)
    for file in others:
        other = describe(file, given)
        if other != expected:
            raise ValueError(
                f"'{file.path}' holds the architecture {other}, but '{first.path}'"
                f" holds {expected}: networks of one architecture can be merged."
            )
    return expected


def check(file: WeightFile, network: networks.Network, architecture: Any) -> None:
    """Refuse weights that are not of an architecture, or not finite; name the file."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    expected = {"/".join(k): x.shape for k, x in symmetry.flatten(shapes).items()}
    found = {"/".join(k): np.shape(x) for k, x in symmetry.flatten(file.params).items()}
    missing, unknown = (
        sorted(one.keys() - other.keys())
        for one, other in ((expected, found), (found, expected))
    )
    if missing or unknown:
        raise ValueError(
            f"'{file.path}': missing {missing}, unknown {unknown}, for the architecture"
            f" {dict(architecture)}. Weights of torch are read as well, fc1.weight and"
            f" fc1.bias; of ours, {LAYOUT}."
        )
    wrong = {name: s for name, s in expected.items() if found[name][-len(s) :] != s}
    if wrong:
        given = ", ".join(f"{name} {found[name]}" for name in wrong)
        wanted = ", ".join(f"{name} {shape}" for name, shape in wrong.items())
        raise ValueError(
            f"'{file.path}': the weights have {given}, but {wanted} is what the"
            " architecture of the canonicaliser, or the one given,"
            f" {dict(architecture)}, has; {LAYOUT}."
        )
    batches = {found[name][: -len(shape)]: name for name, shape in expected.items()}
    if len(batches) > 1:
        raise ValueError(
            f"'{file.path}': the tensors are of different numbers of networks:"
            f" {', '.join(f'{name} {found[name]}' for name in batches.values())}."
        )
    with _naming(file.path):
        symmetry.check_finite(file.params)


def check_writable(path: str | os.PathLike) -> None:
    """Refuse a file whose suffix is none of those that weights are written to."""
    path = pathlib.Path(path)
    if path.suffix not in _WRITABLE:
        raise ValueError(
            f"'{path}': weights are written as {' or '.join(_WRITABLE)}, got suffix"
            f" {path.suffix!r}."
        )


def read_architecture(text: str) -> dict[str, Any]:
    """Return an architecture given as JSON, or as the name of a file that holds it."""
    where, content = "the architecture", text
    if not text.lstrip().startswith(("{", "[", '"')):
        path = pathlib.Path(text)
        where = f"'{path}'"
        if not path.is_file():
            raise FileNotFoundError(
                f"No such file: {where}; an architecture is JSON in braces, or a file"
                " with it."
            )
        content = path.read_bytes()
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}).") from error
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply.") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"{where} must be a JSON object, got {content[:60]!r}: pass"
            f" {_example({}, {})}."
        )
    return found


def _has_torch_names(params: Params) -> bool:
    names = [name for name in params if isinstance(name, str)]
    return any(name.endswith((".weight", ".bias")) for name in names)


def _part(params: Params, path: pathlib.Path, key: str | None) -> Params:
    """Return the part of a nested dict that a dotted key names."""
    for name in key.split(".") if key else ():
        if not isinstance(params.get(name), Mapping):
            names = [n for n, value in params.items() if isinstance(value, Mapping)]
            raise ValueError(f"'{path}' has no part {name!r}; there are {names[:10]}.")
        params = params[name]
    return params


def _example(params: Params, given: Mapping[str, Any]) -> str:
    """Return a complete description as a flag, with the sizes of the weights."""
    dense, convolutions = _kernels(params, "dense"), _kernels(params, "conv")
    kind = "cnn" if convolutions else "mlp"
    example: dict[str, Any] = {"kind": kind, **given}
    if dense and example["kind"] in ("mlp", "siren"):
        sizes = [dense[0][-2], *(shape[-1] for shape in dense)]
        example.setdefault("layer_sizes", sizes)
        if example["kind"] == "mlp" and "bias" not in params["dense_0"]:
            example.setdefault("use_bias", False)
    elif example["kind"] == "mlp":
        example.setdefault("layer_sizes", [784, 128, 10])
    elif example["kind"] == "cnn" and convolutions:
        example.setdefault("image_shape", [28, 28, convolutions[0][-2]])
        example.setdefault("channels", [shape[-1] for shape in convolutions])
        example.setdefault("kernel_size", [shape[-3] for shape in convolutions])
        last = np.shape(params.get("dense", {}).get("bias"))
        example |= {"num_classes": last[-1]} if last else {}
    example = {**example, **networks.DECISIVE[example["kind"]], **example}
    return f"--architecture='{json.dumps(example, separators=(',', ':'))}'"


def _kernels(params: Params, prefix: str) -> list[tuple[int, ...]]:
    """Return the shapes of the kernels of the layers `prefix_0`, `prefix_1`, ...."""
    found: list[tuple[int, ...]] = []
    while isinstance(layer := params.get(f"{prefix}_{len(found)}"), Mapping):
        shape = np.shape(layer.get("kernel", 0))
        if len(shape) < (4 if prefix == "conv" else 2):
            break
        found.append(shape)
    return found


@contextlib.contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Let errors of values begin with the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from error
