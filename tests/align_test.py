import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import Task, alignment, networks, symmetry, testing

NETWORKS = {
    "siren": networks.siren((2, 6, 1)),
    "relu": networks.mlp((3, 6, 2), "relu"),
}
SIREN, RELU = NETWORKS["siren"], NETWORKS["relu"]


@functools.cache
def orbit(name):
    network = NETWORKS[name]
    sample = jax.jit(lambda key, x: symmetry.sample_orbit(key, x, network.spec, 6))
    params = testing.random_params(jax.random.key(0), network)
    return jax.device_get((params, sample(jax.random.key(1), params)))


def make_orbit(name):
    """A network, and six twins of it."""
    return jax.tree.map(np.array, orbit(name))


def pick(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


class Recorder:
    """A solver that finds nothing and writes down what it was given."""

    def __init__(self, scale=1.0):
        self.log = []
        self.scale = scale

    def __call__(self, key, problem):
        self.log.append(problem)
        sizes = problem.spec.sizes(problem.params_a)
        element = symmetry.identity(
            {s.name: sizes[s.name] for s in problem.spec.spaces[1:-1]}
        )
        element = {
            name: symmetry.Monomial(perm, self.scale * scale)
            for name, (perm, scale) in element.items()
        }
        return alignment.AlignmentResult(
            element=element,
            objective=jax.random.normal(key, (1,)),
            converged=jnp.array(True),
            num_iters=jnp.array(0),
            start_objectives=jnp.zeros(1),
        )


@pytest.fixture
def recorder():
    return Recorder()


def test_a_twin_is_moved_back_and_certified():
    params, twins = make_orbit("siren")
    found = symmerge_jax.align(params, pick(twins, 0), SIREN)
    chex.assert_trees_all_equal(found.params, params)
    assert found.result.converged and found.certificate.passed
    assert found.certificate.max_difference < 1e-12


@pytest.mark.slow
def test_scales_are_those_of_the_network_that_stays():
    params, twins = make_orbit("relu")
    found = symmerge_jax.align(params, pick(twins, 0), RELU.spec)
    chex.assert_trees_all_close(found.params, params, rtol=1e-4, atol=1e-6)
    assert found.certificate is None


def test_a_batch_is_every_pair_and_is_compiled_once(recorder):
    params, twins = make_orbit("siren")
    batch_a = jax.tree.map(lambda x: np.broadcast_to(x, (2, 3, *x.shape)), params)
    batch_b = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), twins)
    found = symmerge_jax.align(batch_a, batch_b, SIREN)
    chex.assert_trees_all_equal(found.params, batch_a)
    assert found.result.objective.shape[:2] == (2, 3)
    assert found.certificate.passed.shape == (2, 3)
    options = dict(aligner=recorder, apply=None)
    first = symmerge_jax.align(batch_a, batch_b, SIREN.spec, **options)
    symmerge_jax.align(batch_b, batch_a, SIREN.spec, **options)
    assert len(recorder.log) == 1
    assert len(np.unique(first.result.objective)) == 6, "one key for all pairs"
    other = symmerge_jax.align(
        batch_a, batch_b, SIREN.spec, **options, key=jax.random.key(1)
    )
    assert (other.result.objective != first.result.objective).all()


@pytest.mark.slow
def test_double_precision_is_kept():
    params, twins = make_orbit("siren")
    double = lambda tree: jax.tree.map(lambda x: np.asarray(x, float), tree)  # noqa: E731
    found = symmerge_jax.align(double(params), double(pick(twins, 0)), SIREN.spec)
    for leaf in jax.tree.leaves(found):
        assert isinstance(leaf, np.ndarray)
    chex.assert_trees_all_equal(found.params, double(params))
    assert found.params["dense_0"]["bias"].dtype == np.float64


def test_low_precision_is_solved_in_float32_and_kept(recorder):
    params, twins = make_orbit("siren")
    half = lambda tree: jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)  # noqa: E731
    a, b = half(params), half(pick(twins, 0))
    found = symmerge_jax.align(a, b, SIREN.spec, aligner=recorder)
    assert {x.dtype for x in jax.tree.leaves(recorder.log[0].params_a)} == {
        np.dtype("float32")
    }
    chex.assert_trees_all_equal(found.params, b)
    assert found.params["dense_1"]["kernel"].dtype == jnp.bfloat16


def test_data_and_functions_reach_the_solver(recorder):
    params, twins = make_orbit("siren")
    data = {"x": np.ones((4, 2))}  # float64 data do not change the precision
    found = symmerge_jax.align(
        params,
        pick(twins, 0),
        SIREN.spec,
        task=Task(data, features_fn=SIREN.features, loss_fn=SIREN.apply),
        aligner=recorder,
    )
    [problem] = recorder.log
    assert problem.task.data["x"].shape == (4, 2)
    assert problem.task.features_fn is SIREN.features
    assert problem.task.loss_fn is SIREN.apply
    assert found.params["dense_0"]["bias"].dtype == np.float32


