"""Tensors in one safetensors file, or in several, as large models are published.

Of several, `NAME.safetensors.index.json` holds `weight_map`: the file of each tensor.
"""

import contextlib
import pathlib
import re
from typing import Any

import numpy as np

from symmerge_jax import files
from symmerge_jax.storage._checkpoint import Checkpoint, Format, Named, Tensor

OURS = {"format": "symmerge_jax.weights", "version": "1"}
"""Metadata of the files that `save` writes."""

_SHARD = re.compile(r"(.*)-(\d{5,})-of-(\d{5,})\.safetensors")
_INDEX = ".safetensors.index.json"


def _read_file(path: pathlib.Path, key: str | None) -> Checkpoint:
    _refuse_alone(path)
    tensors, header = files.map_safetensors(path)
    is_ours = header.metadata.get("format") == OURS["format"]
    if is_ours and header.digest is None:
        raise ValueError(f"'{path}' is damaged: its checksum is missing.")
    return Checkpoint(
        path=path,
        format=FILE.name,
        tensors=tensors,
        metadata={
            n: x for n, x in header.metadata.items() if not is_ours or n not in OURS
        },
        is_escaped=is_ours,
        layout={path: header},
    )


def _rewrite_file(like: Checkpoint, target: pathlib.Path, arrays: Named) -> None:
    [(path, header)] = like.layout.items()
    with target.open("w+b") as file:
        files.rewrite_safetensors([(path, header, file)], arrays)


def _check_content(content: Checkpoint) -> None:
    for name, tensor in content.tensors.items():
        if not files.is_storable(tensor.dtype):
            raise ValueError(
                f"safetensors cannot hold '{name}' of type {tensor.dtype}: write the"
                " format that it comes from."
            )
    for name, text in content.metadata.items():
        if not isinstance(text, str):
            raise ValueError(
                f"safetensors cannot hold {name!r}, which is {text!r} and no text:"
                " write the format that it comes from."
            )


def _create_file(target: pathlib.Path, content: Checkpoint) -> None:
    arrays = {name: np.asarray(tensor) for name, tensor in content.tensors.items()}
    ours = OURS if content.is_escaped else {}
    files.write_safetensors(target, arrays, {**content.metadata, **ours})


def find_index(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the one index in a folder, None without one; refuse several by name."""
    found = sorted(folder.glob(f"*{_INDEX}"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ValueError(f"'{folder}' holds several models: name one of {names}.")
    return found[0] if found else None


def _refuse_alone(path: pathlib.Path) -> None:
    """Refuse a file that is one of several, and say what to read instead."""
    match = _SHARD.fullmatch(path.name)
    if match is None or int(match[3]) < 2:
        return
    index = path.with_name(f"{match[1]}{_INDEX}")
    remedy = f"read '{index}'" if index.exists() else f"'{index.name}' is missing"
    raise ValueError(
        f"'{path}' is part {int(match[2])} of {int(match[3])} of a model, not all of"
        f" it: {remedy}."
    )


def _read_index(path: pathlib.Path, key: str | None) -> Checkpoint:
    """Return the tensors that an index names, from sound shards beside it."""
    index = find_index(path) if path.is_dir() else path
    assert index is not None
    content = files.parse_json(index.read_bytes(), index)
    places = _places(index, content)
    shards = list(dict.fromkeys(places.values()))
    if missing := [name for name in shards if not (index.parent / name).is_file()]:
        raise ValueError(
            f"'{index}': {len(missing)} of {len(shards)} shards are missing, as"
            f" '{missing[0]}': copy the whole folder."
        )
    tensors: dict[str, Tensor] = {}
    headers = {}
    for name in shards:
        shard = index.parent / name
        found, headers[shard] = files.map_safetensors(shard)
        wanted = {tensor for tensor, place in places.items() if place == name}
        if wrong := sorted(wanted ^ found.keys()):
            verb = "lacks" if wrong[0] in wanted else "holds besides"
            raise ValueError(
                f"'{shard}' does not fit '{index.name}': it {verb} tensor"
                f" {wrong[0]!r}. Copy the whole folder again."
            )
        tensors |= found
    return Checkpoint(
        path=path,
        format=SHARDS.name,
        tensors={name: tensors[name] for name in places},
        metadata=content.get("metadata") or {},
        layout=(index, headers),
    )


def _places(index: pathlib.Path, content: Any) -> dict[str, str]:
    """Return the file of each tensor; each is the name of one beside the index."""
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError(f"'{index}' is not an index of shards: it has no weight_map.")
    for place in places.values():
        is_name = isinstance(place, str) and pathlib.PurePath(place).name == place
        if not is_name or "\\" in place or place in ("", ".."):
            raise ValueError(
                f"'{index}' names {place!r}, which is not a file in its folder."
            )
    return places


def _rewrite_shards(like: Checkpoint, folder: pathlib.Path, arrays: Named) -> None:
    index, headers = like.layout
    (folder / index.name).write_bytes(index.read_bytes())
    with contextlib.ExitStack() as stack:
        parts = [
            (shard, header, stack.enter_context((folder / shard.name).open("w+b")))
            for shard, header in headers.items()
        ]
        files.rewrite_safetensors(parts, arrays)


def _are_shards(folder: pathlib.Path) -> bool:
    return all(
        file.is_file() and file.name.endswith((".safetensors", _INDEX))
        for file in folder.iterdir()
    )


FILE = Format(
    "safetensors",
    (".safetensors",),
    None,
    _read_file,
    _rewrite_file,
    _check_content,
    _create_file,
)
SHARDS = Format("sharded safetensors", (), _are_shards, _read_index, _rewrite_shards)
