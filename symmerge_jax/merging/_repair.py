"""What comes after the average: layers of a merged network are mended one by one.

All methods walk through the program once. The merged network computes its own values,
each parent its own; where a layer is met, it is changed so that its outputs are closer
to what the parents' mean would be, and the walk goes on with the changed outputs. So
errors are corrected by later layers, and do not add up.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.merging import (
    _average,
    _closed_forms,
    _layers,
    _networks,
    _orders,
    _preparation,
    _sites,
    _tape,
)
from symmerge_jax.typing import Array, Params

REPAIRS = {
    "statistics": "running means and variances are taken again, from the inputs",
    "rescale": "every neuron gets the standard deviation that it has in the parents",
    "repair": "every neuron gets the parents' mean and standard deviation",
    "bias": "every neuron gets the parents' mean",
    "least_squares": "weights and bias are fitted to the parents' mean outputs",
    "mapped_least_squares": "the same, in the neurons of one parent",
    "temperature": "one factor gives the outputs the size that they have in parents",
}
"""What can be done to a merged network."""


class Repair(NamedTuple):
    """A merged network behind its repair.

    Attributes:
      params: the network.
      fits: by name of the weights, what least squares found: the ridge, and the share
        of the mean square wanted that was missing before and after, the latter on the
        half of the samples that was not fitted to.
      kept: parameters that no method could change, and why.
    """

    params: Params
    fits: dict[str, _layers.Fit]
    kept: dict[str, str]


def repair(
    params: Params,
    parents: Params,
    network: _networks.Architecture,
    methods: Sequence[str] = ("statistics",),
    *,
    inputs: Any = None,
    weights: Sequence[float] | Array | None = None,
) -> Repair:
    """Mend a merged network, so that its neurons do what those of its parents do.

    The mean of networks answers more evenly than they do: its neurons vary less. Known
    remedies, each a key of `REPAIRS`, and applied in this order at every layer:

    - "statistics": BatchNorm's running mean and variance are those of the merged
      network (Ainsworth et al. 2023, arXiv 2209.04836, A.4). One pass.
    - "rescale", "repair": neuron by neuron (Jordan et al. 2023, *REPAIR*, arXiv
      2211.08403). One pass of each network.
    - "bias": the means alone.
    - "least_squares": ridge regression of each layer, whose inputs are those of the
      *merged* network, onto the parents' mean (Nasery et al. 2025, *PLeaS*, arXiv
      2407.02447). In a sum, such as a residual stream, what is fitted is the parents'
      sum minus what the merged network has so far. One pass, and for a layer with `I`
      inputs the products of `I x I` and their factors.
    - "mapped_least_squares": the same, but values of the other parents are first mapped
      by ridge regression onto those of the parent that counts most. For parents whose
      neurons do not correspond one to one: no alignment makes these alike, but most of
      what one computes is a linear function of what the other does. The result is
      nearer to that parent.
    - "temperature": one factor on the last layer.

    Law: a network whose parents are equal, and in one frame, stays as it is; so does a
    parent with weight 1. What a parameter of no layer does (see `kept`) stays. Warnings
    name parents whose outputs agree in another order, and those whose running
    statistics are not those of the inputs.

    Without inputs there are closed forms of two. "rescale" gives the weights that write
    a neuron the norm that they have in the parents; "statistics" gives a variance the
    parents' variance for each unit of squared weights (Jordan et al., appendix), where
    statistics are those of one layer.

    Args:
      params: the merged network.
      parents: the aligned parents on a leading axis `[N]`, such as `Merge.aligned`.
      network: their architecture: `networks.Network`, such as `trace` returns.
      methods: names of what is done.
      inputs: unlabelled inputs, as `network.apply` takes them, samples first: some
        hundred. All values of one layer stand in memory. None for closed forms.
      weights: of the parents, as for `merge`; None for equal ones.

    Returns:
      The network, what least squares found, and what was kept.

    Raises:
      TypeError, ValueError: unknown methods, networks or inputs that do not fit, inputs
        that are not finite or that a method needs, or a statistic that has no closed
        form.

    Example:
      >>> from symmerge_jax import networks
      >>> network = networks.mlp((2, 8, 1))
      >>> parents = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 2))
      >>> mean = jax.tree.map(lambda x: x.mean(0), parents)
      >>> x = jax.random.normal(jax.random.key(1), (64, 2))
      >>> found = repair(mean, parents, network, ["least_squares"], inputs=x)
      >>> wanted = jax.vmap(network.apply, (0, None))(parents, x).mean(0)
      >>> error = lambda p: jnp.mean((network.apply(p, x) - wanted) ** 2)
      >>> bool(error(found.params) < error(mean))
      True
    """
    names = check_repairs(methods)
    each = _parents(params, parents)
    shares = np.asarray(_average.check_weights(weights, len(each)))
    for what, tree in (("params", params), ("parents", parents)):
        symmetry.check_finite(tree, f"repair: {what}: ")
    statistics = network.spec.statistics
    if "statistics" in names and not statistics:
        raise ValueError(
            "repair: no parameter of the network is known as a statistic of data. Name"
            " them where the network is made: trace(..., statistics=[...])."
        )
    if inputs is None:
        tape = _tape.record(network.apply, params, _networks.example(network))
        sites = _sites.find(tape, statistics)
        leaves = _closed_forms.repaired(tape, sites, params, each, shares, names)
        return Repair(symmetry.rebuild(params, leaves), {}, _names(sites.kept))
    num_samples = _check_inputs(inputs)
    if num_samples < 2 and any(name.endswith("least_squares") for name in names):
        raise ValueError("Least squares needs two samples at least, got one.")
    tape = _tape.record(network.apply, params, inputs)
    sites = _sites.find(tape, statistics)
    arrays = jax.tree.leaves(inputs)
    if "temperature" in names and not any(x.is_output for x in sites.layers.values()):
        raise ValueError(
            "repair: 'temperature' is a factor on the layer that writes the outputs,"
            " but no layer does: let the network return its logits."
        )
    _preparation.warn_of_other_inputs(tape, sites, each, arrays)
    merged = _tape.Run(tape, params, arrays)
    fits = _walk(tape, sites, merged, each, shares, names, arrays, num_samples)
    whole = symmetry.rebuild(params, merged.leaves())
    kept = {} if names == ("statistics",) else _names(sites.kept)
    return Repair(whole, fits, kept)


def _walk(tape, sites, merged, each, shares, names, arrays, num_samples):
    """Let the merged network and its parents go through the tape, side by side."""
    at_layers = [name for name in names if name != "statistics"]
    runs = [_tape.Run(tape, p, arrays) for p in each] if at_layers else []
    wanted: dict[int, list[Array]] = {
        value: []
        for layer in sites.layers.values()
        for value in (layer.written, layer.end)
    }
    fits: dict[str, _layers.Fit] = {}
    for number in range(len(tape.steps)):
        if "statistics" in names:
            for statistic in sites.statistics.get(number, ()):
                _layers.set_statistic(statistic, merged)
        layer = sites.layers.get(number)
        if layer is not None and at_layers:
            for run in runs:
                run.advance(tape.makers[layer.end] + 1, wanted)
            mender = _layers.Mender(tape, layer, merged, wanted, shares, num_samples)
            for name in at_layers:
                fit = mender.mend(name)
                if fit is not None:
                    fits[symmetry.name(layer.origin.path)] = fit
            for value in {layer.written, layer.end}:
                if not _is_wanted_later(sites, number, value):
                    wanted.pop(value, None)
        merged.advance(number + 1)
    for run in runs:
        run.advance(len(tape.steps))
    for value in tape.outputs if runs else ():
        _orders.warn_of_other_order([run.read(value) for run in runs])
    return fits


def _is_wanted_later(sites: _sites.Sites, number: int, value: int) -> bool:
    return any(
        value in (layer.written, layer.end)
        for step, layer in sites.layers.items()
        if step > number
    )


def check_repairs(methods: Sequence[str]) -> tuple[str, ...]:
    """Return the methods in the order in which they are applied.

    Args:
      methods: names, keys of `REPAIRS`.

    Raises:
      TypeError, ValueError: no names, an unknown one, or two that exclude each other.
    """
    if isinstance(methods, str) or not isinstance(methods, Sequence):
        raise TypeError(f"methods must be a list of names, got {methods!r}.")
    for name in methods:
        if name not in REPAIRS:
            raise ValueError(f"Unknown method {name!r}; known are {list(REPAIRS)}.")
    if not methods:
        raise ValueError(f"repair needs a method: name some of {list(REPAIRS)}.")
    if sum(name.endswith("least_squares") for name in methods) > 1:
        raise ValueError("One least squares undoes the other: name one.")
    order = ("statistics", "least_squares", "mapped_least_squares")
    return tuple(n for n in dict.fromkeys((*order, *REPAIRS)) if n in methods)


def _parents(params: Params, parents: Params) -> list[Params]:
    """Return the parents one by one, or refuse what is no batch of such networks."""
    leaves = symmetry.flatten(params)
    batch = symmetry.flatten(parents)
    lengths = set()
    for path, leaf in leaves.items():
        if not symmetry.is_parameter(leaf):
            continue
        found = np.shape(batch[path]) if path in batch else ()
        if found[1:] != np.shape(leaf) or not found:
            raise ValueError(
                f"repair: '{symmetry.name(path)}' has shape {list(np.shape(leaf))} in"
                f" the merged network and {list(found)} in the parents: these need a"
                " leading axis with one entry per parent, as Merge.aligned has."
            )
        lengths.add(found[0])
    if len(lengths) != 1:
        raise ValueError(f"repair: parents have the numbers of networks {lengths}.")
    return [
        symmetry.rebuild(
            params,
            {p: batch[p][n] for p, x in leaves.items() if symmetry.is_parameter(x)},
        )
        for n in range(lengths.pop())
    ]


def _check_inputs(inputs: Any) -> int:
    """Return the number of samples, or refuse inputs that are not finite."""
    arrays = jax.tree.leaves(inputs)
    if not arrays or not np.shape(arrays[0]):
        raise ValueError("repair: inputs must be arrays with the samples first.")
    for array in arrays:
        is_real = jnp.issubdtype(jnp.asarray(array).dtype, jnp.floating)
        if is_real and not bool(jnp.all(jnp.isfinite(array))):
            raise ValueError("repair: the inputs have entries that are not finite.")
    return np.shape(arrays[0])[0]


def _names(kept: Mapping[Any, str]) -> dict[str, str]:
    return {symmetry.name(path): reason for path, reason in kept.items()}
