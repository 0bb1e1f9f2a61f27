"""Merge the networks of several files."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import symmerge_jax
from symmerge_jax import alignment, deep_align, merging, networks, symmetry
from symmerge_jax.cli import _losses, _networks, _report, _stored

ALIGNERS: dict[str, Callable[[], alignment.Aligner]] = {
    "activation_matching": alignment.ActivationMatching,
    "frank_wolfe": alignment.FrankWolfe,
    "identity": lambda: alignment.WeightMatching(
        permute=False, rescale=False, starts=("identity",)
    ),
    "sinkhorn_rebasin": lambda: alignment.SinkhornRebasin(
        cost="random_lambda", init=alignment.WeightMatching()
    ),
    "straight_through": alignment.StraightThrough,
    "weight_matching": alignment.WeightMatching,
}
"""Solvers by name; "identity" balances scales and folds phases, nothing more."""

USE_DATA = ("activation_matching", "sinkhorn_rebasin", "straight_through")
"""Those that look at data, and not at the weights alone."""

_NUM_REPAIR = 500  # inputs that repairs look at


def run(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    aligned_dir: str | os.PathLike | None = None,
    aligner: str = "weight_matching",
    num_random_starts: int | None = None,
    matcher: str | os.PathLike | None = None,
    repair: Sequence[str] = (),
    weights: Sequence[float | str] | None = None,
    data: str | None = None,
    data_dir: str | os.PathLike | None = None,
    memory: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
    **known: Any,
) -> _report.Report:
    """Align networks, write their mean, and report what that did.

    Files are written last, after the certificate has passed: the spec fits the network
    and no function was changed by the alignment.

    Args:
      paths: two or more files with one network each.
      out: the file of the merged network; with a model or a spec written like the first
        one, else `.safetensors` or `.npz`.
      aligned_dir: folder for the aligned networks, `<number>_<name>` with the suffix of
        `out`; None to write none.
      aligner: a key of `ALIGNERS`. Those in `USE_DATA` need `data`; the losses are
        measured on the same: measure again on other data before you believe them.
      num_random_starts: further starts of "weight_matching".
      matcher: folder of a trained matcher, which brings the networks together first;
        `aligner`, one without data, resumes from there. None for none.
      repair: what is done to the mean, names of `merging.REPAIRS`, on the first 500
        inputs of `data`; without data there are closed forms of some.
      weights: of the mean, one per file, sum 1; None for equal ones.
      data: `.npz` with `x` and `y`, or a source of images (`_losses.load`); None to
        measure no losses.
      data_dir: where the images are; None for `$SYMMERGE_DATA_DIR`, or to download.
      memory: for networks that are larger than it: bytes for copies, "512MiB"; they
        are then read piece by piece (`symmerge_jax.merge_stored`), and none is run.
      seed: of the solver.
      dry_run: check everything, and report sizes and memory instead of working.
      **known: what is known of the networks (`_networks.Known`).

    Returns:
      By name: the complete architecture as JSON; how files of torch were read; sweeps,
      and the spread before and after; what share of each layer was missing before and
      after least squares; as `certificate` the largest change of an output
      in float64, relative to the largest output; with data those of
      `_losses.measure`; the file written.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: damaged or incomplete files, networks or a matcher that do not fit
        together, wrong options, or a spec that does not fit the network.
    """
    if len(paths) < 2:
        raise ValueError(f"merge takes at least two networks, got {len(paths)}.")
    solver = make_aligner(aligner, num_random_starts)
    if matcher is not None and aligner in USE_DATA:
        raise ValueError(
            f"A matcher has no effect on aligner {aligner!r}: omit one of them."
        )
    if repair:
        merging.check_repairs(repair)
    opened = _networks.open_networks(paths, _networks.Known(**known))
    outputs = {out: 0, **_aligned_files(aligned_dir, paths, out)}
    for path, number in outputs.items():
        opened.check_target(path, number)
    _networks.check_outputs(paths, list(outputs))
    network = opened.network
    if repair and not isinstance(network, networks.Network):
        raise ValueError("--repair runs the function of a --model: a --spec has none.")
    if matcher is not None:
        if opened.stored is None:
            raise ValueError("A matcher reads networks of an --architecture.")
        init = _load_matcher(matcher).aligner(architecture=opened.stored)
        solver = alignment.MergeMany(aligner=solver, init=init)
    losses = losses_of(opened, data, data_dir)
    if aligner in USE_DATA and losses is None:
        raise ValueError(f"aligner {aligner!r} looks at data: name some with --data.")
    num_bytes = None
    if memory is not None:
        used = dict(repair=repair, data=data, matcher=matcher, aligned_dir=aligned_dir)
        if without := [name for name, value in used.items() if value]:
            name = without[0].replace("_", "-")
            raise ValueError(f"--{name} needs whole networks: omit it, or --memory.")
        num_bytes = _stored.num_bytes(memory)
    if dry_run:
        return _networks.plan(
            *("Merge, not yet run", opened, list(outputs)),
            searches=aligner == "weight_matching" and matcher is None,
            pieces=num_bytes,
        )
    if num_bytes is not None:
        found = _stored.merge(opened, out, solver, num_bytes, _numbers(weights), seed)
        found = {"networks": len(paths), **opened.report, "memory": memory, **found}
        return _report.Report("Merge", {**found, "out": str(out)})
    params_list = opened.load()
    with opened.precision():
        merged = symmerge_jax.merge(
            params_list,
            network,
            aligner=solver,
            weights=_numbers(weights),
            key=jax.random.key(seed),
            inputs=_networks.proof_inputs(opened, seed),
            task=losses.for_solver() if losses and aligner in USE_DATA else None,
        )
        if repair:
            assert isinstance(network, networks.Network)
            mended = merging.repair(
                merged.params,
                merged.aligned,
                network,
                repair,
                inputs=losses and losses.data["inputs"][:_NUM_REPAIR],
                weights=_numbers(weights),
            )
            merged = merged._replace(params=mended.params, repair=mended)
        report = {
            "networks": len(params_list),
            **opened.report,
            "aligner": aligner,
            **({} if matcher is None else {"matcher": str(matcher)}),
            "sweeps": int(merged.result.num_iters),
            "converged": bool(merged.result.converged),
            "spread_before": float(merged.result.objective[0]),
            "spread_after": float(merged.result.objective[-1]),
            **_networks.proven(merged.certificate),
        }
        if merged.repair is not None:
            fits = merged.repair.fits
            report["repair"] = ", ".join(repair)
            report |= {f"missing_before_{k}": fit.before for k, fit in fits.items()}
            report |= {f"missing_after_{k}": fit.after for k, fit in fits.items()}
        if losses:
            report |= _losses.measure(losses, params_list, merged)
        table = _networks.moves(network, merged.result.elements)
        for number, path in enumerate(list(outputs)[1:]):
            opened.save(path, _row(merged.aligned, params_list[0], number), number)
        opened.save(out, merged.params, 0)
    return _report.Report("Merge", {**report, "out": str(out)}, [table])


def _aligned_files(folder: Any, paths: Sequence[Any], out: Any) -> dict[str, int]:
    """Return the files of the aligned networks, with the number of each."""
    if folder is None:
        return {}
    suffix = pathlib.Path(out).suffix
    names = [f"{k}_{pathlib.Path(path).stem}{suffix}" for k, path in enumerate(paths)]
    return {str(pathlib.Path(folder) / name): k for k, name in enumerate(names)}


def _row(aligned: Any, params: Any, number: int) -> Any:
    """Return one of the aligned networks; what has no axis of networks is shared."""
    one = symmetry.flatten(params)
    leaves = {
        path: leaf[number]
        for path, leaf in symmetry.flatten(aligned).items()
        if symmetry.is_array(leaf) and np.ndim(leaf) > np.ndim(one[path])
    }
    return symmetry.rebuild(params, leaves)


def losses_of(
    opened: _networks.Opened, data: str | None, data_dir: Any
) -> _losses.Losses | None:
    """Return the data that a user names, and losses on them; None without any."""
    if data is None:
        return None
    if not isinstance(opened.network, networks.Network):
        raise ValueError("--data are for the function of a --model, not for a --spec.")
    return _losses.load(data, opened.network, opened.params[0], data_dir)


def make_aligner(name: str, num_random_starts: int | None) -> alignment.Aligner:
    """Return the solver of a name, with further starts if it takes them."""
    if name not in ALIGNERS:
        raise ValueError(f"Unknown aligner {name!r}; known are {sorted(ALIGNERS)}.")
    solver = ALIGNERS[name]()
    if num_random_starts is None:
        return solver
    if name != "weight_matching" or not isinstance(solver, alignment.WeightMatching):
        raise ValueError(f"num_random_starts has no effect on aligner {name!r}.")
    return dataclasses.replace(solver, num_random_starts=num_random_starts)


def _load_matcher(path: str | os.PathLike) -> deep_align.TrainedMatcher:
    try:
        return deep_align.load_matcher(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Matchers are what launch/train.py"
            " --config=launch/configs/deep_align_mlp.py trains, in models/ours_0 of its"
            " workdir."
        ) from error


def _numbers(weights: Sequence[float | str] | None) -> list[float] | None:
    if weights is None:
        return None
    try:
        return [float(weight) for weight in weights]
    except ValueError as error:
        raise ValueError(f"Weights must be numbers, got {list(weights)}.") from error
