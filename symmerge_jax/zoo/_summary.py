"""What a zoo holds, as text."""

import textwrap

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.zoo import _zoo


def summary(zoo: _zoo.Zoo) -> str:
    """Return a description of a zoo in some twenty lines.

    Args:
      zoo: the zoo.

    Returns:
      Text: number of networks, architecture, images and labels or training runs, all
      metrics, mean and deviation of every tensor, and where the zoo comes from.
    """
    identity = np.stack([zoo.subset_index, zoo.image_index], axis=1)
    distinct = f"{len(np.unique(identity, axis=0))} distinct"
    lines = [
        f"networks      {len(zoo)}",
        f"architecture  {_pairs(zoo.architecture)}",
        f"subsets       {_counts(np.array(zoo.subsets)[zoo.subset_index])}",
    ]
    if zoo.architecture["kind"] == "siren":
        lines.append(f"images        {distinct}, {_stored(zoo)}")
        lines.append(f"labels        {_counts(zoo.labels)}")
    else:
        lines.append(f"runs          {distinct}")
    lines += [f"{name:<13} {_spread(values)}" for name, values in zoo.metrics.items()]
    lines.append(f"{'tensor':<18}{'shape':>12}{'mean':>12}{'std':>12}")
    leaves = symmetry.flatten(zoo.params)
    for path, (mean, std) in _zoo.statistics(zoo).items():
        size = "x".join(str(n) for n in leaves[path].shape[1:])
        lines.append(f"{'/'.join(path):<18}{size:>12}{mean:>12.2e}{std:>12.4f}")
    lines.append("provenance")
    for name, value in zoo.provenance.items():
        if name != "architecture":
            text = _pairs(value) if isinstance(value, dict) else str(value)
            lines.append(f"  {name:<16}{textwrap.shorten(text, 240)}")
    return "\n".join(lines)


def _pairs(mapping):
    return ", ".join(f"{name} {value}" for name, value in mapping.items())


def _spread(values):
    """Return the few values that a metric takes with their counts, or its quantiles."""
    known = values[np.isfinite(values)]
    distinct, counts = np.unique(known, return_counts=True)
    parts = []
    if len(distinct) <= min(9, len(known) // 2):
        pairs = zip(counts, distinct, strict=True)
        parts = [f"{count} x {value:.4g}" for count, value in pairs]
    elif len(known):
        quantiles = np.quantile(known.astype(float), [0, 0.25, 0.5, 0.75, 1])
        names = ("min", "25 %", "median", "75 %", "max")
        parts = [f"mean {np.mean(known, dtype=float):.4g}"]
        parts += [f"{n} {q:.4g}" for n, q in zip(names, quantiles, strict=True)]
    if len(known) < len(values):
        parts.append(f"{len(values) - len(known)} not finite")
    return ", ".join(parts)


def _stored(zoo):
    if zoo.images is None:
        return "not stored"
    size = "x".join(str(n) for n in zoo.images.shape)
    return f"{size} {zoo.images.dtype} stored"


def _counts(values):
    return _pairs(dict(zip(*np.unique(values, return_counts=True), strict=True)))
