"""Names for the values that every package of symmerge_jax exchanges."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""An array on a device, a traced array, or an array of numpy."""

Params = Mapping[str, Any]
"""Nested mapping of arrays: the parameters of one network (or, with a leading axis on
every leaf, of a population of networks with one architecture)."""

Path = tuple[str, ...]
"""Keys that lead from the root of a `Params` to one leaf."""

Key = jax.Array
"""A typed JAX random key, as made by `jax.random.key`."""
