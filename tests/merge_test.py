import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import alignment, networks, symmetry, testing

NETWORKS = {
    "siren": networks.siren((2, 6, 1)),
    "relu": networks.mlp((3, 6, 5, 2), "relu"),
}
SIREN, RELU = NETWORKS["siren"], NETWORKS["relu"]


@functools.cache
def orbit(name):
    network = NETWORKS[name]
    sample = jax.jit(lambda key, x: symmetry.sample_orbit(key, x, network.spec, 3))
    return sample(jax.random.key(1), testing.random_params(jax.random.key(0), network))


def make_twins(name, num):
    """Twins of one network, in a list."""
    return [
        jax.tree.map(lambda x, k=k: np.array(x[k]), orbit(name)) for k in range(num)
    ]


def stand_still(key, problem):
    """A solver that moves nothing, and compiles at once."""
    sizes = problem.spec.sizes(problem.params_a)
    hidden = {space.name: sizes[space.name] for space in problem.spec.spaces[1:-1]}
    return alignment.AlignmentResult(
        symmetry.identity(hidden),
        jnp.zeros(1),
        jnp.array(True),
        jnp.array(0),
        jnp.zeros(1),
    )


def outputs(network, params):
    x = np.random.default_rng(0).uniform(
        -1, 1, (50, params["dense_0"]["kernel"].shape[0])
    )
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
        return np.asarray(network.apply(double, x))


