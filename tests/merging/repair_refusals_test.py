"""What repairs of merged networks refuse: one clear error, before any work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import merging, networks

pytestmark = pytest.mark.fast


def stack(*trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


class TestRefusals:
    """One clear error, before any work."""

    network = networks.mlp((3, 4, 2), "relu")
    parents = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 2))
    one = jax.tree.map(lambda leaf: leaf[0], parents)

    def repair(self, *methods, **options):
        options = {"inputs": np.ones((4, 3), np.float32), **options}
        return merging.repair(
            self.one,
            options.pop("parents", self.parents),
            self.network,
            methods,
            **options,
        )

    def test_unknown_method(self):
        with pytest.raises(ValueError, match="Unknown method 'reset'; known are"):
            self.repair("reset")

    def test_no_method(self):
        with pytest.raises(ValueError, match="needs a method"):
            self.repair()

    def test_two_that_exclude_each_other(self):
        with pytest.raises(ValueError, match="name one"):
            self.repair("least_squares", "mapped_least_squares")

    def test_a_network_without_statistics(self):
        with pytest.raises(ValueError, match="known as a statistic"):
            self.repair("statistics")

    def test_data_free_where_data_are_needed(self):
        with pytest.raises(ValueError, match="'least_squares' needs inputs"):
            self.repair("least_squares", inputs=None)

    def test_parents_without_their_axis(self):
        with pytest.raises(ValueError, match=r"dense_0/bias.*leading axis"):
            self.repair("bias", parents=self.one)

    def test_inputs_that_are_not_finite(self):
        with pytest.raises(ValueError, match="not finite"):
            self.repair("bias", inputs=np.full((4, 3), np.nan, np.float32))

    def test_inputs_of_another_network(self):
        with pytest.raises(ValueError, match=r"does not take .* shape \[\(4, 5\)\]"):
            self.repair("bias", inputs=np.ones((4, 5), np.float32))

    def test_one_sample(self):
        with pytest.raises(ValueError, match="two samples"):
            self.repair("least_squares", inputs=np.ones((1, 3), np.float32))

    def test_few_samples_are_said(self, caplog):
        self.repair("least_squares", inputs=np.eye(3, dtype=np.float32)[:2])
        assert "3 inputs and only 2 rows" in caplog.text

    def test_outputs_of_no_layer_have_no_temperature(self):
        def apply(params, x):
            return jax.nn.softmax(x @ params["a"])

        one = {"a": np.eye(3, dtype=np.float32)}
        network = symmerge_jax.trace(apply, one, np.ones((2, 3), np.float32))
        with pytest.raises(ValueError, match="'temperature' is a factor on the layer"):
            merging.repair(
                one,
                stack(one, one),
                network,
                ["temperature"],
                inputs=np.ones((2, 3), np.float32),
            )

    def test_a_variance_of_a_sum_has_no_closed_form(self):
        def apply(params, x):
            x = x @ params["a"] + jnp.tanh(x) @ params["b"]
            return x * jax.lax.rsqrt(params["running_var"] + 1e-5)[None] @ params["c"]

        one = {k: np.ones((3, 3), np.float32) for k in "abc"}
        one["running_var"] = np.ones(3, np.float32)
        network = symmerge_jax.trace(apply, one, np.ones((2, 3), np.float32))
        with pytest.raises(ValueError, match="'running_var' is the variance of a sum"):
            merging.repair(one, stack(one, one), network, ["statistics"])

    def test_merge_with_a_spec_alone(self):
        with pytest.raises(TypeError, match="pass the network"):
            symmerge_jax.merge(self.parents, self.network.spec, repair=["rescale"])
