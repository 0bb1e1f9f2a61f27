import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import symmetry
from symmerge_jax.alignment import ActivationMatching, SinkhornRebasin
from tests.alignment import pairs

SHORT = SinkhornRebasin(num_steps=60, eval_every=5, batch_size=8)


def solve(aligner, problem, seed=0):
    return pairs.compiled(aligner)(jax.random.key(seed), problem)


@functools.cache
def solve_strangers(network, **options):
    problem = pairs.make_strangers(network)
    if options.get("cost", "l2") == "l2":  # needs neither data nor loss
        problem = pairs.with_task(problem, data=None, loss_fn=None)
    return problem, solve(dataclasses.replace(SHORT, **options), problem)


def distance_of(problem, element):
    """Squared distance in the balanced scales of `a`."""
    moved = pairs.act(element, problem.params_b, spec=problem.spec)
    scales = symmetry.balance_scales(problem.params_a, problem.spec)
    balanced = (
        pairs.act(scales, params, spec=problem.spec)
        for params in (problem.params_a, moved)
    )
    return symmetry.distance(*balanced) ** 2


def loss_of(problem, element, lambdas):
    """Mean loss between `a` and the moved `b`."""
    moved = pairs.act(element, problem.params_b, spec=problem.spec)

    def loss(lam):
        mix = functools.partial(lambda a, b, lam: (1 - lam) * a + lam * b, lam=lam)
        mixed = jax.tree.map(mix, problem.params_a, moved)
        return problem.task.loss_fn(mixed, problem.task.data)

    return np.mean([loss(lam) for lam in lambdas])


@pytest.mark.parametrize(
    ("network", "cost", "expected"),
    [
        ("small", "l2", distance_of),
        (
            "small",
            "random_lambda",
            functools.partial(loss_of, lambdas=[0.1, 0.3, 0.5, 0.7, 0.9]),
        ),
        ("small_relu", "midpoint", functools.partial(loss_of, lambdas=[0.5])),
    ],
)
@pytest.mark.slow
def test_objective_is_the_cost_of_the_best_element_and_falls(network, cost, expected):
    problem, result = solve_strangers(network, cost=cost)
    found = expected(problem, result.element)
    np.testing.assert_allclose(result.objective[-1], found, rtol=1e-4)
    assert result.objective[-1] < 0.95 * result.objective[0]
    assert np.all(np.diff(result.objective) <= 0)
    assert result.objective.shape == (13,)
    assert result.num_iters == 60
    assert not result.converged


def test_an_aligner_gives_the_start():
    problem = pairs.make_strangers("small")
    matched = solve(ActivationMatching(), problem)
    result = solve(dataclasses.replace(SHORT, init=ActivationMatching()), problem)
    expected = distance_of(problem, matched.element)
    np.testing.assert_allclose(result.objective[0], expected, rtol=1e-5)
    assert result.objective[-1] < result.objective[0]


@pytest.mark.parametrize(("network", "init_weight"), [("small", 0.6), ("gelu", 0.9)])
def test_the_start_has_the_weight_that_it_is_given(network, init_weight):
    # At the first temperature, before any step; no public number shows it.
    problem, element = pairs.make_twins(network)
    aligner = SinkhornRebasin(init=ActivationMatching(), init_weight=init_weight)

    def relax(problem):
        similarities = aligner._start(jax.random.key(0), problem)
        return aligner._relax(similarities, problem.spec, aligner.temperature)

    matrix = np.asarray(pairs.compiled(relax)(problem)["hidden_0"])
    perm, scale = element["hidden_0"]
    chosen = np.take_along_axis(matrix, perm[:, None], 1)[:, 0]
    np.testing.assert_allclose(chosen * scale, init_weight, atol=0.03)


