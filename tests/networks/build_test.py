import jax
import numpy as np
import pytest

from symmerge_jax import networks


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
