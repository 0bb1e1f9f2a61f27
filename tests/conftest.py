"""Fixtures shared by all tests, and the strict settings they run under."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    for item in items:
        if "slow" not in item.keywords:
            item.add_marker(pytest.mark.fast)


@pytest.fixture(scope="module")
def compile_fast():
    """Compile without optimisations: for programs that run once, on a few numbers."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def data_dir():
    """The folder of real data sets, where SYMMERGE_DATA_DIR names one."""
    if not (folder := os.environ.get("SYMMERGE_DATA_DIR")):
        pytest.skip(
            "needs real data: set SYMMERGE_DATA_DIR to the folder that holds it"
        )
    return pathlib.Path(folder)
