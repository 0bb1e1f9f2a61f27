import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import training


def schedule(*args, **options):
    return training.make_optimizer(*args, **options)[1]


def rates(schedule_fn, num_steps):
    return np.array([schedule_fn(step) for step in range(num_steps)])


def test_warmup_is_linear_then_constant():
    k = np.arange(1, 3001)
    found = schedule(1e-3, 3000, 1000)(jnp.arange(3000))
    np.testing.assert_allclose(found, 1e-3 * np.minimum(1, k / 1000), rtol=1e-6)
    np.testing.assert_allclose(rates(schedule(0.5, 3), 3), 0.5)


@pytest.mark.parametrize(
    ("name", "decay"),
    [
        ("linear", lambda p: 1 - 0.9 * p),
        ("cosine", lambda p: 0.1 + 0.9 * (1 + np.cos(np.pi * p)) / 2),
    ],
)
def test_decay_ends_at_the_final_fraction(name, decay):
    found = rates(schedule(2.0, 12, 2, schedule=name, final_fraction=0.1), 14)
    k = np.arange(1, 13)
    expected = 2 * np.minimum(1, k / 2) * decay(np.maximum(0, k - 2) / 10)
    np.testing.assert_allclose(found[:12], expected, rtol=1e-6)
    np.testing.assert_allclose(found[11:], 0.2, rtol=1e-6)  # stays there


def test_update_follows_its_formula():
    with jax.enable_x64(True):
        optimizer, schedule_fn = training.make_optimizer(
            0.1, 10, 2, weight_decay=0.03, clip_norm=1.0, b1=0.8, b2=0.9, eps=1e-3
        )
        params = jnp.array([1.0, -2.0])
        opt_state = optimizer.init(params)
        expected, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
        for k in range(1, 5):
            gradient = np.array([3.0 * k, -4.0])
            updates, opt_state = optimizer.update(
                jnp.asarray(gradient), opt_state, params
            )
            params = params + updates
            gradient = gradient / max(1.0, np.linalg.norm(gradient))
            m = 0.8 * m + 0.2 * gradient
            v = 0.9 * v + 0.1 * gradient**2
            adam = m / (1 - 0.8**k) / (np.sqrt(v / (1 - 0.9**k)) + 1e-3)
            expected = expected - schedule_fn(k - 1) * (adam + 0.03 * expected)
            np.testing.assert_allclose(params, expected, rtol=1e-12)


def test_amsgrad_keeps_the_largest_second_moment():
    moves = []
    for amsgrad in (False, True):
        optimizer, _ = training.make_optimizer(0.1, 10, b2=0.5, amsgrad=amsgrad)
        params = jnp.ones(1)
        opt_state = optimizer.init(params)
        for gradient in (10.0, 0.1, 0.1, 0.1):
            updates, opt_state = optimizer.update(
                jnp.full(1, gradient), opt_state, params
            )
        moves.append(float(jnp.abs(updates)[0]))
    assert moves[1] < moves[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"warmup_steps": -1}, "warmup_steps must not be negative"),
        ({"final_fraction": 1.5}, r"final_fraction must be in \[0, 1\]"),
        ({"schedule": "cosin"}, "schedule must be one of .*constant.*, got 'cosin'"),
        ({"schedule": "cosine", "warmup_steps": 9}, "leaves no step"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"clip_norm": 0.0}, "clip_norm must be positive or None"),
        ({"b1": 1.0}, r"b1 must be in \[0, 1\)"),
        ({"b2": -0.1}, r"b2 must be in \[0, 1\)"),
    ],
)
def test_bad_options_are_refused(options, message, no_type_checks):
    with pytest.raises(ValueError, match=message):
        training.make_optimizer(**{"learning_rate": 0.1, "num_steps": 9, **options})


def test_constants_stay_as_they_are():
    optimizer, _ = training.make_optimizer(0.1, 10, weight_decay=0.5)
    variables = {"a": {"params": jnp.ones(2), "constants": {"b": jnp.ones(2)}}}
    state = optimizer.init(variables)
    updates, _ = optimizer.update(variables, state, variables)
    assert np.all(updates["a"]["params"] < -0.1)
    np.testing.assert_array_equal(updates["a"]["constants"]["b"], 0)
