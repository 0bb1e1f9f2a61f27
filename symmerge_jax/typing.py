"""Names for the values that every package of symmerge_jax exchanges."""

from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""An array on a device, a traced array, or an array of numpy."""

Params = Any
"""Any pytree of arrays: the parameters of one network (or, with a leading axis on every
leaf, of a population of networks with one architecture). Nested dicts, lists, tuples,
`FrozenDict`, `nnx.State`, modules; verbs give back the tree that they were given."""

Path = tuple[str, ...]
"""Names of the keys, indices and fields that lead to one leaf of `Params`."""

Key = jax.Array
"""A typed JAX random key, as made by `jax.random.key`."""
