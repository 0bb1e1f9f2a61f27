"""Repairs of merged networks: laws, against formulas written out, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import symmerge_jax
from symmerge_jax import merging, networks

pytestmark = pytest.mark.fast
X = np.random.default_rng(0).normal(size=(48, 7, 7, 3))


class Residual(nn.Module):
    """Convolutions by groups, BatchNorm, a stream, and a dense layer."""

    @nn.compact
    def __call__(self, x, train=False):
        def norm(x):
            return nn.BatchNorm(not train, momentum=0.0)(x)

        x = nn.relu(norm(nn.Conv(8, (3, 3), strides=2)(x)))
        y = nn.Conv(8, (3, 3), use_bias=False, feature_group_count=2)(x)
        x = nn.relu(x + norm(y))
        x = x + nn.Conv(8, (2, 1), kernel_dilation=2)(x)
        return nn.Dense(5)(x.mean((1, 2)))


@pytest.fixture(scope="module")
def residual():
    """The module, its network, and two parents whose statistics are those of X."""
    with jax.enable_x64(True):
        module = Residual()
        parents = []
        for seed in (0, 1):
            params = module.init(jax.random.key(seed), X[:2])
            params = jax.tree.map(lambda x: x.astype(np.float64), params)
            parents.append(_with_statistics(module, params))
        network = symmerge_jax.trace(module.apply, parents[0], X[:2])
    return module, network, parents


def _with_statistics(module, params):
    _, changed = module.apply(params, X, train=True, mutable=["batch_stats"])
    return {**params, **changed}


def stack(*trees):
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def mean(*trees):
    return jax.tree.map(lambda *x: sum(x) / len(x), *trees)


def distance(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(np.abs(np.asarray(x) - np.asarray(y)).max() for x, y in pairs)


@pytest.mark.parametrize("methods", [[m] for m in merging.REPAIRS])
def test_equal_parents_stay_as_they_are(residual, methods):
    _, network, (params, _) = residual
    with jax.enable_x64(True):
        found = merging.repair(
            params, stack(params, params), network, methods, inputs=X
        )
    assert distance(found.params, params) < 1e-9


@pytest.mark.parametrize("name", ["least_squares", "mapped_least_squares", "repair"])
def test_a_parent_with_all_the_weight_comes_back(residual, name):
    _, network, (a, b) = residual
    weights = [1e-9, 1 - 1e-9]
    with jax.enable_x64(True):
        found = merging.repair(
            b, stack(a, b), network, [name], inputs=X, weights=weights
        )
    assert distance(found.params, b) < 1e-6


def test_statistics_are_those_of_batch_normalisation(residual):
    module, network, parents = residual
    with jax.enable_x64(True):
        merged = mean(*parents)
        found = merging.repair(
            merged, stack(*parents), network, ["statistics"], inputs=X
        )
        expected = _with_statistics(module, merged)
    assert distance(found.params, merged) > 1e-3
    assert distance(found.params, expected) < 1e-12


def test_least_squares_of_one_layer_is_the_regression_written_out():
    network = networks.mlp((3, 4), "relu")
    generator = np.random.default_rng(1)
    x = generator.normal(size=(40, 3))
    with jax.enable_x64(True):
        parents = [
            jax.tree.map(
                lambda leaf: jnp.asarray(generator.normal(size=leaf.shape)),
                network.init(jax.random.key(0)),
            )
            for _ in range(2)
        ]
        start = jax.tree.map(lambda x: x + 0.3, mean(*parents))
        found = merging.repair(
            start, stack(*parents), network, ["least_squares"], inputs=x
        )
        wanted = mean(*[network.apply(p, x) for p in parents])
        lack = np.asarray(wanted - network.apply(start, x))
    start, found_params = jax.device_get((start, found.params))
    fit = found.fits["dense_0/kernel"]
    centred = x - x.mean(0)
    gram = centred.T @ centred / len(x)
    ridge = fit.ridge * np.trace(gram) / 3 * np.eye(3)
    change = np.linalg.solve(gram + ridge, centred.T @ lack / len(x))
    kernel = found_params["dense_0"]["kernel"]
    np.testing.assert_allclose(kernel, start["dense_0"]["kernel"] + change, atol=1e-10)
    shift = lack.mean(0) - x.mean(0) @ change
    bias = found_params["dense_0"]["bias"]
    np.testing.assert_allclose(bias, start["dense_0"]["bias"] + shift, atol=1e-10)


def test_least_squares_comes_closer_to_the_mean_of_the_parents(residual):
    _, network, parents = residual
    with jax.enable_x64(True):
        merged, batch = mean(*parents), stack(*parents)
        wanted = mean(*[network.apply(p, X) for p in parents])

        def error(*methods):
            found = merging.repair(merged, batch, network, methods, inputs=X)
            return float(jnp.mean((network.apply(found.params, X) - wanted) ** 2))

        alone, fitted = error("statistics"), error("statistics", "least_squares")
        mapped = error("statistics", "mapped_least_squares")
    assert fitted < 0.5 * alone
    assert mapped < 0.5 * alone


def test_every_weight_is_fitted_or_named(residual):
    _, network, parents = residual
    with jax.enable_x64(True):
        found = merging.repair(
            mean(*parents), stack(*parents), network, ["least_squares"], inputs=X
        )
    assert len(found.fits) == 4  # three convolutions, one dense layer
    assert all("BatchNorm" in name for name in found.kept)
    assert all(fit.after <= fit.before for fit in found.fits.values())


def test_layers_of_a_scan_are_fitted_one_by_one():
    def apply(params, x):
        def layer(x, weights):
            return jnp.tanh(x @ weights), None

        return jax.lax.scan(layer, x, params["stack"])[0] @ params["last"]

    generator = np.random.default_rng(2)
    parents = [
        {
            "stack": 0.7 * generator.normal(size=(3, 6, 6)),
            "last": generator.normal(size=(6, 2)),
        }
        for _ in range(2)
    ]
    x = generator.normal(size=(300, 6))
    with jax.enable_x64(True):
        network = symmerge_jax.trace(apply, parents[0], x[:2])
        found = merging.repair(
            mean(*parents), stack(*parents), network, ["least_squares"], inputs=x
        )
    changed = np.asarray(found.params["stack"]) - mean(*parents)["stack"]
    # The first layer is linear in its weights: its mean is what is wanted.
    np.testing.assert_allclose(np.abs(changed).max((1, 2)) > 1e-3, [False, True, True])
    assert not found.kept


def test_repair_gives_every_neuron_the_moments_of_the_parents():
    network = networks.mlp((3, 8, 6, 2), "relu")
    x = np.random.default_rng(3).normal(size=(200, 3))
    with jax.enable_x64(True):
        parents = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 2))
        merged = jax.tree.map(lambda leaf: leaf.mean(0), parents)
        found = merging.repair(merged, parents, network, ["repair"], inputs=x).params

        def first_layer(params):
            return x @ params["dense_0"]["kernel"] + params["dense_0"]["bias"][None]

        values = [
            np.asarray(first_layer(jax.tree.map(lambda leaf, i=i: leaf[i], parents)))
            for i in (0, 1)
        ]
        own = np.asarray(first_layer(found))
    expected = sum(v.mean(0) for v in values) / 2
    np.testing.assert_allclose(own.mean(0), expected, atol=1e-9)
    expected = sum(v.std(0) for v in values) / 2
    np.testing.assert_allclose(own.std(0), expected, atol=1e-9)


def test_without_data_weights_get_the_norms_of_the_parents():
    network = networks.mlp((3, 8, 2), "relu")
    parents = jax.vmap(network.init)(jax.random.split(jax.random.key(0), 2))
    merged = jax.tree.map(lambda leaf: leaf.mean(0), parents)
    found = merging.repair(merged, parents, network, ["rescale"]).params
    for name in ("dense_0", "dense_1"):
        norms = np.linalg.norm(parents[name]["kernel"], axis=1).mean(0)
        own = np.linalg.norm(found[name]["kernel"], axis=0)
        np.testing.assert_allclose(own, norms, rtol=1e-5)


def test_without_data_variances_follow_the_norms_of_the_weights(residual):
    _, network, (a, b) = residual
    with jax.enable_x64(True):
        merged = mean(a, b)
        found = merging.repair(merged, stack(a, b), network, ["statistics"]).params

    def norm(params):
        kernel = np.asarray(params["params"]["Conv_1"]["kernel"])
        return np.sqrt((kernel**2).sum((0, 1, 2)))

    variances = [
        np.asarray(p["batch_stats"]["BatchNorm_1"]["var"]) / norm(p) ** 2
        for p in (a, b)
    ]
    expected = sum(variances) / 2 * norm(merged) ** 2
    own = np.asarray(found["batch_stats"]["BatchNorm_1"]["var"])
    np.testing.assert_allclose(own, expected, rtol=1e-4)


def test_merge_repairs_on_the_data_of_the_task(residual):
    _, network, parents = residual
    task = symmerge_jax.Task(X.astype(np.float32))
    parents = jax.tree.map(lambda x: np.asarray(x, np.float32), parents)
    plain = symmerge_jax.merge(parents, network, task=task)
    found = symmerge_jax.merge(
        parents, network, task=task, repair=["statistics", "least_squares"]
    )
    assert plain.repair is None
    assert found.repair is not None and found.repair.fits
    by_hand = merging.repair(
        plain.params,
        plain.aligned,
        network,
        ["statistics", "least_squares"],
        inputs=task.data,
    )
    assert distance(by_hand.params, found.params) < 1e-5


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
