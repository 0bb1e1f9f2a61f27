"""What the tables of methods of several experiments share: solvers, labels, names."""

from collections.abc import Collection
from typing import Any

from symmerge_jax import alignment, symmetry

GROUPS = {symmetry.Group.SCALE: "P + scale", symmetry.Group.SIGN: "P + sign"}
"""What "{group}" stands for in labels, by group of the hidden neurons; else "P"."""

PUBLISHED = alignment.WeightMatching(
    rescale=False, starts=("identity",), order="random"
)
"""Weight matching as published: from the identity only, in random order."""

CORRELATION = alignment.ActivationMatching(similarity="correlation", chunk_size=250)
"""Activation matching by the correlation of activations."""


def best(context: Any, **options: Any) -> alignment.WeightMatching:
    """Return weight matching from outward, identity and random starts."""
    return alignment.WeightMatching(
        num_random_starts=context.num_random_starts, **options
    )


def hidden_group(spec: symmetry.SymmetrySpec) -> symmetry.Group:
    """Return the group of the hidden neurons, which is the same for all layers."""
    return spec.space("hidden_0").group


def label(text: str, spec: symmetry.SymmetrySpec) -> str:
    """Return the label of a method for networks of this symmetry."""
    return text.format(group=GROUPS.get(hidden_group(spec), "P"))


def check_names(names: tuple[str, ...], known: Collection[str], key: str) -> None:
    """Raise ValueError for a repeated or unknown name of a method."""
    if len(set(names)) != len(names):
        raise ValueError(f"{key} must name each method once, got {names}.")
    for name in names:
        if name not in known:
            raise ValueError(f"{key} has {name!r}, known are {', '.join(known)}.")
