import pytest


@pytest.fixture(autouse=True, scope="module")
def _compile_fast(compile_fast):
    """Use it in every test of this folder."""
