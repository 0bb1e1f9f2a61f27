import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax.alignment import ActivationMatching, StraightThrough, WeightMatching
from tests.alignment import pairs

NAIVE = WeightMatching(starts=("identity",), max_sweeps=0)
SHORT = StraightThrough(
    init=NAIVE, num_steps=20, eval_every=5, batch_size=8, learning_rate=0.3
)


def solve(aligner, problem, seed=0):
    return pairs.compiled(aligner)(jax.random.key(seed), problem)


def midpoint_loss(problem, element):
    moved = pairs.act(element, problem.params_b, spec=problem.spec)
    middle = jax.tree.map(lambda a, b: (a + b) / 2, problem.params_a, moved)
    return problem.task.loss_fn(middle, problem.task.data)


@pytest.mark.parametrize(
    "network", ["small", pytest.param("small_relu", marks=pytest.mark.slow)]
)
def test_objective_is_the_loss_of_the_midpoint_and_falls(network):
    problem = pairs.make_strangers(network)
    result = solve(SHORT, problem)
    start = solve(NAIVE, problem).element
    np.testing.assert_allclose(
        result.objective[0], midpoint_loss(problem, start), rtol=1e-4
    )
    np.testing.assert_allclose(
        result.objective[-1], midpoint_loss(problem, result.element), rtol=1e-4
    )
    assert result.objective[-1] < 0.9 * result.objective[0]
    assert np.all(np.diff(result.objective) <= 0)
    assert result.objective.shape == (5,)
    assert result.num_iters == 20
    assert not result.converged


@pytest.mark.slow
def test_the_gradient_finds_better_midpoints_than_matching_alone():
    problem = pairs.make_strangers("tanh", seed=2)
    aligner = StraightThrough(learning_rate=0.3, num_steps=200, batch_size=40)
    learned = solve(aligner, problem)
    matched = solve(dataclasses.replace(aligner, learning_rate=1e-9), problem)
    assert learned.objective[-1] < 0.95 * matched.objective[-1]
    np.testing.assert_allclose(
        matched.objective[-1],
        midpoint_loss(problem, solve(WeightMatching(), problem).element),
        rtol=1e-5,
    )


@pytest.mark.slow
def test_a_start_that_stays_best_is_returned():
    # Steps this long ruin the latent weights, which end as NaN.
    problem, element = pairs.make_twins("small")
    aligner = dataclasses.replace(
        SHORT, init=ActivationMatching(), learning_rate=1e30, num_steps=40
    )
    result = solve(aligner, problem)
    for name, (perm, scale) in element.items():
        np.testing.assert_array_equal(result.element[name].perm, perm)
        np.testing.assert_array_equal(result.element[name].scale, scale)


def test_minibatches_and_the_samples_that_judge_come_from_the_key():
    problem = pairs.make_strangers("small")
    aligner = pairs.compiled(dataclasses.replace(SHORT, eval_size=10))
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    first, again, other = (aligner(key, problem).objective for key in keys)
    np.testing.assert_array_equal(first, again)
    assert first[0] != other[0]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"permute": False}, {"rescale": False}])
def test_restrictions_hold(options):
    problem = pairs.make_strangers("small")
    element = solve(dataclasses.replace(SHORT, **options), problem).element
    perm, scale = element["hidden_0"]
    order = np.arange(len(perm))
    assert np.all(perm == order) == ("permute" in options)
    assert np.all(scale == 1) == ("rescale" in options)


@pytest.mark.slow
def test_each_option_changes_the_path():
    problem = pairs.make_strangers("tanh")
    aligner = dataclasses.replace(SHORT, num_steps=40, eval_every=1)
    plain = solve(aligner, problem).objective
    for option in ({"momentum": 0.0}, {"num_sweeps": 3}):
        other = solve(dataclasses.replace(aligner, **option), problem).objective
        assert np.any(other != plain)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"data": None}, {}, "StraightThrough needs data"),
        ({"loss_fn": None}, {}, "give the task `loss_fn`"),
        ({}, {"batch_size": 41}, "batch_size=41 is more than the 40 samples"),
        ({}, {"eval_size": 50}, "eval_size=50 is more than the 40 samples"),
        ({"loss_fn": lambda params, data: jnp.zeros(3)}, {}, "one number"),
    ],
)
def test_problems_without_a_task_are_refused(changes, options, message):
    problem = pairs.with_task(pairs.make_strangers("tanh"), **changes)
    with pytest.raises(ValueError, match=message):
        jax.jit(dataclasses.replace(SHORT, **options))(jax.random.key(0), problem)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"momentum": 1.0}, r"in \[0, 1\), got 1.0"),
        ({"num_steps": 0}, "num_steps must be >= 1, got 0"),
        ({"num_steps": 15}, "multiple of eval_every"),
        ({"eval_every": 0}, "eval_every must be >= 1, got 0"),
        ({"num_sweeps": 0}, "num_sweeps must be > 0"),
        ({"batch_size": 0}, "batch_size must be > 0"),
        ({"eval_size": 0}, "eval_size must be > 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        StraightThrough(**options)
