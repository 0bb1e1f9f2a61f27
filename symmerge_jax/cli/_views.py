"""What is in files, and what the symmetry of a model is: nothing is moved."""

import math
from collections.abc import Sequence
from typing import Any

from symmerge_jax import networks, storage, symmetry
from symmerge_jax.cli import _model, _networks, _report


def inspect(paths: Sequence[Any], *, key: str | None = None) -> _report.Report:
    """Return the format, sizes and tensors of checkpoints, without reading these.

    Args:
      paths: the files.
      key: of PyTorch files, which part holds the tensors.

    Returns:
      The report.

    Raises:
      FileNotFoundError, ValueError: missing or damaged files.
    """
    values: dict[str, Any] = {}
    tables = []
    for number, path in enumerate(paths):
        found = storage.open_checkpoint(path, key=key)
        if key is not None and not found.part:
            raise ValueError(
                f"'{path}': --key names a part of a PyTorch file: omit it."
            )
        count = sum(math.prod(x.shape) for x in found.tensors.values())
        end = f"_{number}" if len(paths) > 1 else ""
        values |= {
            f"file{end}": str(path),
            f"format{end}": found.format,
            f"tensors{end}": len(found.tensors),
            f"numbers{end}": count,
            f"size{end}": _report.size(found.nbytes),
            **{f"{name}{end}": x for name, x in found.metadata.items()},
        }
        rows = [
            (name, str(x.dtype), str(list(x.shape)), _report.size(x.nbytes))
            for name, x in found.tensors.items()
        ]
        columns = "name", "type", "shape", "size"
        tables.append(_report.Table(f"Tensors of {path}", columns, rows))
    return _report.Report("Checkpoints", values, tables)


def trace(
    paths: Sequence[Any], out: Any = None, *, dry_run: bool = False, **known: Any
) -> _report.Report:
    """Describe the symmetry of a model, test that files fit, and write its spec.

    Args:
      paths: files of the model's parameters, or none.
      out: the JSON file of the spec, to be passed as `--spec`; None to write none.
      dry_run: write nothing.
      **known: what is known of the networks (`_networks.Known`).

    Returns:
      The report: its text is `Network.describe()`.

    Raises:
      FileNotFoundError, ValueError: files that do not fit, or no model.
    """
    what = _networks.Known(**known)
    if paths:
        opened = _networks.open_networks(paths, what)
        network, params = opened.network, opened.params[0]
    elif what.model is not None:
        network, params = _model.load_model(what.model)
    else:
        raise ValueError("trace needs a --model, or a file that says what it holds.")
    values = {}
    if out is not None:
        values = {"would_write" if dry_run else "spec": str(out)}
        if not dry_run:
            storage.save_spec(out, symmetry.spec_of(network))
    if isinstance(network, networks.Network):
        text = network.describe(params)
    else:
        text = "\n".join(space.name for space in network.spaces)
    return _report.Report("Symmetry", values, text=text)
