"""Merge the networks of several files: the work behind `launch/merge.py`."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

import symmerge_jax
from experiments.commands import _merge_data, _weight_file
from symmerge_jax import alignment, deep_align, merging, networks

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

_NUM_INPUTS = 64  # of the certificate
_NUM_REPAIR = 500  # inputs that repairs look at


def run(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    aligned_dir: str | os.PathLike | None = None,
    architecture: Mapping[str, Any] | str | None = None,
    key: str | None = None,
    aligner: str = "weight_matching",
    num_random_starts: int | None = None,
    matcher: str | os.PathLike | None = None,
    repair: Sequence[str] = (),
    weights: Sequence[float | str] | None = None,
    data: str | None = None,
    data_dir: str | os.PathLike | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Align networks, write their mean, and report what that did.

    Files are written last, after the certificate has passed: the spec fits the network
    and no function was changed by the alignment.

    Args:
      paths: two or more files with one network each (`_weight_file.read`).
      out: `.safetensors` or `.npz` for the merged network.
      aligned_dir: folder for the aligned networks, `<number>_<name>` with the suffix of
        `out`; None to write none.
      architecture: see `_weight_file.describe`; None for what the files say.
      key: part of the files that holds the parameters, "a.b"; None for all.
      aligner: a key of `ALIGNERS`. Those in `USE_DATA` need `data`; the losses are
        measured on the same: measure again on other data before you believe them.
      num_random_starts: further starts of "weight_matching".
      matcher: folder of a trained matcher, which brings the networks together first;
        `aligner`, one without data, resumes from there. None for none.
      repair: what is done to the mean, names of `merging.REPAIRS`, on the first 500
        inputs of `data`; without data there are closed forms of some.
      weights: of the mean, one per file, sum 1; None for equal ones.
      data: `.npz` with `x` and `y`, or a source of images (`_merge_data.load`); None to
        measure no losses.
      data_dir: where the images are; None for `$SYMMERGE_DATA_DIR`, or to download.
      seed: of the solver.

    Returns:
      By name: the complete architecture as JSON; how files of torch were read; sweeps,
      and the spread before and after; what share of each layer was missing before and
      after least squares; as `certificate` the largest change of an output
      in float64, relative to the largest output; with data those of
      `_merge_data.measure`; the file written.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: damaged or incomplete files, networks or a matcher that do not fit
        together, wrong options, or a spec that does not fit the network.
    """
    target = _weight_file.check_writable(out)
    solver = _make_aligner(aligner, num_random_starts)
    if matcher is not None and aligner in USE_DATA:
        raise ValueError(
            f"A matcher has no effect on aligner {aligner!r}: omit one of them."
        )
    if repair:
        merging.check_repairs(repair)
    files = [_weight_file.read(path, key) for path in paths]
    if target.resolve() in {pathlib.Path(path).resolve() for path in paths}:
        raise ValueError(f"'{out}' is one of the networks to merge: choose another.")
    description = _describe(files, architecture)
    network = networks.build(description)
    for file in files:
        _weight_file.check(file, network, description)
    if matcher is not None:
        init = _load_matcher(matcher).aligner(architecture=description)
        solver = alignment.MergeMany(aligner=solver, init=init)
    losses = None if data is None else _merge_data.load(data, network, data_dir)
    if aligner in USE_DATA and losses is None:
        raise ValueError(f"aligner {aligner!r} looks at data: name some with --data.")
    params_list = [file.params for file in files]
    shape = (_NUM_INPUTS, *network.input_shape)
    merged = symmerge_jax.merge(
        params_list,
        network,
        aligner=solver,
        weights=_numbers(weights),
        key=jax.random.key(seed),
        inputs=np.random.default_rng(seed).uniform(-1, 1, shape),
        task=losses.for_solver() if losses and aligner in USE_DATA else None,
    )
    certificate = merged.certificate
    assert certificate is not None
    mended = None
    if repair:
        mended = merging.repair(
            merged.params,
            merged.aligned,
            network,
            repair,
            inputs=losses and losses.data["inputs"][:_NUM_REPAIR],
            weights=_numbers(weights),
        )
        merged = merged._replace(params=mended.params)
    scale = certificate.output_scale
    change = certificate.max_difference / np.where(scale > 0, scale, 1)
    report = {
        "networks": len(files),
        "architecture": json.dumps(description),
        **{f"read_as_{k}": f.read_as for k, f in enumerate(files) if f.read_as},
        "aligner": aligner,
        **({} if matcher is None else {"matcher": str(matcher)}),
        "sweeps": int(merged.result.num_iters),
        "converged": bool(merged.result.converged),
        "spread_before": float(merged.result.objective[0]),
        "spread_after": float(merged.result.objective[-1]),
        "certificate": float(change.max()),
    }
    if mended is not None:
        report["repair"] = ", ".join(repair)
        report |= {f"missing_before_{k}": fit.before for k, fit in mended.fits.items()}
        report |= {f"missing_after_{k}": fit.after for k, fit in mended.fits.items()}
    if losses:
        report |= _merge_data.measure(losses, params_list, merged)
    if aligned_dir is not None:
        for number, file in enumerate(files):
            name = f"{number}_{pathlib.Path(file.path).stem}{target.suffix}"
            params = jax.tree.map(lambda x, k=number: x[k], merged.aligned)
            symmerge_jax.save(
                pathlib.Path(aligned_dir) / name, params, architecture=description
            )
    symmerge_jax.save(target, merged.params, architecture=description)
    return {**report, "out": str(target)}


def _make_aligner(name: str, num_random_starts: int | None) -> alignment.Aligner:
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


def _describe(files, given: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Return the one architecture of all files."""
    if given is None:
        described = [file for file in files if file.architecture is not None]
    else:
        described = files[:1]
    first, *others = described or files[:1]
    expected = _weight_file.describe(first, given)
    for file in others:
        other = _weight_file.describe(file, given)
        if other != expected:
            raise ValueError(
                f"'{file.path}' holds the architecture {other}, but '{first.path}'"
                f" holds {expected}: networks of one architecture can be merged."
            )
    return expected


def _numbers(weights: Sequence[float | str] | None) -> list[float] | None:
    if weights is None:
        return None
    try:
        return [float(weight) for weight in weights]
    except ValueError as error:
        raise ValueError(f"Weights must be numbers, got {list(weights)}.") from error
