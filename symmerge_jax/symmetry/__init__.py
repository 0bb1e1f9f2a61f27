"""Symmetries of network parameters: groups, their action, and canonical forms."""

from symmerge_jax.symmetry._action import act, act_dense
from symmerge_jax.symmetry._axes import Axis, Group, Space
from symmerge_jax.symmetry._canonical import (
    balance_scales,
    canonical_element,
    canonical_form,
    fold_phases,
)
from symmerge_jax.symmetry._element import (
    GroupElement,
    Monomial,
    as_matrix,
    compose,
    identity,
    inverse,
    sample,
)
from symmerge_jax.symmetry._orbit import canonical_distance, distance, sample_orbit
from symmerge_jax.symmetry._spec import SymmetrySpec
from symmerge_jax.symmetry._tree import (
    check_finite,
    computing_dtype,
    flatten,
    is_array,
    is_parameter,
    join,
    name,
    rebuild,
    split,
    tensor_shapes,
    unflatten,
)
from symmerge_jax.symmetry._unfold import unfold, unfold_uses

__all__ = [
    "Axis",
    "Group",
    "GroupElement",
    "Monomial",
    "Space",
    "SymmetrySpec",
    "act",
    "act_dense",
    "as_matrix",
    "balance_scales",
    "canonical_distance",
    "canonical_element",
    "canonical_form",
    "check_finite",
    "compose",
    "computing_dtype",
    "distance",
    "flatten",
    "fold_phases",
    "identity",
    "inverse",
    "is_array",
    "is_parameter",
    "join",
    "name",
    "rebuild",
    "sample",
    "sample_orbit",
    "split",
    "tensor_shapes",
    "unflatten",
    "unfold",
    "unfold_uses",
]
