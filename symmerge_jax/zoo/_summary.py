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
      Text: number of networks, architecture, images, labels, metrics, mean and standard
      deviation of every tensor, and where the zoo comes from.
    """
    identity = np.stack([zoo.subset_index, zoo.image_index], axis=1)
    lines = [
        f"networks      {len(zoo)}",
        f"architecture  {_pairs(zoo.architecture)}",
        f"images        {len(np.unique(identity, axis=0))} distinct, {_stored(zoo)}",
        f"subsets       {_counts(np.array(zoo.subsets)[zoo.subset_index])}",
        f"labels        {_counts(zoo.labels)}",
    ]
    for name, values in zoo.metrics.items():
        low, median, high = np.quantile(values, [0.0, 0.5, 1.0])
        lines.append(
            f"{name:<13} mean {np.mean(values):.4g}, min {low:.4g}, median"
            f" {median:.4g}, max {high:.4g}"
        )
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


def _stored(zoo):
    if zoo.images is None:
        return "not stored"
    size = "x".join(str(n) for n in zoo.images.shape)
    return f"{size} {zoo.images.dtype} stored"


def _counts(values):
    return _pairs(dict(zip(*np.unique(values, return_counts=True), strict=True)))
