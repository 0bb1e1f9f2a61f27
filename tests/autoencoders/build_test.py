import math

import jax
import numpy as np
import pytest

from symmerge_jax import autoencoders, metanets, networks, symmetry

PUBLISHED = (
    {"kind": "siren", "layer_sizes": [2, 32, 32, 1]},
    {"kind": "scale_gmn", "width": 128, "num_layers": 4, "num_probes": 0},
    {"hidden_multipliers": (2, 4), "head": "plain"},
)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_the_published_model_has_its_number_of_parameters(describe):
    architecture, encoder, decoder = PUBLISHED
    statistics = describe(architecture=architecture)[-1]
    model = autoencoders.build(architecture, encoder, decoder, statistics)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    assert set(variables) == {"encoder", "decoder"}
    assert count(variables["encoder"]) == 1_936_256 - 33_280
    assert count(variables["decoder"]) == 772_513


@pytest.mark.parametrize(
    ("architecture", "width", "total"),
    [
        (PUBLISHED[0], 128, 1_990_945),
        # 1,792 less than published: a table of activations that nothing reads.
        (
            {"kind": "cnn", "image_shape": [32, 32, 1], "channels": [16, 16, 16]},
            256,
            11_665_514 - 1_792,
        ),
    ],
    ids=["inr", "cnn"],
)
def test_the_published_baseline_has_its_number_of_parameters(
    architecture, width, total
):
    network = networks.build(architecture)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    statistics = dict.fromkeys(symmetry.flatten(shapes), (0.0, 1.0))
    encoder = {"kind": "neural_graphs", "width": width, "num_layers": 4}
    model = autoencoders.build(architecture, encoder, PUBLISHED[2], statistics)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    trained = variables["encoder"]["params"], variables["decoder"]
    assert count(trained) == total


def test_options_reach_their_module(describe):
    def sizes(encoder=(), decoder=()):
        model = autoencoders.build(*describe(encoder, decoder))
        variables = jax.eval_shape(model.init, jax.random.key(0))
        return {name: count(tree) for name, tree in variables.items()}

    base = sizes()
    more = sizes({"num_layers": 2})
    assert more["encoder"] > base["encoder"] and more["decoder"] == base["decoder"]
    latents = sizes({"latent_size": 6})
    assert latents["decoder"] == base["decoder"] + 2 * 8
    assert sizes(decoder={"hidden_multipliers": [0.5]})["decoder"] == (
        2 * 5 + 3 * (2 * 4 + 4 + 16 + 4 + 4 + 1)
    )
    assert set(sizes({"num_probes": 5})) == {"encoder", "probe", "decoder"}
    probe = {"num_layers": 1, "num_probes": 5}
    only = sizes({"num_probes": 5})
    architecture, _, decoder, statistics = describe()
    encoder = {"kind": "probe", "width": 4, **probe}
    del encoder["num_layers"]
    model = autoencoders.build(architecture, encoder, decoder, statistics)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    assert set(variables) == {"probe", "decoder"}
    assert count(variables["probe"]) == only["probe"]


def test_inputs_are_divided_by_their_root_mean_square(describe, monkeypatch):
    seen = {}

    class Spy(metanets.ScaleGMN):
        def __post_init__(self):
            seen["scale"] = self.input_scale
            super().__post_init__()

    monkeypatch.setitem(metanets.ENCODERS, "scale_gmn", Spy)
    architecture, encoder, decoder, statistics = describe({"scale_inputs": True})
    statistics[("dense_1", "kernel")] = (3.0, 4.0)
    statistics[("dense_1", "bias")] = (0.0, 0.0)
    autoencoders.build(architecture, encoder, decoder, statistics)
    biases, kernels = seen["scale"]
    assert kernels[1] == pytest.approx(0.2)
    assert biases[0] == 1.0 and biases[2] == 1.0
    assert biases[1] == pytest.approx((0.0**2 + 0.2**2) ** -0.5)


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        ({"kind": "gmn"}, {}, r"Unknown encoder kind 'gmn'.*'probe', .*'scale_gmn'"),
        ({"kind": None}, {}, "Unknown encoder kind None"),
        ({"widht": 3}, {}, "Encoder of kind 'scale_gmn'.*'widht'"),
        ({}, {"head": "fine"}, "head 'fine' is not one of"),
        ({}, {"depth": 3}, "Decoder: .*'depth'"),
        ({"num_probes": -1}, {}, "num_probes.*-1"),
        ({"kind": "probe", "num_probes": 2}, {}, r"takes no \['num_layers'\]"),
    ],
)
def test_unknown_descriptions_are_refused(describe, encoder, decoder, message):
    with pytest.raises(ValueError, match=message):
        autoencoders.build(*describe(encoder, decoder))


def test_a_probe_encoder_without_probes_is_refused(describe):
    architecture, _, decoder, statistics = describe()
    encoder = {"kind": "probe", "width": 4}
    with pytest.raises(ValueError, match="needs a module of weights, a probe, or both"):
        autoencoders.build(architecture, encoder, decoder, statistics)


def test_statistics_of_another_architecture_are_refused(describe):
    architecture, encoder, decoder, statistics = describe()
    del statistics[("dense_2", "bias")]
    with pytest.raises(ValueError, match=r"Statistics are for .*dense_2/bias"):
        autoencoders.build(architecture, encoder, decoder, statistics)


