"""Canonicalise the networks of a file."""

import math
import os
from typing import Any

import jax
import numpy as np

import symmerge_jax
from symmerge_jax import networks, symmetry, zoo
from symmerge_jax.cli import _networks, _report
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
    seed: int = 0,
    dry_run: bool = False,
    **known: Any,
) -> _report.Report:
    """Canonicalise networks and report what it did to their function.

    Args:
      weights: the file.
      out: the file to write; with a model or a spec it is like `weights`, else
        `.safetensors` or `.npz`.
      canonicalizer: folder of a trained autoencoder; None for the closed form.
      form: see `symmerge_jax.canonicalize`; None for "decoded" with a canonicaliser,
        "closed" without.
      seed: of the random inputs of the report.
      dry_run: check everything, and report sizes and memory instead of working.
      **known: what is known of the networks (`_networks.Known`); the last resort is
        what the canonicaliser was trained on.

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
    if form not in (None, *FORMS):
        raise ValueError(f"form is {form!r}, known are {', '.join(FORMS)}.")
    what = _networks.Known(**known)
    loaded = None
    if canonicalizer is not None:
        if what.names_tensors:
            raise ValueError("A canonicalizer reads networks of an --architecture.")
        loaded = symmerge_jax.load_canonicalizer(canonicalizer)
    trained = None if loaded is None else loaded.architecture
    opened = _networks.open_networks([weights], what, trained)
    opened.check_target(out)
    source = {}
    if loaded is not None:
        _check_same(opened.stored, loaded.architecture)
        if what.architecture is None and not opened.is_described:
            source = {"architecture_of": "the canonicaliser"}
    form = form or ("closed" if loaded is None else "decoded")
    if dry_run:
        return _networks.plan("Canonical form, not yet made", opened, [out])
    network, [params] = opened.network, opened.load()
    with opened.precision():
        result = symmerge_jax.canonicalize(
            params,
            network,
            form=form,  # pyright: ignore[reportArgumentType]: one of FORMS
            canonicalizer=loaded,
        )
        spec = symmetry.spec_of(network)
        report = {
            "networks": int(np.prod(spec.batch_shape(params), dtype=int)),
            "form": form,
            **opened.report,
            **source,
            **_networks.proven(result.certificate),
        }
        if isinstance(network, networks.Network) and opened.stored is not None:
            report |= _difference(network, params, result.params, seed)
        opened.save(out, result.params, 0)
    return _report.Report("Canonical form", {**report, "out": str(out)})


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