def test_layers_can_have_weights_of_their_own():
    a, b = make_twins("relu", 2)
    b = jax.tree.map(lambda x: x + 0.1, b)
    own = {"dense_0": (1, 0), "dense_0/bias": (0.25, 0.75), "dense_2/ker": (0, 1)}
    with pytest.raises(ValueError, match="starts with 'dense_2/ker'"):
        symmerge_jax.merge([a, b], RELU, layer_weights=own)
    own["dense_2/kernel"] = own.pop("dense_2/ker")
    found = symmerge_jax.merge([a, b], RELU, layer_weights=own)
    first, second = (symmetry.rows(found.aligned, number) for number in (0, 1))
    expected = jax.tree.map(lambda x, y: (x + y) / 2, first, second)
    expected["dense_0"]["kernel"] = first["dense_0"]["kernel"]
    biases = (x["dense_0"]["bias"] for x in (first, second))
    expected["dense_0"]["bias"] = sum(
        w * x for w, x in zip((0.25, 0.75), biases, strict=True)
    )
    expected["dense_2"]["kernel"] = second["dense_2"]["kernel"]
    chex.assert_trees_all_close(found.params, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["relu", pytest.param("siren", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_the_mean_of_twins_is_a_twin(name):
    network, twins = NETWORKS[name], make_twins(name, 3)
    found = symmerge_jax.merge(twins, network, weights=[0.2, 0.3, 0.5])
    expected = outputs(network, twins[0])
    # Float32 weights: rounding of their mean, amplified by w0 = 30 in the SIREN.
    np.testing.assert_allclose(outputs(network, found.params), expected, atol=1e-4)
    assert found.certificate.passed.tolist() == [True] * 3
    # What is returned is rounded to float32.
    assert found.certificate.max_difference.max() < 1e-6
    naive = jax.tree.map(lambda *x: sum(x) / 3, *twins)
    assert np.abs(outputs(network, naive) - expected).max() > 0.01


def test_aligned_networks_keep_their_function_and_give_the_mean():
    params = [testing.random_params(jax.random.key(k), RELU) for k in range(3)]
    weights = [0.2, 0.3, 0.5]
    found = symmerge_jax.merge(params, RELU.spec, weights=weights)
    for k, one in enumerate(params):
        aligned = jax.tree.map(lambda x, k=k: x[k], found.aligned)
        np.testing.assert_allclose(
            outputs(RELU, aligned), outputs(RELU, one), atol=1e-5
        )
    mean = jax.tree.map(lambda x: np.tensordot(weights, x, 1), found.aligned)
    chex.assert_trees_all_close(found.params, mean, atol=1e-6)
    assert found.certificate is None
    assert found.result.objective[-1] < found.result.objective[0]


def test_phases_are_folded_before():
    """Two twins that differ by periods only, which no group element undoes."""
    [one] = make_twins("siren", 1)
    other = jax.tree.map(np.array, one)
    other["dense_0"]["bias"] += np.float32(2 * np.pi / 30) * np.arange(-3, 3)
    other = jax.tree.map(np.float32, other)
    found = symmerge_jax.merge([one, other], SIREN, aligner=stand_still)
    np.testing.assert_allclose(
        outputs(SIREN, found.params), outputs(SIREN, one), atol=1e-4
    )
    assert np.abs(found.aligned["dense_0"]["bias"]).max() < 1.01 * np.pi / 2 / 30


@pytest.mark.slow
def test_any_solver_can_be_given(key):
    twins = make_twins("siren", 3)
    found = symmerge_jax.merge(
        twins, SIREN.spec, aligner=alignment.Universe(num_starts=2), key=key
    )
    np.testing.assert_allclose(
        outputs(SIREN, found.params), outputs(SIREN, twins[0]), atol=1e-4
    )
    assert found.result.start_objectives.shape == (2,)
    many = alignment.MergeMany(aligner=stand_still, max_sweeps=3)
    found = symmerge_jax.merge(twins, SIREN.spec, aligner=many)
    assert found.result.objective.shape == (4,)
    assert (found.result.objective == found.result.objective[0]).all()


def test_data_and_functions_reach_the_solver():
    twins, seen = make_twins("siren", 2), []

    def solver(key, problem):
        seen.append(problem)
        return stand_still(key, problem)

    symmerge_jax.merge(
        twins,
        SIREN.spec,
        task=symmerge_jax.Task(
            np.ones((4, 2)), features_fn=SIREN.features, loss_fn=SIREN.apply
        ),
        aligner=solver,
    )
    assert seen[0].task.data.shape == (4, 2) and seen[0].task.data.dtype == np.float32
    assert seen[0].task.features_fn is SIREN.features
    assert seen[0].task.loss_fn is SIREN.apply


@pytest.mark.slow
def test_precision_is_kept():
    twins = [make_twins("relu", 1)[0]] * 2
    double = [jax.tree.map(lambda x: np.asarray(x, float), one) for one in twins]
    found = symmerge_jax.merge(
        double, RELU.spec, weights=[1 / 3, 2 / 3], aligner=stand_still
    )
    expected = outputs(RELU, double[0])
    np.testing.assert_allclose(outputs(RELU, found.params), expected, atol=1e-12)
    assert {x.dtype for x in jax.tree.leaves(found.params)} == {np.dtype(float)}
    half = [jax.tree.map(lambda x: x.astype(jnp.bfloat16), one) for one in twins]
    found = symmerge_jax.merge(half, RELU.spec, aligner=stand_still)
    assert {x.dtype for x in jax.tree.leaves(found.aligned)} == {jnp.dtype("bfloat16")}


def test_dead_and_equal_neurons_and_zero_rows():
    twins = make_twins("relu", 3)
    for params in twins:
        params["dense_0"]["kernel"][:, 1] = 0
        params["dense_0"]["bias"][1] = 0
        params["dense_1"]["kernel"][2] = 0
        params["dense_1"]["kernel"][:, 3] = params["dense_1"]["kernel"][:, 4]
        params["dense_1"]["bias"][3] = params["dense_1"]["bias"][4]
    found = symmerge_jax.merge(twins, RELU)
    assert found.certificate.passed.all() and found.result.converged
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


@pytest.mark.parametrize(
    "sizes", [pytest.param((2, 1, 1, 1), marks=pytest.mark.slow), (3, 2)]
)
def test_smallest_networks(sizes):
    network = networks.mlp(sizes, "tanh")
    params = [testing.random_params(jax.random.key(k), network) for k in range(2)]
    found = symmerge_jax.merge(params, network)
    assert found.certificate.passed.all()
    if len(sizes) == 2:
        chex.assert_trees_all_equal(
            found.params, jax.tree.map(lambda a, b: (a + b) / 2, *params)
        )


def test_a_wrong_spec_is_refused_before_any_work():
    wrong, calls = networks.mlp((3, 6, 5, 2), "tanh").spec, []
    with pytest.raises(ValueError, match=r"flipping signs of .* space 'hidden_0'"):
        symmerge_jax.merge(
            make_twins("relu", 2), wrong, aligner=calls.append, apply=RELU.apply
        )
    assert not calls


def set_bias(value):
    def change(params):
        params["dense_0"]["bias"] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda params: params.pop("dense_1"), "network 2 has other .*'dense_1/bias'"),
        (set_bias(np.zeros(4, np.float32)), r"'dense_0/bias' has shape \(4,\).*work 2"),
        (set_bias(np.zeros(6)), "'dense_0/bias' .* float64 in network 2"),
        (
            set_bias(np.full(6, np.inf, np.float32)),
            "network 2: .* 'dense_0/bias' is no",
        ),
    ],
)
def test_networks_that_do_not_fit_are_named(change, message):
    twins = make_twins("siren", 3)
    change(twins[2])
    with pytest.raises(ValueError, match=message):
        symmerge_jax.merge(twins, SIREN.spec)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num": 0}, ValueError, "at least two networks, got 0"),
        ({"num": 1}, ValueError, "two networks, got 1"),
        ({"weights": [0.5, 0.6]}, ValueError, "must sum to 1"),
        ({"layer_weights": {"dense_7": (1, 0)}}, ValueError, "starts with 'dense_7'"),
        (
            {"layer_weights": {"dense_0": (2, -1)}},
            ValueError,
            "'dense_0' must be finite",
        ),
        ({"weights": [1.0]}, ValueError, "1 weights .* for 2 networks"),
        ({"weights": [1.0, 0.0]}, ValueError, "above zero"),
        ({"aligner": alignment.MergeMany}, TypeError, "must be a solver"),
        ({"task": symmerge_jax.Task(np.ones(3))}, ValueError, "features_fn or loss_fn"),
        ({"inputs": np.ones((2, 2))}, ValueError, "needs the function"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message, unchecked):
    options = dict(options)
    twins = make_twins("siren", 2)[: options.pop("num", 2)]
    with pytest.raises(error, match=message):
        symmerge_jax.merge(twins, SIREN.spec, **options)


