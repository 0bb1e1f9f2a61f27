import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, certificates, networks, symmetry, testing

NETWORKS = {
    "siren": networks.siren((2, 6, 5, 1)),
    "relu": networks.mlp((3, 6, 5, 2), "relu"),
    "residual": networks.residual_mlp((3, 5, 2), 6),
    "no_hidden": networks.mlp((3, 2)),
}
SOLVERS = {
    "merge_many": alignment.MergeMany(num_starts=2, max_sweeps=20),
    "universe": alignment.Universe(num_starts=2, max_sweeps=20),
}


@functools.cache
def program(name, solver):
    network = NETWORKS[name]

    def solve(key, params_batch, weights):
        problem = alignment.ManyProblem(
            params_batch=params_batch, weights=weights, spec=network.spec
        )
        return SOLVERS[solver](key, problem)

    return jax.jit(solve)


@functools.cache
def orbit(name):
    network = NETWORKS[name]
    sample = jax.jit(lambda key, x: symmetry.sample_orbit(key, x, network.spec, 4))
    params = testing.random_params(jax.random.key(0), network)
    return jax.device_get(sample(jax.random.key(1), params))


def make_twins(name, num, noise=0.0):
    """Twins of one network, each with noise of its own."""
    twins = jax.tree.map(lambda x: x[:num], orbit(name))
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: np.float32(x + noise * generator.normal(size=x.shape)), twins
    )


def move(name, elements, params_batch):
    spec = NETWORKS[name].spec
    act = lambda g, x: symmetry.act(g, x, spec)  # noqa: E731
    return jax.jit(jax.vmap(act))(elements, params_batch)


def spread(params_batch, weights):
    def one(x):
        mean = np.tensordot(weights, x, 1)
        squares = ((x - mean[None]) ** 2).reshape(len(weights), -1).sum(1)
        return (weights * squares).sum()

    return sum(one(np.asarray(x, float)) for x in jax.tree.leaves(params_batch))


CASES = [
    ("siren", "merge_many"),
    pytest.param("siren", "universe", marks=pytest.mark.slow),
    pytest.param("relu", "merge_many", marks=pytest.mark.slow),
    pytest.param("relu", "universe", marks=pytest.mark.slow),
    pytest.param("residual", "merge_many", marks=pytest.mark.slow),
    pytest.param("residual", "universe", marks=pytest.mark.slow),
    ("no_hidden", "merge_many"),
    ("no_hidden", "universe"),
]


@pytest.mark.parametrize(("name", "solver"), CASES)
@pytest.mark.slow
def test_twins_meet_in_one_point(name, solver, key):
    twins = make_twins(name, 4)
    weights = jnp.array([0.1, 0.2, 0.3, 0.4])
    result = program(name, solver)(key, twins, weights)
    moved = move(name, result.elements, twins)
    size = spread(twins, weights) + 1
    assert spread(moved, weights) < 1e-10 * size
    np.testing.assert_allclose(result.objective[-1], 0, atol=1e-6 * size)
    assert result.converged and result.num_iters <= 5
    proof = certificates.certify(twins, result.elements, NETWORKS[name])
    assert proof.passed.all()


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("siren", "merge_many"),
        pytest.param("relu", "merge_many", marks=pytest.mark.slow),
        pytest.param("relu", "universe", marks=pytest.mark.slow),
    ],
)
def test_the_objective_is_the_spread_and_never_rises(name, solver, key):
    network = NETWORKS[name]
    params = make_twins(name, 4, noise=0.3)
    weights = jnp.array([0.1, 0.2, 0.3, 0.4])
    result = program(name, solver)(key, params, weights)
    history = np.asarray(result.objective)
    assert (np.diff(history) <= 0).all() and history[-1] < history[0]
    np.testing.assert_allclose(
        history[-1], spread(move(name, result.elements, params), weights), rtol=1e-4
    )
    balance = lambda x: symmetry.balance_scales(x, network.spec)  # noqa: E731
    scales = jax.jit(jax.vmap(balance))(params)
    balanced = move(name, scales, params)
    np.testing.assert_allclose(history[0], spread(balanced, weights), rtol=1e-4)
    assert result.start_objectives.min() == history[-1]
    assert (history[int(result.num_iters) :] == history[-1]).all()


EACH = ["merge_many", pytest.param("universe", marks=pytest.mark.slow)]


@pytest.mark.parametrize("solver", EACH)
@pytest.mark.slow
def test_cycles_close_bit_for_bit(solver, key):
    params = make_twins("siren", 4, noise=0.5)
    elements = program("siren", solver)(key, params, jnp.full(4, 0.25)).elements

    @jax.jit
    def both_ways(a, b, c):
        first, second = (
            alignment.element_between(elements, *pair) for pair in ((a, b), (b, c))
        )
        return symmetry.compose(second, first), alignment.element_between(
            elements, a, c
        )

    for cycle in [(0, 1, 2), (3, 1, 0), (2, 3, 2)]:
        chex.assert_trees_all_equal(*both_ways(*cycle))


@pytest.mark.slow
def test_cycles_of_pairwise_alignments_need_not_close(key):
    """What the common frame is for: three alignments that contradict each other."""
    params, spec = make_twins("siren", 4, noise=0.5), NETWORKS["siren"].spec

    def pair(a, b):  # by numpy: nothing is compiled
        problem = alignment.AlignmentProblem(params_a=a, params_b=b, spec=spec)
        return alignment.WeightMatching()(key, problem).element

    def between(a, b):
        return pair(*(jax.tree.map(lambda x, k=k: x[k], params) for k in (b, a)))

    around = symmetry.compose(between(1, 2), between(0, 1))
    straight = between(0, 2)
    assert any(
        (x != y).any()
        for x, y in zip(jax.tree.leaves(around), jax.tree.leaves(straight), strict=True)
    )


