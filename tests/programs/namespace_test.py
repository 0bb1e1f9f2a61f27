"""The same lines by numpy and by JAX."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, programs
from symmerge_jax.alignment import AlignmentProblem, WeightMatching


def test_arrays_say_who_computes():
    plain, on_device = np.ones(2), jnp.ones(2)
    assert programs.namespace({"a": plain}, [np.float32(1), "text"]) is np
    assert programs.namespace(plain, on_device) is jnp
    assert programs.namespace("text", 1.0) is jnp
    assert jax.jit(lambda x: programs.namespace(x) is np)(plain).item() is False


def test_rows_are_taken_one_by_one_as_vmap_takes_them():
    def one(x, tree):
        numbers = programs.namespace(x, tree)
        return {"sum": numbers.cumsum(x) + tree["b"], "largest": x.max()}

    x, tree = np.arange(6.0).reshape(2, 3), {"b": np.array([1.0, 2.0])}
    found = programs.each(one, x, tree)
    assert isinstance(found["sum"], np.ndarray)
    chex.assert_trees_all_close(found, jax.vmap(one)(x, tree))
    chex.assert_trees_all_close(
        found, jax.jit(lambda *xs: programs.each(one, *xs))(x, tree)
    )


def test_arrays_are_placed_and_keys_stay():
    key = jax.random.key(0)
    tree = {"x": jnp.ones(2), "key": key, "name": None}
    found = programs.placed(tree, on_host=True)
    assert isinstance(found["x"], np.ndarray)
    assert found["key"] is key
    assert isinstance(programs.placed(found, on_host=False)["x"], jax.Array)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_pair_is_matched_without_a_compiler(activation):
    """Networks of sizes that were never seen: whatever JAX ran, it would compile."""
    compiled = []

    def listen(name, seconds, **_):
        compiled.extend([name] if "backend_compile" in name else [])

    jax.monitoring.register_event_duration_secs_listener(listen)
    random, solve = np.random.default_rng(0), WeightMatching()

    def match(*sizes):
        network = networks.mlp(sizes, activation)
        shapes = jax.eval_shape(network.init, jax.random.key(0))
        a, b = (
            jax.tree.map(lambda x: random.normal(size=x.shape).astype("f4"), shapes)
            for _ in "ab"
        )
        problem = AlignmentProblem(params_a=a, params_b=b, spec=network.spec)
        return solve(jax.random.key(0), problem)

    match(3, 5, 7, 2)  # random keys are JAX's
    compiled.clear()
    found = match(4, 11, 6, 3)
    assert not compiled
    assert isinstance(found.objective, np.ndarray)
    assert found.objective[-1] < found.objective[0]
    jax.jit(lambda x: x * len(activation))(1.0)
    assert compiled  # what it would have heard
