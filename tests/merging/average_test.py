import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import merging


def test_average_is_the_weighted_sum():
    batch = {"w": np.arange(6.0, dtype=np.float32).reshape(3, 2)}
    got = merging.average(batch, np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(got["w"], [1.5, 2.5])


def test_low_precision_is_summed_in_float32():
    batch = {"w": jnp.full((256, 1), 1.0, jnp.bfloat16)}
    got = merging.average(batch, np.full(256, 1 / 256))["w"]
    assert got.dtype == jnp.bfloat16 and got[0] == 1


def test_weights():
    np.testing.assert_array_equal(merging.check_weights(None, 4), np.full(4, 0.25))
    weights = merging.check_weights([0.3, 0.7], 2)
    assert weights.dtype == np.float64 and weights.tolist() == [0.3, 0.7]
    merging.check_weights(np.full(3, 1 / 3, np.float32), 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.6], "must sum to 1, got .* with sum 1.1"),
        ([0.5, 0.25, 0.25], r"3 weights of shape \(3,\) for 2 networks"),
        ([1.5, -0.5], "must be finite and above zero"),
        ([1.0, 0.0], "omit a network"),
        ([float("nan"), 1.0], "must be finite"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        merging.check_weights(weights, 2)
