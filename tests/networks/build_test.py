import copy
import inspect
import pickle

import jax
import numpy as np
import pytest

from symmerge_jax import networks, symmetry, testing


def test_build_passes_every_argument_on(key):
    options = {"w0": 5.0, "first_w0": 9.0, "output_offset": 0.25}
    description = {"kind": "siren", "layer_sizes": [2, 4, 3, 1], **options}
    before = dict(description)
    built = networks.build(description)
    direct = networks.siren((2, 4, 3, 1), **options)
    assert description == before
    assert built.spec == direct.spec
    params = built.init(key)
    jax.tree.map(np.testing.assert_array_equal, params, direct.init(key))
    x = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(built.apply(params, x), direct.apply(params, x))


def test_build_knows_every_kind():
    assert set(networks.KINDS) == {"cnn", "mlp", "residual_mlp", "siren"}
    mlp = networks.build(
        {"kind": "mlp", "layer_sizes": [2, 3, 1], "activation": "gelu"}
    )
    assert mlp.activations == {"hidden_0": "gelu"}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (
            {"kind": "rnn"},
            r"'rnn'; known are \['cnn', 'mlp', 'residual_mlp', 'siren'\]",
        ),
        ({"layer_sizes": [2, 1]}, r"kind None; known are"),
        ({"kind": "mlp"}, "kind 'mlp'.*layer_sizes"),
        ({"kind": "siren", "omega": 3.0}, "kind 'siren'.*omega"),
        ({"kind": "siren", "layer_sizes": [2]}, "at least input and output"),
    ],
)
def test_build_refuses_descriptions_that_name_no_network(description, message):
    with pytest.raises(ValueError, match=message):
        networks.build(description)


ALL = {
    "cnn": {"image_shape": [9, 9, 1], "channels": [3, 2], "readout": "flatten"},
    "mlp": {"layer_sizes": [3, 4, 2], "activation": "tanh", "use_bias": False},
    "residual_mlp": {"layer_sizes": [3, 4, 2], "hidden_size": 5, "num_blocks": 2},
    "siren": {"layer_sizes": [2, 4, 4, 1], "w0": 5.0, "first_w0": 9.0},
}
OTHER = {
    "channels": [3, 3],
    "hidden_size": 6,
    "kernel_size": 2,
    "layer_sizes": [3, 5, 2],
    "num_blocks": 3,
    "num_classes": 3,
    "use_bias": True,
}


def shapes_of(description):
    init = networks.build(description).init
    return jax.tree.map(lambda x: x.shape, jax.eval_shape(init, jax.random.key(0)))


def test_what_the_weights_do_not_tell_is_decisive():
    """Every argument is in `DECISIVE`, or changes the shapes of the weights."""
    assert networks.DECISIVE.keys() == networks.KINDS.keys()
    for kind, options in ALL.items():
        description = {"kind": kind, **options}
        names = inspect.signature(networks.KINDS[kind]).parameters
        assert networks.DECISIVE[kind].keys() <= names.keys()
        for name in names.keys() - networks.DECISIVE[kind].keys():
            changed = shapes_of({**description, name: OTHER[name]})
            assert changed != shapes_of(description), (kind, name)
        networks.build({**description, **networks.DECISIVE[kind]})


def test_undecided_arguments_are_those_that_are_not_given():
    assert networks.undecided({"kind": "mlp", "layer_sizes": [2, 1]}) == ["activation"]
    given = {"kind": "siren", "w0": 1.0, "output_offset": 0.0}
    assert networks.undecided(given) == ["first_w0"]
    assert networks.undecided({**given, "first_w0": None}) == []
    with pytest.raises(ValueError, match="Unknown network kind 'rnn'; known are"):
        networks.undecided({"kind": "rnn"})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    "duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy]
)
def test_networks_are_pickled_and_copied(key, kind, duplicate):
    network = networks.build({"kind": kind, **ALL[kind]})
    twin = duplicate(network)
    assert (twin.spec, twin.input_shape) == (network.spec, network.input_shape)
    assert twin.activations == network.activations
    params = testing.random_params(key, network)
    x = np.random.default_rng(0).normal(size=(2, *network.input_shape))
    x = x.astype(np.float32)
    for name in ("apply", "features"):
        jax.tree.map(
            np.testing.assert_array_equal,
            getattr(twin, name)(params, x),
            getattr(network, name)(params, x),
        )
    jax.tree.map(np.testing.assert_array_equal, twin.init(key), network.init(key))
    # What a user has replaced is kept, and nothing is built anew.
    other = network._replace(spec=symmetry.SymmetrySpec.create({}, []))
    assert duplicate(other).spec == other.spec
