"""Initialisers of ONNX models: the weights in a graph, which stays as it is."""

import functools
import pathlib
from typing import Any

import numpy as np

from symmerge_jax.storage._checkpoint import Checkpoint, Format, Named


def _onnx() -> Any:
    try:
        import onnx  # pyright: ignore[reportMissingImports]: an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ONNX models are read with onnx: pip install 'symmerge_jax[onnx]'."
        ) from error
    return onnx


def _load(path: pathlib.Path) -> Any:
    from google.protobuf import message

    try:
        return _onnx().load(str(path), load_external_data=False)
    except (message.DecodeError, ValueError) as error:
        raise ValueError(f"'{path}' is damaged or no ONNX model ({error}).") from error


def _read(path: pathlib.Path, key: str | None) -> Checkpoint:
    onnx = _onnx()
    model = _load(path)
    tensors = {}
    for item in model.graph.initializer:
        if item.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                f"'{path}': tensor '{item.name}' lies in another file: store the model"
                " in one (onnx.save_model(..., save_as_external_data=False))."
            )
        tensors[item.name] = onnx.numpy_helper.to_array(item)
    if not tensors:
        raise ValueError(f"'{path}' holds no tensors: its graph has no initialisers.")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return Checkpoint(path=path, format=ONNX.name, tensors=tensors, metadata=metadata)


def _rewrite(like: Checkpoint, target: pathlib.Path, arrays: Named) -> None:
    model = _load(like.path)
    places = {item.name: item for item in model.graph.initializer}
    convert = functools.partial(_onnx().numpy_helper.from_array)
    for name, array in arrays:
        places[name].CopyFrom(convert(np.asarray(array), name))
    target.write_bytes(model.SerializeToString())


ONNX = Format("ONNX", (".onnx",), None, _read, _rewrite)