def test_affine_head_uses_mean_and_std(describe):
    """Output = std * unit output + mean, entry by entry of each tensor."""
    architecture, _, _, statistics = describe()
    statistics[("dense_1", "bias")] = (5.0, 0.0)
    network = autoencoders.build(*describe()).network
    shapes = symmetry.tensor_shapes(network.init(jax.random.key(0)))
    moments = autoencoders.moments_of(statistics, shapes)
    assert moments[[path for path, _ in shapes].index(("dense_1", "bias"))] == (5, 1)

    def decode(moments):
        decoder = autoencoders.MLPDecoder(shapes, (3,), "affine", moments)
        variables = decoder.init(jax.random.key(2), np.ones(4, np.float32))
        return variables, decoder.apply(variables, np.ones((2, 1, 4), np.float32))

    variables, decoded = decode(moments)
    same, unit = decode(((0.0, 1.0),) * len(shapes))
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    for (path, shape), (mean, std) in zip(shapes, moments, strict=True):
        layer, name = path
        assert decoded[layer][name].shape == (2, 1, *shape)
        np.testing.assert_allclose(
            decoded[layer][name], std * unit[layer][name] + mean, rtol=1e-5, atol=1e-6
        )
    del architecture


def test_plain_head_cuts_one_linear_output():
    shapes = ((("a",), (2, 3)), (("b", "c"), (4,)))
    decoder = autoencoders.MLPDecoder(shapes, ())
    latents = np.arange(10.0, dtype=np.float32).reshape(2, 5)
    variables = decoder.init(jax.random.key(0), latents)
    [layer] = variables["params"].values()
    flat = latents @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])[None]
    decoded = decoder.apply(variables, latents)
    np.testing.assert_allclose(decoded["a"], flat[:, :6].reshape(2, 2, 3), rtol=1e-5)
    np.testing.assert_allclose(decoded["b"]["c"], flat[:, 6:], rtol=1e-5)


def test_affine_head_without_moments_is_refused():
    with pytest.raises(ValueError, match="mean and std of 1 tensors, got 0"):
        autoencoders.MLPDecoder(((("a",), (2,)),), (), "affine")


@pytest.mark.parametrize("kind", ["neural_graphs", "relational_transformer"])
def test_neural_graphs_standardise_and_choose_their_latent(describe, kind):
    architecture, _, decoder, statistics = describe()
    encoder = {"kind": kind, "width": 8, "num_layers": 1, "num_frequencies": 3}
    plain, scaled = (
        metanets.build_encoder(
            architecture, encoder | {"scale_inputs": scale}, statistics
        )
        for scale in (False, True)
    )
    num_outputs = architecture["layer_sizes"][-1]
    assert plain.latent_size == 8 * num_outputs
    assert plain.topology.linear_as_conv
    params = plain.network.init(jax.random.key(0))
    variables = jax.jit(plain.init)(jax.random.key(1))
    latents = [jax.jit(e.encode)(variables, params) for e in (plain, scaled)]
    assert np.abs(latents[0] - latents[1]).max() > 1e-3
    build = autoencoders.build(architecture, encoder, decoder, statistics)
    shapes = jax.eval_shape(build.init, jax.random.key(0))
    assert shapes["encoder"]["constants"]["frequencies"]["edges"].shape == (3, 1)


@pytest.mark.parametrize(
    ("kind", "options", "size"),
    [
        ("neural_graphs", {}, 8),
        ("relational_transformer", {"num_heads": 2}, 8),
        ("scale_gmn", {}, 8),
        ("deep_weight_space", {}, 16),
        ("deep_weight_space", {"faithful": True, "num_heads": 2, "max_fixed": 1}, 16),
    ],
)
@pytest.mark.slow
def test_encoders_of_weights_have_features_of_neurons(describe, kind, options, size):
    architecture, _, _, statistics = describe()
    encoder = {"kind": kind, "width": 8, "num_layers": 2, **options}
    assert set(encoder) <= set(metanets.encoder_keys(kind))
    built = metanets.build_node_encoder(architecture, encoder, statistics)
    network = networks.build(architecture)

    def run(key):
        keys = jax.random.split(key, 3)
        return built.features(built.init(key), jax.vmap(network.init)(keys))

    found = jax.eval_shape(run, jax.random.key(0))
    hidden = architecture["layer_sizes"][1:-1]
    assert [x.shape for x in found.values()] == [(3, n, size) for n in hidden]


def test_a_probe_has_no_features_of_neurons(describe):
    architecture, _, _, statistics = describe()
    with pytest.raises(ValueError, match="'probe' has no features of neurons"):
        metanets.build_node_encoder(architecture, {"kind": "probe"}, statistics)


def test_an_encoder_names_its_keys():
    common = {"kind", "width", "latent_size", "num_probes"}
    assert set(metanets.encoder_keys("probe")) == common
    keys = set(metanets.encoder_keys("neural_graphs"))
    assert {"norm", "frequency_scale", "scale_inputs", "input_value"} | common <= keys
    assert not {"topology", "input_moments", "num_heads", "io", "parent"} & keys
    with pytest.raises(ValueError, match="Unknown encoder kind 'gnn'"):
        metanets.encoder_keys("gnn")
