"""Canonicalise the networks of a file: the work behind `launch/canonicalize.py`."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import symmerge_jax
from experiments.commands import _weight_file
from symmerge_jax import networks, zoo
from symmerge_jax.typing import Params

FORMS = ("closed", "decoded", "template")
"""What networks become; see `symmerge_jax.canonicalize`."""

_NUM_INPUTS = 1000
_NUM_NUMBERS = 2**20  # in all inputs: fewer of larger images


def run(
    weights: str | os.PathLike,
    out: str | os.PathLike,
    *,
    canonicalizer: str | os.PathLike | None = None,
    form: str | None = None,
    architecture: Mapping[str, Any] | str | None = None,
    key: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Canonicalise networks and report what it did to their function.

    Args:
      weights: the file (`_weight_file.read`).
      out: `.safetensors` or `.npz` to write.
      canonicalizer: folder of a trained autoencoder; None for the closed form.
      form: see `symmerge_jax.canonicalize`; None for "decoded" with a canonicaliser,
        "closed" without.
      architecture: see `_weight_file.describe`; None for what `weights` says, or else
        for what the canonicaliser was trained on.
      key: part of `weights` that holds the parameters, "a.b"; None for all.
      seed: of the random inputs of the report.

    Returns:
      `networks`, `form`, the complete `architecture` as JSON (`architecture_of` says
      where nothing but the canonicaliser told it), which layers of torch `weights` was
      read as, if any, `out`, and `max_output_difference` between the networks that came
      in and those that went out, at 1,000 random inputs in [-1, 1] (fewer where an
      input has more than 1,048 numbers), beside `output_std`, the spread of the
      outputs, for scale. The file is written last.

    Raises:
      FileNotFoundError: missing file or canonicaliser.
      ValueError: damaged file, unknown form or architecture, one that does not fit or
        that leaves open what the function is.
    """
    target = _weight_file.check_writable(out)
    if form not in (None, *FORMS):
        raise ValueError(f"form is {form!r}, known are {', '.join(FORMS)}.")
    file = _weight_file.read(weights, key)
    loaded = None
    if canonicalizer is not None:
        loaded = symmerge_jax.load_canonicalizer(canonicalizer)
    trained = None if loaded is None else loaded.architecture
    description = _weight_file.describe(file, architecture, trained)
    source = {}
    if architecture is None and file.architecture is None:
        source = {"architecture_of": "the canonicaliser"}
    network = networks.build(description)
    _weight_file.check(file, network, description)
    if loaded is not None:
        _check_same(description, loaded.architecture)
    form = form or ("closed" if loaded is None else "decoded")
    result = symmerge_jax.canonicalize(
        file.params,
        network,
        form=form,  # pyright: ignore[reportArgumentType]: one of FORMS
        canonicalizer=loaded,
    ).params
    report = {
        "networks": int(np.prod(network.spec.batch_shape(file.params), dtype=int)),
        "form": form,
        "architecture": json.dumps(description),
        **source,
        **({"read_as": file.read_as} if file.read_as else {}),
        **_difference(network, file.params, result, seed),
    }
    symmerge_jax.save(target, result, architecture=description)
    return {**report, "out": str(target)}


def _check_same(description, trained) -> None:
    """Refuse a canonicaliser of networks that compute something else."""
    one, other = map(zoo.complete_architecture, (description, trained))
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            raise ValueError(
                f"The canonicaliser was trained for networks with {name}"
                f" {other.get(name)!r}, these have {one.get(name)!r}."
            )


def _difference(
    network: networks.Network, before: Params, after: Params, seed: int
) -> dict[str, float]:
    """Compare two batches of networks on random inputs."""
    num_inputs = min(_NUM_INPUTS, _NUM_NUMBERS // math.prod(network.input_shape))
    shape = (max(num_inputs, 1), *network.input_shape)
    x = jax.random.uniform(jax.random.key(seed), shape, minval=-1.0, maxval=1.0)
    num_batch_axes = len(network.spec.batch_shape(before))

    def outputs(params):
        flat = jax.tree.map(
            lambda leaf: np.reshape(leaf, (-1, *leaf.shape[num_batch_axes:])), params
        )
        # One network at a time: what a CNN computes of many images is large.
        return np.asarray(jax.lax.map(lambda one: network.apply(one, x), flat))

    y, z = outputs(before), outputs(after)
    return {
        "max_output_difference": float(np.abs(y - z).max()),
        "output_std": float(y.std()),
    }
