import numpy as np
import pytest

from symmerge_jax import zoo


def linear(num_read, num_written, seed=0):
    generator = np.random.default_rng(seed)
    weight = generator.normal(size=(num_written, num_read)).astype(np.float32)
    return weight, generator.normal(size=num_written).astype(np.float32)


def state_dict(names, sizes):
    result = {}
    for i, name in enumerate(names):
        weight, bias = linear(sizes[i], sizes[i + 1], i)
        result |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return result


@pytest.mark.parametrize(
    "names",
    [
        ["seq.0", "seq.1", "seq.10"],
        ["0", "2", "4"],
        ["module.net.0.linear", "module.net.1.linear", "module.net.2.linear"],
    ],
)
def test_layers_follow_their_numbers(names):
    given = state_dict(names, (2, 5, 4, 1))
    shuffled = dict(reversed(given.items()))
    params = zoo.params_from_sequential(shuffled)
    assert list(params) == ["dense_0", "dense_1", "dense_2"]
    for i, name in enumerate(names):
        layer = params[f"dense_{i}"]
        np.testing.assert_array_equal(layer["kernel"], given[f"{name}.weight"].T)
        np.testing.assert_array_equal(layer["bias"], given[f"{name}.bias"])


@pytest.mark.parametrize(
    "message, change",
    [
        ("several modules", {"other.0.weight": np.zeros((2, 2))}),
        ("'norm.gain'", {"norm.gain": np.zeros(2)}),
        ("needs weight and bias", {"seq.3.weight": np.zeros((2, 1))}),
        ("not linear", {"seq.1.weight": np.zeros((1, 4, 3))}),
        ("not linear", {"seq.1.bias": np.zeros(7)}),
        (
            "dense_0 writes 4 neurons, but dense_1 reads 3",
            {"seq.1.weight": np.zeros((1, 3)), "seq.1.bias": np.zeros(1)},
        ),
    ],
)
def test_other_models_are_refused(message, change):
    with pytest.raises(ValueError, match=message):
        zoo.params_from_sequential(state_dict(["seq.0", "seq.1"], (2, 4, 1)) | change)
