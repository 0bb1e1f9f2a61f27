"""Symmetries of network parameters: groups, their action, and canonical forms."""

from symmerge_jax.symmetry._action import act, act_dense, act_each, move_carried
from symmerge_jax.symmetry._atoms import AtomicView, atoms_of
from symmerge_jax.symmetry._axes import (
    Axis,
    Blocks,
    Group,
    Space,
    axes_in,
    find_statistics,
)
from symmerge_jax.symmetry._balance import balance_scales, balance_stored
from symmerge_jax.symmetry._canonical import (
    canonical_element,
    canonical_form,
)
from symmerge_jax.symmetry._checks import (
    Networks,
    check_networks,
    check_same_architecture,
    on_devices_of,
    open_networks,
    spec_of,
    with_carried,
)
from symmerge_jax.symmetry._element import (
    GroupElement,
    Monomial,
    as_matrix,
    compose,
    element_shapes,
    identity,
    inverse,
    sample,
    unit_scales,
)
from symmerge_jax.symmetry._followers import follower_signs
from symmerge_jax.symmetry._orbit import canonical_distance, distance, sample_orbit
from symmerge_jax.symmetry._parts import part_of, take_part, within
from symmerge_jax.symmetry._phases import fold_phases
from symmerge_jax.symmetry._slabs import Slab, slabs
from symmerge_jax.symmetry._spec import SymmetrySpec
from symmerge_jax.symmetry._tree import (
    check_finite,
    computing_dtype,
    flatten,
    is_array,
    is_parameter,
    is_traced,
    join,
    name,
    num_rows,
    rebuild,
    rows,
    split,
    tensor_shapes,
    unflatten,
)
from symmerge_jax.symmetry._unfold import unfold, unfold_uses

__all__ = [
    "AtomicView",
    "Axis",
    "Blocks",
    "Group",
    "GroupElement",
    "Monomial",
    "Networks",
    "Slab",
    "Space",
    "SymmetrySpec",
    "act",
    "act_dense",
    "act_each",
    "as_matrix",
    "atoms_of",
    "axes_in",
    "balance_scales",
    "balance_stored",
    "canonical_distance",
    "canonical_element",
    "canonical_form",
    "check_finite",
    "check_networks",
    "check_same_architecture",
    "compose",
    "computing_dtype",
    "distance",
    "element_shapes",
    "find_statistics",
    "flatten",
    "fold_phases",
    "follower_signs",
    "identity",
    "inverse",
    "is_array",
    "is_parameter",
    "is_traced",
    "join",
    "move_carried",
    "name",
    "num_rows",
    "on_devices_of",
    "open_networks",
    "part_of",
    "rebuild",
    "rows",
    "sample",
    "sample_orbit",
    "slabs",
    "spec_of",
    "split",
    "take_part",
    "tensor_shapes",
    "unflatten",
    "unfold",
    "unfold_uses",
    "unit_scales",
    "with_carried",
    "within",
]
