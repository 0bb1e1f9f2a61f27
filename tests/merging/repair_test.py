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


def test_temperature_gives_outputs_their_size_also_behind_a_transposition():
    def apply(params, x):
        return (jnp.tanh(x @ params["a"]) @ params["b"]).T

    generator = np.random.default_rng(4)
    x = generator.normal(size=(100, 3))
    parents = [
        {"a": generator.normal(size=(3, 8)), "b": generator.normal(size=(8, 2))}
        for _ in range(2)
    ]
    with jax.enable_x64(True):
        network = symmerge_jax.trace(apply, parents[0], x[:2])
        found = merging.repair(
            mean(*parents), stack(*parents), network, ["temperature"], inputs=x
        ).params
        sizes = [
            float(jnp.sqrt(jnp.var(apply(p, x), 1).sum())) for p in (found, *parents)
        ]
    np.testing.assert_array_equal(found["a"], mean(*parents)["a"])
    assert abs(sizes[0] - (sizes[1] + sizes[2]) / 2) < 1e-9


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


def test_classes_in_another_order_are_named(caplog):
    network = networks.mlp((3, 8, 4), "relu")
    x = np.random.default_rng(5).normal(size=(100, 3)).astype(np.float32)
    one = network.init(jax.random.key(0))
    order = np.array([0, 2, 1, 3])
    other = {**one, "dense_1": jax.tree.map(lambda x: x[..., order], one["dense_1"])}
    merging.repair(one, stack(one, one), network, ["bias"], inputs=x)
    assert not caplog.text
    merging.repair(one, stack(one, other), network, ["bias"], inputs=x)
    assert "output 1 of parent 0 is like output 2 of parent 1" in caplog.text