def test_networks_on_a_leading_axis_are_a_list_of_networks():
    twins = make_twins("relu", 3)
    stacked = jax.tree.map(lambda *x: np.stack(x), *twins)
    one, other = (symmerge_jax.merge(x, RELU.spec) for x in (twins, stacked))
    chex.assert_trees_all_equal(one, other)


def test_anything_but_a_list_of_single_networks_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"got a single tree with leading axes \(\)"):
        symmerge_jax.merge(make_twins("siren", 2)[0], SIREN.spec)
    batch = jax.tree.map(lambda x: np.stack([x, x]), make_twins("siren", 1)[0])
    with pytest.raises(ValueError, match=r"one network per entry .* axes \(2,\)"):
        symmerge_jax.merge([batch, batch], SIREN.spec)


@pytest.mark.parametrize("kind", [alignment.MergeMany, alignment.Universe])
def test_crowds_start_from_the_frame_that_is_given(kind):
    twins = make_twins("siren", 3)
    start = alignment.WeightMatching(starts=("outward",))
    solver = kind(aligner=stand_still, init=start)
    found = symmerge_jax.merge(twins, SIREN.spec, aligner=solver)
    before, *after = found.result.objective
    assert before > 1e-3 and max(after) < 1e-6 * before
    for leaf in jax.tree.leaves(found.aligned):
        np.testing.assert_allclose(leaf, np.stack([leaf[0]] * 3), rtol=0, atol=1e-5)
