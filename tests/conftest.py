"""Fixtures shared by all tests, and the strict settings they run under."""

import os
import pathlib
import tempfile

import jax
import jaxtyping
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Most of the time is compiling: without optimisations it takes half as long, and tests
# run their programs once, on a few numbers. The environment is for processes of tests.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
jax.config.update("jax_disable_most_optimizations", True)
if jax.__version_info__ < (0, 11):  # later ones refuse the flags
    os.environ["XLA_FLAGS"] = " ".join(
        (
            os.environ.get("XLA_FLAGS", ""),
            "--xla_cpu_use_fusion_emitters=false",
            "--xla_cpu_parallel_codegen_split_count=1",
        )
    )


# Tests of one module compile the same programs with new closures again and again: here
# they are kept, as they are for the processes that tests start. Each worker has a
# folder of its own, as a file may be read before another has written it to the end.
_cache = tempfile.TemporaryDirectory(prefix="symmerge_jax_tests_")
for _name, _value in {
    "jax_compilation_cache_dir": _cache.name,
    "jax_persistent_cache_min_compile_time_secs": 0.02,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}.items():
    os.environ[_name.upper()] = str(_value)
    jax.config.update(_name, _value)


def pytest_collection_modifyitems(items):
    for item in items:
        if "slow" not in item.keywords:
            item.add_marker(pytest.mark.fast)


@pytest.fixture
def two_devices():
    """The environment of a process that sees two devices."""
    flags = os.environ.get("XLA_FLAGS", "")
    return {
        **os.environ,
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def unchecked():
    """Switch jaxtyping's checks off, which would answer before our own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def data_dir():
    """The folder of real data sets, where SYMMERGE_DATA_DIR names one."""
    if not (folder := os.environ.get("SYMMERGE_DATA_DIR")):
        pytest.skip(
            "needs real data: set SYMMERGE_DATA_DIR to the folder that holds it"
        )
    return pathlib.Path(folder)
