"""Parameters are any pytree of arrays: their leaves by name, and back to the same tree.

A leaf is named by the keys, indices and fields that lead to it, as strings:
`("layers", "0", "kernel")`. The boxes of Flax (`nnx.Param`) have no name of their own.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core

from symmerge_jax.typing import Params, Path


def flatten(
    params: Params, is_leaf: Callable[[Any], bool] | None = None
) -> dict[Path, Any]:
    """Return the leaves of a tree by the names that lead to each, in its order.

    Args:
      params: any pytree; None and empty sub-trees have no leaves.
      is_leaf: nodes that are to be taken as leaves; None for what JAX calls so.

    Raises:
      ValueError: two leaves of one name, such as under the keys `1` and `"1"`.
    """
    leaves: dict[Path, Any] = {}
    for path, leaf in _items(params, is_leaf):
        if path in leaves:
            raise ValueError(
                f"Two parameters are called '{name(path)}': rename a key, as 1 and '1'"
                " are one name."
            )
        leaves[path] = leaf
    return leaves


def unflatten(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """Return the nested dict with these leaves: `flatten` undone, for nested dicts."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    return tree


def rebuild(params: Params, leaves: Mapping[Path, Any]) -> Params:
    """Return a tree with other leaves: the containers, keys and their order stay.

    Args:
      params: any pytree.
      leaves: new leaves by path; one that is omitted stays as it is.
    """
    return _rebuild(params, leaves, ())


def name(path: Path) -> str:
    """Return the name of a leaf as messages show it, 'dense_0/kernel'."""
    return "/".join(path)


def is_array(leaf: Any) -> bool:
    """Return whether a leaf is an array: it has a shape and a data type."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def is_parameter(leaf: Any) -> bool:
    """Return whether a leaf can be scaled and averaged: an array of real floats.

    Everything else is carried along unchanged: integers, booleans, random keys, and
    what is no array at all.
    """
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)


def is_traced(*trees: Any) -> bool:
    """Return whether any leaf of the trees is traced, so that values are not known."""
    return any(isinstance(leaf, core.Tracer) for leaf in jax.tree.leaves(trees))


def rows(params_batch: Params, index: Any) -> Params:
    """Return one network of a batch, or some of them: `leaf[index]` for every leaf.

    Args:
      params_batch: any tree of arrays that share a leading axis `[N]`.
      index: number of the network; a slice or an array of numbers gives a batch.
    """
    return jax.tree.map(lambda leaf: leaf[index], params_batch)


def num_rows(params_batch: Params) -> int:
    """Return the number of networks in a batch, the length of the leading axis."""
    return len(jax.tree.leaves(params_batch)[0])


def computing_dtype(tree: Any) -> np.dtype:
    """Return the type that parameters are computed with: float32, or float64.

    Types below float32 are widened; float64 counts only where JAX has it switched on.
    """
    double = any(
        leaf.dtype == np.float64 for leaf in jax.tree.leaves(tree) if is_parameter(leaf)
    )
    return jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)


def split(params: Params) -> tuple[Params, Params]:
    """Return the parameters of a tree, and what is carried along.

    Both have the containers of the tree, and None for what belongs to the other.
    """
    leaves = flatten(params)
    kept, carried = (
        {p: x if is_parameter(x) is wanted else None for p, x in leaves.items()}
        for wanted in (True, False)
    )
    return rebuild(params, kept), rebuild(params, carried)


def join(params: Params, carried: Params) -> Params:
    """Return the tree that `split` took apart.

    Args:
      params: the parameters, changed or not.
      carried: what was put aside.
    """
    return jax.tree.map(
        lambda x, y: y if x is None else x,
        params,
        carried,
        is_leaf=lambda x: x is None,
    )


def tensor_shapes(params: Params) -> tuple[tuple[Path, tuple[int, ...]], ...]:
    """Return path and shape of every tensor of one network, sorted and hashable."""
    leaves = flatten(params)
    return tuple((path, tuple(np.shape(leaves[path]))) for path in sorted(leaves))


def check_finite(params: Params, prefix: str = "") -> None:
    """Refuse parameters with NaN or infinite entries, or that were deleted.

    Args:
      params: concrete arrays, with or without batch axes; leaves that are no parameters
        are not looked at.
      prefix: what the message starts with.

    Raises:
      ValueError: names the first offending parameter and index, and counts the entries.
    """
    for path, leaf in flatten(params).items():
        if not is_parameter(leaf):
            continue
        if isinstance(leaf, jax.Array) and leaf.is_deleted():
            raise ValueError(
                f"{prefix}Parameter '{name(path)}' was deleted, as arrays are that were"
                " donated to a compiled function: pass what the function returned, or"
                " copy it before (jnp.copy)."
            )
        array = np.asarray(leaf)
        if array.dtype.kind not in "f":  # the small floats, which numpy does not know
            array = array.astype(np.float32)
        # One pass that allocates nothing; only a network with faults is looked at twice
        # (a sum overflows without one, too).
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array.sum()):
                continue
        bad = ~np.isfinite(array)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{prefix}Parameter '{name(path)}' is not finite: {array[index]} at"
                f" index {index} ({int(bad.sum())} such entries). Repair or drop this"
                " network."
            )


def _items(
    tree: Any, is_leaf: Callable[[Any], bool] | None, prefix: Path = ()
) -> Iterator[tuple[Path, Any]]:
    if is_leaf is None and type(tree) is dict:  # the usual case, which is quick
        for key, child in tree.items():
            if isinstance(child, np.ndarray | jax.Array):
                yield (*prefix, str(key)), _native(child)
            else:
                yield from _items(child, None, (*prefix, str(key)))
        return
    children = None if is_leaf is not None and is_leaf(tree) else _children(tree)
    if children is None:
        yield prefix, _native(tree)
        return
    for key, child in children[0]:
        yield from _items(child, is_leaf, prefix + key)


def _rebuild(tree: Any, leaves: Mapping[Path, Any], prefix: Path) -> Any:
    children = _children(tree)
    if children is None:
        return leaves.get(prefix, tree)
    named, make = children
    return make([_rebuild(child, leaves, prefix + key) for key, child in named])


def _children(tree: Any):
    """Return the children of a node by name, and how to make one like it of others.

    None for a leaf. A dict keeps the order of its keys, which a pytree would sort.
    """
    if isinstance(tree, np.ndarray | jax.Array):
        return None
    if type(tree) in (tuple, list) and tree and all(type(x) is int for x in tree):
        return None  # a shape, not parameters
    if isinstance(tree, dict) and type(tree) is dict:
        named = [((str(key),), child) for key, child in tree.items()]
        return named, lambda children: dict(zip(tree, children, strict=True))
    found, structure = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda x: x is not tree
    )
    if len(found) == 1 and not found[0][0]:
        if isinstance(tree, Mapping):  # of a kind that is no pytree: a dict comes back
            return _children(dict(tree))
        return None
    keys = [path[0] for path, _ in found]
    is_box = len(keys) == 1 and keys[0] == jax.tree_util.GetAttrKey("value")
    named = [() if is_box else (_key_name(key),) for key in keys]
    children = [child for _, child in found]
    return list(zip(named, children, strict=True)), structure.unflatten


def _key_name(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _native(leaf: Any) -> Any:
    """Return an array in the byte order of the machine, the only one JAX takes."""
    if isinstance(leaf, np.ndarray) and not leaf.dtype.isnative:
        return leaf.astype(leaf.dtype.newbyteorder("="))
    return leaf
