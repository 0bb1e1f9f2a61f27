import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import autoencoders


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_rows_come_back_in_order_from_calls_of_one_shape(batch_size):
    shapes = set()

    def function(rows):
        shapes.add((rows["a"].shape, rows["b"].shape))
        return {"sum": jnp.asarray(rows["a"]) + rows["b"].sum(axis=1), "a": rows["a"]}

    rows = {"a": np.arange(7.0), "b": jnp.arange(14.0).reshape(7, 2)}
    result = autoencoders.map_batches(function, rows, batch_size)
    np.testing.assert_array_equal(result["a"], rows["a"])
    np.testing.assert_array_equal(result["sum"], rows["a"] + rows["b"].sum(axis=1))
    assert all(isinstance(x, np.ndarray) for x in result.values())
    size = min(batch_size, 7)
    assert shapes == {((size,), (size, 2))}


def test_no_rows_and_no_batch_are_refused():
    with pytest.raises(ValueError, match="zero networks"):
        autoencoders.map_batches(lambda x: x, np.zeros((0, 2)), 3)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        autoencoders.map_batches(lambda x: x, np.zeros((2, 2)), 0)