def test_a_solver_without_a_hash_is_compiled_at_every_call():
    class Unhashable(Recorder):
        __hash__ = None  # pyright: ignore

    params, twins = make_orbit("siren")
    solver = Unhashable()
    for _ in range(2):
        symmerge_jax.align(params, pick(twins, 0), SIREN.spec, aligner=solver)
    assert len(solver.log) == 2


@pytest.mark.slow
def test_the_verb_works_inside_jit():
    params, twins = make_orbit("siren")
    inner = jax.jit(lambda a, b: symmerge_jax.align(a, b, SIREN.spec).params)
    chex.assert_trees_all_equal(inner(params, pick(twins, 0)), params)


@pytest.mark.slow
def test_dead_neurons_and_zero_rows_stay_finite():
    params, twins = make_orbit("relu")
    twin = jax.tree.map(np.array, pick(twins, 0))
    for tree in (params := jax.tree.map(np.array, params), twin):
        tree["dense_0"]["kernel"][:, 2] = 0
        tree["dense_0"]["bias"][2] = 0
        tree["dense_1"]["kernel"][3] = 0
    found = symmerge_jax.align(params, twin, RELU)
    assert found.certificate.passed
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found.params))


def test_a_network_without_hidden_layers_has_nothing_to_move():
    network = networks.mlp((3, 2))
    a, b = (network.init(jax.random.key(seed)) for seed in range(2))
    found = symmerge_jax.align(a, b, network)
    chex.assert_trees_all_equal(found.params, b)
    assert found.result.element == {} and found.certificate.max_difference == 0


BAD = {
    "another tree": (lambda b: b.pop("dense_1"), "missing .*'dense_1/bias'"),
    "another shape": (
        lambda b: b["dense_0"].update(bias=np.zeros(4, np.float32)),
        r"'dense_0/bias' has shape \(4,\) .* in params_b, but \(6,\)",
    ),
    "another type": (
        lambda b: b["dense_0"].update(bias=np.zeros(6)),
        "'dense_0/bias' .* float64 in params_b, but .* float32 in params_a",
    ),
    "NaN": (
        lambda b: b["dense_0"]["kernel"].__setitem__((1, 2), np.nan),
        r"params_b: Parameter 'dense_0/kernel' is not finite: nan at index \(1, 2\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_networks_that_do_not_fit_are_refused_before_any_work(name, recorder):
    change, message = BAD[name]
    params, twins = make_orbit("siren")
    twin = jax.tree.map(np.array, pick(twins, 0))
    change(twin)
    with pytest.raises(ValueError, match=message):
        symmerge_jax.align(params, twin, SIREN.spec, aligner=recorder)
    assert not recorder.log


def test_a_wrong_spec_is_refused_before_any_work(recorder):
    params, twins = make_orbit("relu")
    wrong = networks.mlp((3, 6, 2), "tanh").spec
    with pytest.raises(ValueError, match=r"flipping signs of .* space 'hidden_0'"):
        symmerge_jax.align(
            params, pick(twins, 0), wrong, aligner=recorder, apply=RELU.apply
        )
    with pytest.raises(ValueError, match=r"do not fit the spec: missing \[\], unknown"):
        symmerge_jax.align(params, params, networks.mlp((3, 2)).spec, aligner=recorder)
    assert not recorder.log


def test_a_false_element_is_refused():
    """A solver that answers with scales where only signs are allowed."""
    params, twins = make_orbit("siren")

    with pytest.raises(ValueError, match="params_b, when aligned, changed as a funct"):
        symmerge_jax.align(params, pick(twins, 0), SIREN, aligner=Recorder(scale=2.0))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"aligner": alignment.WeightMatching}, TypeError, "must be a solver, as"),
        ({"aligner": "weight_matching"}, TypeError, "got 'weight_matching'"),
        (
            {"task": Task(np.ones((2, 2)))},
            ValueError,
            "features_fn or loss",
        ),
        ({"task": np.ones((2, 2))}, TypeError, "must be a symmerge_jax"),
        ({"inputs": np.ones((2, 2))}, ValueError, "needs the function"),
    ],
)
def test_options_that_cannot_work_are_refused(options, error, message, unchecked):
    params, _ = make_orbit("siren")
    with pytest.raises(error, match=message):
        symmerge_jax.align(params, params, SIREN.spec, **options)


def test_an_empty_batch_is_refused():
    params, _ = make_orbit("siren")
    empty = jax.tree.map(lambda x: np.zeros((0, *x.shape), x.dtype), params)
    with pytest.raises(ValueError, match="zero networks"):
        symmerge_jax.align(empty, empty, SIREN.spec)
