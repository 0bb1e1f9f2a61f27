"""Repairs that need no data: read off the norms of the weights."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.merging import _rows
from symmerge_jax.merging._origins import undo
from symmerge_jax.merging._sites import Layer, Sites, Statistic
from symmerge_jax.merging._tape import Run, Tape
from symmerge_jax.typing import Array, Params, Path

CLOSED = ("statistics", "rescale")


def repaired(
    tape: Tape,
    sites: Sites,
    params: Params,
    parents: Sequence[Params],
    shares: np.ndarray,
    methods: Sequence[str],
) -> dict[Path, Any]:
    """Return the leaves of the repaired network.

    Raises:
      ValueError: a method that needs data, or a statistic of more than one layer.
    """
    for name in methods:
        if name not in CLOSED:
            raise ValueError(
                f"'{name}' needs inputs: pass inputs=, unlabelled ones suffice. Without"
                f" data there are {list(CLOSED)}."
            )
    networks = [_without_data(tape, p) for p in (params, *parents)]
    merged, others = networks[0], networks[1:]
    if "statistics" in methods:
        for group in sites.statistics.values():
            for statistic in group:
                _set_statistic(tape, sites, statistic, merged, others, shares)
    if "rescale" in methods:
        for layer in sites.layers.values():
            _rescale(tape, layer, merged, others, shares)
    return merged.leaves()


def _without_data(tape: Tape, params: Params) -> Run:
    return Run(tape, params, [None] * len(tape.inputs))


def _norms(tape: Tape, layer: Layer, network: Run) -> Array:
    """Return the norms of the weights that write each neuron, `[G, O]`."""
    step = tape.steps[layer.step]
    weight = jnp.asarray(network.read(layer.weight))
    position = step.operands.index(layer.data)
    return jnp.linalg.norm(_rows.to_matrix(step, position, weight), axis=1)


def _rescale(tape, layer: Layer, merged: Run, others, shares) -> None:
    own = _norms(tape, layer, merged)
    target = sum(
        float(share) * _norms(tape, layer, other)
        for share, other in zip(shares, others, strict=True)
    )
    factor = jnp.where(own > 0, target / jnp.where(own > 0, own, 1), 1)
    step = tape.steps[layer.step]
    position = step.operands.index(layer.data)
    weight = jnp.asarray(merged.read(layer.weight))
    changed = _rows.scale_neurons(step, position, weight, factor)
    path = layer.origin.path
    merged.replace(path, undo(layer.origin, changed, merged.leaf(path)))


def _set_statistic(tape, sites: Sites, statistic: Statistic, merged, others, shares):
    """Give a variance the parents' variance for each unit of squared weights."""
    if not statistic.is_variance:
        return
    path = statistic.path
    layers = [
        layer
        for layer in sites.layers.values()
        if statistic.data in (layer.written, tape.steps[layer.step].results[0])
    ]
    if len(layers) != 1:
        raise ValueError(
            f"'{symmetry.name(path)}' is the variance of a sum, of which the weights"
            " tell nothing: pass inputs=, unlabelled or even random ones."
        )

    def of(network: Run) -> Array:
        return jnp.asarray(network.leaf(path))[statistic.row]

    norms = [_norms(tape, layers[0], network).reshape(-1) for network in others]
    ratio = sum(
        float(share) * of(other).reshape(-1) / jnp.where(norm > 0, norm, 1) ** 2
        for share, other, norm in zip(shares, others, norms, strict=True)
    )
    own = _norms(tape, layers[0], merged).reshape(-1)
    leaf = jnp.asarray(merged.leaf(path))
    value = (ratio * own**2).reshape(leaf[statistic.row].shape)
    merged.replace(path, leaf.at[statistic.row].set(value.astype(leaf.dtype)))
