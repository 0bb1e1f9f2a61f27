"""Two networks in files: one is moved onto the other, or both are compared."""

from collections.abc import Sequence
from typing import Any

import jax

import symmerge_jax
from symmerge_jax import certificates, networks
from symmerge_jax.cli import _merge, _networks, _report


def align(
    paths: Sequence[Any],
    out: Any,
    *,
    aligner: str = "weight_matching",
    num_random_starts: int | None = None,
    data: str | None = None,
    data_dir: Any = None,
    seed: int = 0,
    dry_run: bool = False,
    **known: Any,
) -> _report.Report:
    """Move the second network onto the first, and write it like its own file.

    Args:
      paths: two files.
      out: the file to write.
      aligner: a key of `_merge.ALIGNERS`; those in `_merge.USE_DATA` need `data`.
      num_random_starts: further starts of "weight_matching".
      data: see `_merge.run`.
      data_dir: see `_merge.run`.
      seed: of the solver.
      dry_run: check everything, and report sizes and memory instead of working.
      **known: what is known of the networks (`_networks.Known`).

    Returns:
      The report: sweeps, the objective before and after, the certificate, and how many
      neurons of each space moved.

    Raises:
      FileNotFoundError, ValueError: as `_merge.run`.
    """
    if len(paths) != 2:
        raise ValueError(f"align takes two files, got {len(paths)}.")
    solver = _merge.make_aligner(aligner, num_random_starts)
    if (aligner in _merge.USE_DATA) != (data is not None):
        raise ValueError(
            f"aligner {aligner!r} looks at data: name some with --data."
            if data is None
            else f"--data has no effect on aligner {aligner!r}: omit it."
        )
    opened = _networks.open_networks(paths, _networks.Known(**known))
    opened.check_target(out, 1)
    _networks.check_outputs(paths, [out])
    losses = _merge.losses_of(opened, data, data_dir)
    if dry_run:
        searches = aligner == "weight_matching"
        return _networks.plan(
            "Alignment, not yet made", opened, [out], searches=searches
        )
    first, second = opened.load()
    with opened.precision():
        found = symmerge_jax.align(
            first,
            second,
            opened.network,
            aligner=solver,
            key=jax.random.key(seed),
            inputs=_networks.proof_inputs(opened, seed),
            task=None if losses is None else losses.for_solver(),
        )
        values = {
            **opened.report,
            "aligner": aligner,
            "sweeps": int(found.result.num_iters),
            "converged": bool(found.result.converged),
            "objective_before": float(found.result.objective[0]),
            "objective_after": float(found.result.objective[-1]),
            **_networks.proven(found.certificate),
            "out": str(out),
        }
        table = _networks.moves(opened.network, found.result.element)
        opened.save(out, found.params, 1)
    return _report.Report("Alignment", values, [table])


def certify(
    paths: Sequence[Any], *, seed: int = 0, tolerance: float | None = None, **known: Any
) -> _report.Report:
    """Test the symmetry of a model, and whether networks are the same function.

    Args:
      paths: a file; or two or more, each of which is compared with the first.
      seed: of inputs, generic weights and elements.
      tolerance: of the certificate, relative to each output; None to measure it.
      **known: what is known of the networks (`_networks.Known`).

    Returns:
      The report; its code is 1 if any network is another function than the first.

    Raises:
      FileNotFoundError, ValueError: files that do not fit, or a spec that is not the
        symmetry of the network.
    """
    opened = _networks.open_networks(paths, _networks.Known(**known))
    if not isinstance(opened.network, networks.Network):
        raise ValueError("A --spec has no function to certify: pass --model.")
    first, *others = opened.load()
    options: dict[str, Any] = {
        "inputs": _networks.proof_inputs(opened, seed),
        "key": jax.random.key(seed),
        "tolerance": tolerance,
    }
    rows, code = [], 0
    with opened.precision():
        certificates.check_spec(first, opened.network, **options)
        for path, other in zip(paths[1:], others, strict=True):
            found = certificates.compare_functions(
                first, other, opened.network, **options
            )
            passed = bool(found.passed)
            code = code if passed else 1
            row = (
                str(path),
                "yes" if passed else "no",
                *_networks.proven(found).values(),
            )
            rows.append((*row, found.notes.pairs[0][1]))
    values = {**opened.report, "symmetry": "tested, and kept by the function"}
    columns = "file", "same function", "difference", "allowed", "at", "not tested"
    tables = [_report.Table(f"Compared with {paths[0]}", columns, rows)] if rows else []
    return _report.Report("Certificate", values, tables, code)
