"""One set of tensors in several safetensors files, as large models are published.

`NAME.safetensors.index.json` holds `weight_map`: the file of each tensor.
"""

import pathlib
import re
from typing import Any

from symmerge_jax import files

_SHARD = re.compile(r"(.*)-(\d{5,})-of-(\d{5,})\.safetensors")
_INDEX = ".safetensors.index.json"


def find_index(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the one index in a folder, None without one; refuse several by name."""
    found = sorted(folder.glob(f"*{_INDEX}"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ValueError(f"'{folder}' holds several models: name one of {names}.")
    return found[0] if found else None


def refuse_alone(path: pathlib.Path) -> None:
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


def read(index: pathlib.Path) -> dict[str, Any]:
    """Return all tensors that an index names, by name, from sound shards beside it."""
    content = files.parse_json(index.read_bytes(), index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError(f"'{index}' is not an index of shards: it has no weight_map.")
    for place in places.values():
        is_name = isinstance(place, str) and pathlib.PurePath(place).name == place
        if not is_name or "\\" in place or place in ("", ".."):
            raise ValueError(
                f"'{index}' names {place!r}, which is not a file in its folder."
            )
    shards = sorted(set(places.values()))
    if missing := [name for name in shards if not (index.parent / name).is_file()]:
        raise ValueError(
            f"'{index}': {len(missing)} of {len(shards)} shards are missing, as"
            f" '{missing[0]}': copy the whole folder."
        )
    arrays: dict[str, Any] = {}
    for name in shards:
        found, _ = files.read_safetensors(index.parent / name)
        wanted = {tensor for tensor, place in places.items() if place == name}
        if wrong := sorted(wanted ^ found.keys()):
            verb = "lacks" if wrong[0] in wanted else "holds besides"
            raise ValueError(
                f"'{index.parent / name}' does not fit '{index.name}': it {verb} tensor"
                f" {wrong[0]!r}. Copy the whole folder again."
            )
        arrays |= found
    return arrays
