"""The file `metrics.jsonl`: one JSON object for each record, read to arrays.

A record is `{"step": 100, "loss": 0.12, ...}`. Records are appended; a run that
resumes first drops the records after the step it resumes from, so that no step is there
twice.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from symmerge_jax import files


class Series(NamedTuple):
    """One metric over a run.

    Attributes:
      steps: `[n]` int64, increasing.
      values: `[n]` float64.
    """

    steps: np.ndarray
    values: np.ndarray


def append_metrics(
    path: str | os.PathLike, step: int, metrics: Mapping[str, float | int]
) -> None:
    """Append one record to a metrics file, which is made if missing.

    Args:
      path: the file.
      step: number of finished steps.
      metrics: values by name; a value that is not finite is stored as `null`.

    Raises:
      ValueError: a metric of the name `step`.
    """
    if "step" in metrics:
        raise ValueError("A metric must not have the name 'step'.")
    record: dict[str, float | int | None] = {"step": int(step)}
    for name, value in metrics.items():
        value = float(value)
        record[name] = value if math.isfinite(value) else None
    with files.naming(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def truncate_metrics(path: str | os.PathLike, step: int) -> None:
    """Drop the records after a step, and a last line that was cut off.

    Args:
      path: the file; a missing one stays missing.
      step: the last step to keep.

    Raises:
      ValueError: a line other than the last is not a record.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return
    kept = [record for record in _records(path) if record["step"] <= step]
    with files.replacing(path) as file:
        file.write("".join(json.dumps(r) + "\n" for r in kept).encode())


def read_metrics(path: str | os.PathLike) -> dict[str, Series]:
    """Return the metrics in a file by name.

    A stored `null` reads as NaN. A last line that was cut off is omitted.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line other than the last is not a record.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"No metrics in {path}: check the path, or train first."
        )
    points: dict[str, list[tuple[int, float]]] = {}
    for record in _records(path):
        step = record.pop("step")
        for name, value in record.items():
            value = math.nan if value is None else value
            points.setdefault(name, []).append((step, value))
    return {
        name: Series(
            np.array([step for step, _ in pairs], np.int64),
            np.array([value for _, value in pairs], np.float64),
        )
        for name, pairs in points.items()
    }


def _records(path: pathlib.Path) -> list[dict]:
    lines = path.read_text("utf-8").split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record["step"], int):
                raise KeyError("step")
        except (json.JSONDecodeError, KeyError) as error:
            if number == len(lines):  # no newline after it: the writer was cut off
                break
            raise ValueError(
                f"{path}, line {number} is not a metrics record: repair or delete it."
            ) from error
        records.append(record)
    return records