@pytest.mark.slow
def test_the_frame_is_that_of_the_first_network(key):
    params = make_twins("relu", 4, noise=0.3)
    elements = program("relu", "universe")(key, params, jnp.full(4, 0.25)).elements
    first = jax.tree.map(lambda x: x[0], params)
    balance = jax.jit(lambda x: symmetry.balance_scales(x, NETWORKS["relu"].spec))
    scales = balance(first)
    for name, (perm, scale) in elements.items():
        np.testing.assert_array_equal(perm[0], np.arange(perm.shape[1]))
        np.testing.assert_allclose(scale[0], scales[name].scale, rtol=1e-4)


def test_a_network_with_little_weight_is_not_heard(key):
    params = make_twins("siren", 4, noise=0.2)
    weights = jnp.array([0.5, 0.5 - 2e-6, 1e-6, 1e-6])
    solve = program("siren", "merge_many")
    other = jax.tree.map(lambda x: np.concatenate([x[:2], x[2:] / 2]), params)
    reached = [solve(key, x, weights).objective[-1] for x in (params, other)]
    np.testing.assert_allclose(*reached, rtol=1e-4)
    even = [solve(key, x, jnp.full(4, 0.25)).objective[-1] for x in (params, other)]
    assert abs(even[0] / even[1] - 1) > 0.1


@pytest.mark.slow
def test_two_networks_are_a_pair(key):
    spec = NETWORKS["siren"].spec
    params = make_twins("siren", 2, noise=0.3)
    a, b = (jax.tree.map(lambda x, k=k: x[k], params) for k in range(2))
    pair = alignment.WeightMatching()(
        key, alignment.AlignmentProblem(params_a=a, params_b=b, spec=spec)
    )
    both = program("siren", "merge_many")(key, params, jnp.array([0.3, 0.7]))
    # sum_k w_k |x_k - mean|^2 = w_a w_b |a - b|^2
    np.testing.assert_allclose(both.objective[-1], 0.21 * pair.objective[-1], 1e-5)
    jax.tree.map(
        np.testing.assert_array_equal,
        alignment.element_between(both.elements, 1, 0),
        pair[0],
    )


def test_of_two_networks_the_answer_of_the_solver_is_taken(key):
    """Its objective may be another than the spread, which may rise."""
    params = make_twins("siren", 2)
    params = jax.tree.map(lambda x: np.stack([x[0], x[0]]), params)
    flip = {"hidden_1": symmetry.Monomial(jnp.arange(5), -jnp.ones(5))}

    def solver(key, problem):
        nothing = jnp.zeros(1)
        return alignment.AlignmentResult(flip, nothing, jnp.array(True), 0, nothing)

    problem = alignment.ManyProblem(
        params_batch=params, weights=jnp.array([0.5, 0.5]), spec=NETWORKS["siren"].spec
    )
    pair = jax.jit(alignment.MergeMany(aligner=solver))(key, problem)
    np.testing.assert_array_equal(pair.elements["hidden_1"].scale[1], -np.ones(5))
    assert pair.objective[1] > pair.objective[0] == 0 and pair.num_iters == 1
    crowd = jax.jit(alignment.Universe(aligner=solver, max_sweeps=2))(key, problem)
    np.testing.assert_array_equal(crowd.elements["hidden_1"].scale[1], np.ones(5))


@pytest.mark.parametrize("solver", EACH)
def test_the_best_start_wins_and_the_key_decides(solver, key):
    params = make_twins("siren", 4, noise=0.5)
    solve = program("siren", solver)
    result = solve(key, params, jnp.full(4, 0.25))
    assert result.start_objectives.shape == (2,)
    assert result.start_objectives[0] != result.start_objectives[1]
    assert result.objective[-1] == result.start_objectives.min()
    again = solve(key, params, jnp.full(4, 0.25))
    chex.assert_trees_all_equal(again, result)


@pytest.mark.parametrize("solver", EACH)
def test_equal_neurons_do_not_cycle(solver, key):
    params = jax.tree.map(np.array, make_twins("siren", 4, noise=0.2))
    for leaf in (params["dense_0"]["kernel"], params["dense_0"]["bias"]):
        leaf[..., 1] = leaf[..., 0]
    params["dense_1"]["kernel"][:, 1] = params["dense_1"]["kernel"][:, 0]
    params["dense_1"]["kernel"][..., 3] = 0  # a neuron that reads nothing
    params["dense_1"]["bias"][..., 3] = 0
    result = program("siren", solver)(key, params, jnp.full(4, 0.25))
    assert result.converged and np.isfinite(result.objective).all()


def test_wrong_problems_and_options_are_refused(key):
    spec = NETWORKS["siren"].spec

    def solve(solver, num, weights=None):
        weights = jnp.full(num, 1 / num) if weights is None else weights
        return solver(
            key,
            alignment.ManyProblem(
                params_batch=make_twins("siren", num), weights=weights, spec=spec
            ),
        )

    with pytest.raises(ValueError, match=r"at least two networks .* axes \(1,\)"):
        solve(alignment.MergeMany(), 1)
    with pytest.raises(ValueError, match=r"num_starts=3\) .* there are 2"):
        solve(alignment.Universe(num_starts=3), 2)
    with pytest.raises(ValueError, match="num_starts must be >= 1, got 0"):
        alignment.MergeMany(num_starts=0)
    with pytest.raises(ValueError, match="max_sweeps must be >= 1, got 0"):
        alignment.Universe(max_sweeps=0)
