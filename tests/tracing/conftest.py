"""Small networks around one operation, inferred and certified."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from symmerge_jax import tracing

_FILE = pathlib.Path(__file__).with_name("_certify.py")
_SPEC = importlib.util.spec_from_file_location("tracing_certify", _FILE)
assert _SPEC is not None and _SPEC.loader is not None
_certify = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_certify)


@pytest.fixture(scope="session")
def certify():
    return _certify.certify


@pytest.fixture(scope="session")
def missed_transpositions():
    return _certify.brute_transpositions


@pytest.fixture(scope="session")
def check():
    """Infer and certify; return `{uses of a free space: (scales, signs)}`.

    Parameters and inputs are given by their shapes (or as integer arrays).
    """

    def run(apply, params, *inputs, **options):
        rng = np.random.default_rng(0)

        def fill(shape):
            return rng.normal(size=shape) if isinstance(shape, tuple) else shape

        with jax.enable_x64(True):
            params = {name: fill(shape) for name, shape in params.items()}
            inputs = [fill(shape) for shape in inputs]
            traced = tracing.infer(apply, params, *inputs, **options)
            errors = _certify.certify(traced, apply, params, inputs, tries=1)
        assert max(errors.values()) <= 1e-11, errors
        return traced

    return run


@pytest.fixture(scope="session")
def free():
    """Return the free spaces of what was inferred, as text, with scales and signs."""

    def read(traced):
        return {
            " ".join(
                f"{'/'.join(use.path)}{use.axis}"
                + (f".{use.position}" * (use.position > 0))
                for use in space.uses
            ): (len(space.scales), len(space.signs))
            for space in traced.spaces.values()
            if space.pinned is None
        }

    return read
