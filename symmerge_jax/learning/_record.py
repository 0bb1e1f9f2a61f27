"""What decides a training: compared with that of a folder, and of other processes."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from symmerge_jax import training

SCHEDULING = ("log_every", "evaluate_every", "checkpoint_every", "keep_checkpoints")
"""Options that change what is written and when, never the training."""


def of_training(job: Any, options: Any) -> dict[str, Any]:
    """Return what decides a training, as JSON gives it back."""
    given = dataclasses.asdict(options)
    decided = {key: given[key] for key in given if key not in SCHEDULING}
    decided |= {**job.settings, "num_train": job.num_examples}
    for field in dataclasses.fields(job.untrained):
        if field.name not in ("variables", "metadata"):
            decided[field.name] = getattr(job.untrained, field.name)
    return {"training": _plain(decided)}


def check_processes(job: Any, options: Any) -> None:
    """Refuse processes that were started for different trainings."""
    here = of_training(job, options)["training"]
    here |= {name: getattr(options, name) for name in SCHEDULING}
    first = training.value_from_first(here)
    with training.together():
        for key in sorted({*first, *here}):
            if not _equal(first.get(key), here.get(key)):
                values = f" is {first.get(key)!r}, and here {here.get(key)!r}"
                raise ValueError(
                    f"Process {jax.process_index()} was started for another training"
                    f" than process 0, where"
                    f" {key}{values if len(values) < 300 else ' differs'}. Start all"
                    " with the same arguments and data."
                )


def check_folder(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Refuse a folder of another training; one that recorded nothing is trusted."""
    latest = folder / "checkpoints/latest"
    if not training.checkpoint_steps(latest):
        return
    now, old = record["training"], training.load_metadata(latest)
    for key, before in old.get("training", {}).items():
        if not _equal(before, now.get(key)):
            values = f" was {before!r} and is now {now.get(key)!r}"
            raise ValueError(
                f"'{folder}' belongs to another training:"
                f" {key}{values if len(values) < 300 else ' differs'}. Choose another"
                " folder, or give the earlier value to resume."
            )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        paths = ("/".join(k) if isinstance(k, tuple) else str(k) for k in value)
        return dict(zip(paths, map(_plain, value.values()), strict=True))
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value


def _equal(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal, floats up to rounding."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6)
    return a == b
