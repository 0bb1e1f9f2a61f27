import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, training, zoo

NETWORK = networks.mlp((2, 8, 2))


@pytest.fixture(scope="module")
def blobs():
    """Two classes that a line can divide, 64 points."""
    generator = np.random.default_rng(0)
    labels = np.arange(64) % 2
    inputs = generator.normal(size=(64, 2)) + 4.0 * labels[:, None]
    return inputs.astype(np.float32), labels


def train(blobs, *, num_networks=2, start=None, seed=0, **options):
    options = zoo.EpochOptions(
        **{"num_epochs": 4, "batch_size": 16, "learning_rate": 0.02, **options}
    )
    plan = zoo.train_classifiers(
        NETWORK, *blobs, num_networks=num_networks, seed=seed, options=options
    )
    losses = []
    log = training.Hook(1, lambda *x: losses.append(x[2]["loss"]), needs_state=False)
    state = training.train(
        plan.state if start is None else start,
        plan.step_fn,
        plan.batch_fn,
        num_steps=options.num_epochs,
        hooks=[log],
    )
    return state, losses


def test_training_learns_and_networks_differ(blobs):
    state, losses = train(blobs, num_epochs=20)
    assert losses[-1] < losses[0] / 2
    evaluate = jax.vmap(networks.evaluate_classifier, (None, 0, None, None))
    found = evaluate(NETWORK.apply, state.params, *map(jnp.asarray, blobs))
    assert (found["accuracy"] > 0.95).all()
    first, second = state.params["dense_0"]["kernel"]
    assert np.abs(first - second).max() > 0.1


def test_a_network_does_not_depend_on_the_others(blobs):
    """Same initialisation, order of the data and steps as when trained alone."""
    alone, _ = train(blobs, num_networks=1)
    among, _ = train(blobs, num_networks=3)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x[0], y[0], rtol=1e-4, atol=1e-5),
        alone.params,
        among.params,
    )
    other, _ = train(blobs, num_networks=1, seed=1)
    assert np.abs(other.params["dense_0"]["kernel"] - alone.params["dense_0"]["kernel"]).max() > 0.1  # fmt: skip  # noqa: E501


def test_a_resumed_run_is_the_uninterrupted_one(blobs):
    options = {"schedule": "constant"}
    whole, _ = train(blobs, **options)
    half, _ = train(blobs, num_epochs=2, **options)
    resumed, _ = train(blobs, start=half, **options)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)


def test_epochs_use_every_example_once_in_an_order_of_their_own(blobs):
    plan = zoo.train_classifiers(
        NETWORK, *blobs, options=zoo.EpochOptions(batch_size=16)
    )
    order = plan.batch_fn(3)
    assert order.shape == (4, 2, 16)
    for index in range(2):
        np.testing.assert_array_equal(np.sort(order[:, index].ravel()), np.arange(64))
    assert (order[:, 0] != order[:, 1]).any()
    assert (order != plan.batch_fn(4)).any()
    np.testing.assert_array_equal(order, plan.batch_fn(3))


def test_weight_decay_and_schedule_take_part(blobs):
    plain, _ = train(blobs)
    for options in ({"weight_decay": 5.0}, {"schedule": "cosine"}):
        other, _ = train(blobs, **options)
        norms = [np.linalg.norm(s.params["dense_1"]["kernel"]) for s in (plain, other)]
        assert norms[1] < norms[0], options


@pytest.mark.slow
def test_evaluation_is_the_formula_whatever_the_batch(blobs, key):
    inputs, labels = map(jnp.asarray, blobs)
    params = NETWORK.init(key)
    logits = NETWORK.apply(params, inputs)
    chosen = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    expected = {
        "loss": np.mean(jax.nn.logsumexp(logits, axis=1) - chosen),
        "accuracy": np.mean(logits.argmax(1) == labels),
    }
    for batch_size in (10, 64, 1000):
        found = networks.evaluate_classifier(
            NETWORK.apply, params, inputs, labels, batch_size=batch_size
        )
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"inputs": np.zeros((64, 3), np.float32)},
            r"reads inputs \[S, 2\], .*\(64, 3\)",
        ),
        ({"inputs": np.zeros((60, 2), np.float32)}, r"got \(60, 2\) and \(64,\)"),
        ({"labels": np.full(64, 2)}, r"Labels of the data lie in 2\.\.2, .* 2 outputs"),
        ({"batch_size": 65}, "batch of 65 is larger than the 64"),
        ({"num_networks": 0}, "must be >= 1, got 0"),
        ({"num_epochs": 0}, "must be >= 1, got 2, 0"),
    ],
)
def test_what_does_not_fit_is_refused(blobs, change, message):
    names = ("num_epochs", "batch_size")
    options = {"batch_size": 16, **{k: v for k, v in change.items() if k in names}}
    arguments = {"inputs": blobs[0], "labels": blobs[1]}
    arguments |= {k: v for k, v in change.items() if k not in names}
    with pytest.raises(ValueError, match=message):
        zoo.train_classifiers(NETWORK, **arguments, options=zoo.EpochOptions(**options))
