import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    """Compile without optimisations: these programs run once, on a few numbers."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
