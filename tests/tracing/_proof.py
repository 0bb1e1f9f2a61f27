"""The certificate of a trace, in float64."""

import jax
import numpy as np

from tests.tracing import _certify


def error(traced, apply, params, inputs, tries=2):
    """The largest relative change of outputs under random elements; NaN stays NaN."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        found = _certify.certify(
            traced, apply, double(params), double(inputs), tries=tries
        )
    return float(np.max(list(found.values())))


def double(tree):
    """Every array of floats in float64."""

    def leaf(x):
        x = np.asarray(x)
        return x.astype(np.float64) if x.dtype.kind == "f" else x

    return jax.tree.map(leaf, tree)
