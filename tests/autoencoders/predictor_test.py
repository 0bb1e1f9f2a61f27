import jax
import numpy as np
import pytest

from symmerge_jax import metanets, symmetry, testing


@pytest.fixture(scope="module")
def model(describe):
    architecture, encoder, _, statistics = describe()
    encoder = metanets.build_encoder(architecture, encoder, statistics)
    return metanets.make_predictor(encoder, 3, hidden_sizes=[5])


@pytest.fixture(scope="module")
def variables(model):
    """Generic parameters; nothing is compiled."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return testing.random_params(jax.random.key(1), shapes, std=0.8)


def test_twins_get_one_prediction(model, variables, key):
    params = testing.random_params(key, model.network)
    twins = symmetry.sample_orbit(key, params, model.network.spec, 4)
    outputs = np.asarray(jax.jit(model.predict)(variables, twins))
    assert outputs.shape == (4, 3)
    assert np.abs(outputs).max() > 0.1
    # Float32 rounding through one message-passing step, readout and head.
    np.testing.assert_allclose(outputs, outputs[:1].repeat(4, 0), atol=2e-5)


def test_variables_are_those_of_the_encoder_and_a_head(model, describe):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert set(shapes) == {"encoder", "head"}
    head = shapes["head"]["params"]
    assert head["Dense_0"]["kernel"].shape == (4, 5)
    assert head["Dense_1"]["kernel"].shape == (5, 3)
    alone = jax.eval_shape(model.encoder.init, jax.random.key(0))
    assert jax.tree.structure(alone["encoder"]) == jax.tree.structure(shapes["encoder"])


def test_a_key_switches_the_dropout_of_the_head_on(describe, key):
    architecture, _, _, statistics = describe()
    probe = {"kind": "probe", "width": 4, "num_probes": 3}
    encoder = metanets.build_encoder(architecture, probe, statistics)
    model = metanets.make_predictor(encoder, 2, hidden_sizes=[32], dropout=0.5)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    variables = testing.random_params(jax.random.key(1), shapes, std=0.8)
    params = testing.random_params(key, model.network)
    predict = jax.jit(model.predict)
    calm, one = predict(variables, params), predict(variables, params, key)
    np.testing.assert_array_equal(one, predict(variables, params, key))
    assert not np.allclose(one, calm)
    assert not np.allclose(one, predict(variables, params, jax.random.key(5)))


@pytest.mark.parametrize("options", [(0,), (2, (0,)), (2, (3,), 1.0), (2, (), -0.1)])
def test_options_of_a_head_are_checked(options):
    with pytest.raises(ValueError, match=r"sizes >= 1 and dropout in \[0, 1\)"):
        metanets.MLPHead(*options)
