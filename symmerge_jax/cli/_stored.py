"""Merge files that are larger than the memory."""

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import jax

import symmerge_jax
from symmerge_jax import alignment, networks, symmetry, training
from symmerge_jax.cli import _networks, _report

_NOT_RUN = "elements of the group; a spec has no function to be run"
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def num_bytes(text: str) -> int:
    """Return the bytes that a text names, such as "512MiB".

    Raises:
      ValueError: another text, or too few.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]iB|B|)", text.strip())
    if found is None:
        raise ValueError(f"--memory={text} is no number of bytes, as 512MiB or 2GiB.")
    number = int(float(found[1]) * _UNITS[found[2]])
    if number < alignment.MIN_MEMORY:
        least = _report.size(alignment.MIN_MEMORY)
        raise ValueError(f"--memory={text} is too little: give {least} or more.")
    return number


def merge(
    opened: _networks.Opened,
    out: Any,
    aligner: alignment.Aligner | alignment.ManyAligner,
    memory: int,
    weights: Sequence[float] | None,
    seed: int,
) -> dict[str, Any]:
    """Write the mean of networks tensor by tensor, and report what was found.

    Raises:
      ValueError: files whose tensors have no names of their own, or what
        `symmerge_jax.merge_stored` refuses.
    """
    if opened.write is None:
        raise ValueError("--memory is for the tensors of a --model or a --spec.")
    if not isinstance(aligner, alignment.WeightMatching):
        raise ValueError("--memory takes aligner weight_matching, which reads weights.")
    network, proof = opened.network, {}
    spec = symmetry.spec_of(network)
    if isinstance(network, networks.Network):
        inputs = network.example
        if inputs is None:
            inputs = _networks.proof_inputs(opened, seed)
        proof = {"apply": network.apply, "inputs": inputs}
    with _Sweeps(len(spec.matched_spaces)) as sweeps:
        found = symmerge_jax.merge_stored(
            opened.params,
            spec,
            memory=memory,
            aligner=aligner,
            weights=weights,
            key=jax.random.key(seed),
            on_space=sweeps.advance,
            **proof,
        )
    opened.write(out, found.arrays, 0)
    results = found.results
    return {
        "sweeps": max(int(result.num_iters) for result in results),
        "converged": all(bool(result.converged) for result in results),
        "distance_before": [float(result.objective[0]) for result in results],
        "distance_after": [float(result.objective[-1]) for result in results],
        "certificate": max(found.function_changes, default=_NOT_RUN),
    }


class _Sweeps:
    """Shows each sweep over the spaces; how many there will be nobody knows."""

    def __init__(self, num_spaces: int):
        self._num_spaces, self._done = num_spaces, 0
        self._stack = contextlib.ExitStack()
        self._progress: training.Progress | None = None

    def __enter__(self) -> "_Sweeps":
        return self

    def advance(self, _: str) -> None:
        if self._done % self._num_spaces == 0:
            self._stack.close()
            text = f"match, sweep {self._done // self._num_spaces + 1}"
            progress = training.Progress(self._num_spaces, text, "space")
            self._progress = self._stack.enter_context(progress)
        assert self._progress is not None
        self._progress.update()
        self._done += 1

    def __exit__(self, *_: object) -> None:
        self._stack.close()
