"""Canonicalise the networks of a file: the work behind `launch/canonicalize.py`."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import symmerge_jax
from symmerge_jax import networks, symmetry, zoo
from symmerge_jax.typing import Params


def run(
    weights: str | os.PathLike,
    out: str | os.PathLike,
    *,
    canonicalizer: str | os.PathLike | None = None,
    architecture: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Canonicalise networks and report what it did to their function.

    Args:
      weights: `.safetensors` or `.npz` as `symmerge_jax.save` writes it, or a `.pth`
        state dict of a chain of linear layers.
      out: `.safetensors` or `.npz` to write.
      canonicalizer: folder of a trained autoencoder; None for the closed form.
      architecture: what `networks.build` takes; None to use what `weights` says, or
        else what the canonicaliser was trained on.
      seed: of the random inputs of the report.

    Returns:
      `networks`, `mode`, and `max_output_difference` between the networks that came in
      and those that went out, at 1,000 random inputs in [-1, 1] per network, beside
      `output_std`, the spread of the outputs, for scale.

    Raises:
      FileNotFoundError: missing file or canonicaliser.
      ValueError: damaged file, unknown architecture, or one that does not fit.
    """
    params, stored = _read(pathlib.Path(weights))
    loaded = None
    if canonicalizer is not None:
        loaded = symmerge_jax.load_canonicalizer(canonicalizer)
    description = architecture or stored or (loaded and loaded.architecture)
    if description is None:
        raise ValueError(
            f"'{weights}' does not say which architecture it holds: pass"
            ' --architecture=\'{"kind": "siren", "layer_sizes": [2, 32, 32, 1]}\' or a'
            " --canonicalizer."
        )
    network = networks.build(description)
    try:
        _check_sizes(network, params, description)
        symmetry.check_finite(params)
    except ValueError as error:
        raise ValueError(f"'{weights}': {error}") from error
    if loaded is not None:
        _check_same(description, loaded.architecture)
    result = symmerge_jax.canonicalize(params, network.spec, canonicalizer=loaded)
    symmerge_jax.save(out, result, architecture=description)
    return {
        "networks": int(np.prod(network.spec.batch_shape(params), dtype=int)),
        "mode": "closed form" if loaded is None else "autoencoder",
        **_difference(network, params, result, seed),
    }


def _read(path: pathlib.Path) -> tuple[Params, Mapping[str, Any] | None]:
    if path.suffix == ".pth":
        return zoo.params_from_sequential(zoo.load_torch_state_dict(path)), None
    return symmerge_jax.load(path), symmerge_jax.load_architecture(path)


def _check_sizes(network: networks.Network, params: Params, description) -> None:
    """Refuse weights whose layers are not those of the description."""
    num_batch_axes = len(network.spec.batch_shape(params))
    one = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[num_batch_axes:], x.dtype), params
    )
    given = tuple(network.spec.sizes(one).values())
    expected = tuple(network.spec.sizes(_shapes(network)).values())
    if given != expected:
        raise ValueError(
            f"The weights are of layers {given}, the architecture {dict(description)}"
            f" has {expected}."
        )


def _check_same(description, trained) -> None:
    """Refuse a canonicaliser of networks that compute something else."""
    one, other = map(zoo.complete_architecture, (description, trained))
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            raise ValueError(
                f"The canonicaliser was trained for networks with {name}"
                f" {other.get(name)!r}, these have {one.get(name)!r}."
            )


def _shapes(network: networks.Network) -> Params:
    return jax.eval_shape(network.init, jax.random.key(0))


def _difference(
    network: networks.Network, before: Params, after: Params, seed: int
) -> dict[str, float]:
    """Compare two batches of networks on random inputs."""
    num_inputs = network.spec.sizes(_shapes(network))[network.spec.spaces[0].name]
    shape = (1000, num_inputs)
    x = jax.random.uniform(jax.random.key(seed), shape, minval=-1.0, maxval=1.0)
    apply = network.apply
    for _ in network.spec.batch_shape(before):
        apply = jax.vmap(apply, in_axes=(0, None))
    y, z = np.asarray(apply(before, x)), np.asarray(apply(after, x))
    return {
        "max_output_difference": float(np.abs(y - z).max()),
        "output_std": float(y.std()),
    }
