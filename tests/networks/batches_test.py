import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_rows_come_back_in_order_from_calls_of_one_shape(batch_size):
    shapes = set()

    def function(rows):
        shapes.add((rows["a"].shape, rows["b"].shape))
        return {"sum": jnp.asarray(rows["a"]) + rows["b"].sum(axis=1), "a": rows["a"]}

    rows = {"a": np.arange(7.0), "b": jnp.arange(14.0).reshape(7, 2)}
    result = networks.map_batches(function, rows, batch_size)
    np.testing.assert_array_equal(result["a"], rows["a"])
    np.testing.assert_array_equal(result["sum"], rows["a"] + rows["b"].sum(axis=1))
    assert all(isinstance(x, np.ndarray) for x in result.values())
    size = min(batch_size, 7)
    assert shapes == {((size,), (size, 2))}


def test_no_rows_and_no_batch_are_refused():
    with pytest.raises(ValueError, match="zero networks"):
        networks.map_batches(lambda x: x, np.zeros((0, 2)), 3)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        networks.map_batches(lambda x: x, np.zeros((2, 2)), 0)


@pytest.mark.parametrize("num_networks", [1, 2])
@pytest.mark.slow
def test_chunks_change_neither_logits_nor_gradients(key, num_networks):
    network = networks.cnn((5, 5, 1), (2,), 3)
    params = jax.jit(jax.vmap(network.init))(jax.random.split(key, 3))
    inputs = jax.random.normal(key, (7, 5, 5, 1))

    def total(params, **options):
        logits = networks.population_logits(network, params, inputs, **options)
        return jnp.sum(logits**2), logits

    gradient = jax.value_and_grad(total, has_aux=True)
    options = {"num_networks": num_networks, "chunk_size": 3}
    found = jax.jit(lambda p: gradient(p, **options))(params)
    expected = jax.vmap(network.apply, (0, None))(params, inputs)
    np.testing.assert_allclose(found[0][1], expected, rtol=1e-5, atol=1e-6)
    plain = jax.grad(
        lambda p: jnp.sum(jax.vmap(network.apply, (0, None))(p, inputs) ** 2)
    )(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found[1],
        plain,
    )