def test_similarities_give_the_start():
    problem, element = pairs.make_twins("small")
    similarities = {name: symmetry.as_matrix(m) for name, m in element.items()}
    seen = []

    def similarity_fn(params_a, params_b):
        seen.append((params_a, params_b))
        return similarities

    aligner = dataclasses.replace(SHORT, similarity_fn=similarity_fn)
    assert solve(aligner, problem).objective[0] < 1e-8
    assert jax.tree.structure(seen[0][0]) == jax.tree.structure(problem.params_a)
    for wrong in ({}, {"hidden_0": jnp.zeros((4, 5))}):
        aligner = dataclasses.replace(SHORT, similarity_fn=lambda *_, w=wrong: w)
        with pytest.raises(ValueError, match=r"expected {'hidden_0': \(6, 6\)}"):
            aligner(jax.random.key(0), problem)


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        {"final_temperature": None},
        {"temperature": 0.5},
        {"learning_rate": 0.03},
        {"sinkhorn_iters": 1},
        {"gradient": "unrolled", "sinkhorn_iters": 1},
    ],
)
def test_each_option_changes_the_path(option):
    _, plain = solve_strangers("small", eval_every=1)
    _, other = solve_strangers("small", eval_every=1, **option)
    assert np.any(other.objective != plain.objective)


@pytest.mark.slow
def test_both_gradients_agree_once_sinkhorn_has_converged():
    options = {"sinkhorn_iters": 200, "num_steps": 10, "eval_every": 1}
    _, implicit = solve_strangers("small", **options)
    _, unrolled = solve_strangers("small", gradient="unrolled", **options)
    np.testing.assert_allclose(implicit.objective, unrolled.objective, rtol=1e-4)
    assert implicit.objective[-1] < implicit.objective[0]


@pytest.mark.slow
def test_a_loss_that_is_always_nan_has_no_element():
    problem, element = pairs.make_twins("small")
    loss_fn = problem.task.loss_fn
    broken = pairs.with_task(
        problem, loss_fn=lambda p, data: loss_fn(p, data) * jnp.nan
    )
    aligner = dataclasses.replace(SHORT, cost="midpoint", init=ActivationMatching())
    result = solve(aligner, broken)
    for name in element:
        assert np.all(np.asarray(result.element[name].perm) == -1)
        assert np.all(np.isnan(result.element[name].scale))
    assert np.all(np.isinf(result.objective))
    with pytest.raises(ValueError, match="is not finite for any element"):
        aligner(jax.random.key(0), broken)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"permute": False}, {"rescale": False}])
def test_restrictions_hold(options):
    _, result = solve_strangers("small", **options)
    perm, scale = result.element["hidden_0"]
    order = np.arange(len(perm))
    assert np.all(perm == order) == ("permute" in options)
    assert np.all(scale == 1) == ("rescale" in options)


def test_task_losses_need_data():
    problem = pairs.with_task(pairs.make_strangers("small"), loss_fn=None)
    for cost in ("midpoint", "random_lambda"):
        aligner = dataclasses.replace(SHORT, cost=cost)
        with pytest.raises(ValueError, match="SinkhornRebasin needs a loss"):
            aligner(jax.random.key(0), problem)
    problem = pairs.make_strangers("small")
    aligner = dataclasses.replace(SHORT, cost="midpoint", batch_size=41)
    with pytest.raises(ValueError, match="batch_size=41 is more than the 40 samples"):
        aligner(jax.random.key(0), problem)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": "l1"}, "'l1'"),
        ({"gradient": "none"}, "'none'"),
        ({"init_weight": 0.5}, "got 0.5"),
        ({"init": ActivationMatching(), "similarity_fn": dict}, "not both"),
        ({"learning_rate": -1.0}, "learning_rate must be > 0"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"final_temperature": 0.0}, "final_temperature must be > 0"),
        ({"sinkhorn_iters": 0}, "sinkhorn_iters must be > 0"),
        ({"num_steps": 11}, "multiple of eval_every"),
        ({"batch_size": 0}, "batch_size must be > 0"),
        ({"eval_size": 0}, "eval_size must be > 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SinkhornRebasin(**options)
