import jax
import numpy as np
import pytest

from symmerge_jax import training


def test_one_device_takes_the_same_path():
    mesh = training.make_mesh(jax.devices()[:1])
    assert mesh.axis_names == ("data",)
    batch = training.shard_batch({"x": np.arange(6.0).reshape(3, 2)}, mesh)
    np.testing.assert_array_equal(batch["x"], np.arange(6.0).reshape(3, 2))
    assert batch["x"].sharding.spec == jax.sharding.PartitionSpec("data")
    tree = training.replicate({"w": np.ones(2)}, mesh)
    assert tree["w"].sharding.is_fully_replicated


def test_batches_of_unequal_leaves_are_refused():
    with pytest.raises(ValueError, match="has 2 rows but"):
        batch = {"a": np.ones(3), "b": np.ones(2)}
        training.shard_batch(batch, training.make_mesh())
