import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import certificates, networks, symmetry, testing
from symmerge_jax.symmetry import Axis, Group

NETWORKS = {
    "siren": networks.siren((2, 6, 5, 1)),
    "relu": networks.mlp((3, 6, 5, 2), "relu"),
    "tanh": networks.mlp((3, 6, 5, 2), "tanh"),
    "gelu": networks.mlp((3, 6, 5, 2), "gelu"),
    "residual": networks.residual_mlp((3, 6, 2), 5, 2),
    "one_neuron": networks.siren((2, 1, 1, 1)),
    "no_hidden": networks.mlp((3, 2)),
}


def draw(network, seed=0):
    return testing.random_params(jax.random.key(seed), network)


def with_spaces(spec, **changes):
    """Change spaces by name."""
    spaces = tuple(
        dataclasses.replace(s, **changes.get(s.name, {})) for s in spec.spaces
    )
    return dataclasses.replace(spec, spaces=spaces)


def with_axes(spec, without=(), **changes):
    """Change the axes of parameters, given as `layer_kind`; drop spaces."""
    axes = tuple((path, changes.get("_".join(path), a)) for path, a in spec.axes)
    spaces = tuple(s for s in spec.spaces if s.name not in without)
    return symmetry.SymmetrySpec(axes, spaces)


def fast_only(names, fast):
    """Mark all names as slow but those that are to be fast."""
    return [n if n in fast else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", fast_only(NETWORKS, ["siren", "no_hidden"]))
@pytest.mark.slow
def test_true_specs_pass_and_their_elements_are_certified(name, key):
    network = NETWORKS[name]
    params = draw(network)
    certificates.check_spec(params, network)
    element = symmetry.sample(key, network.spec, network.spec.sizes(params))
    certificate = certificates.certify(params, element, network)
    assert certificate.passed
    # float64: 1e-16 per operation, amplified by w0 = 30 per layer of the SIREN.
    assert certificate.max_difference <= 1e-13 * certificate.output_scale
    certificate.require("The twin")


def test_float64_is_used_where_jax_has_it_switched_off(key):
    assert not jax.config.jax_enable_x64
    network = NETWORKS["relu"]
    params = draw(network)
    element = symmetry.sample(key, network.spec, network.spec.sizes(params))
    certificate = certificates.certify(params, element, network)
    assert certificate.max_difference.dtype == np.float64
    x = np.linspace(-1, 1, 192, dtype=np.float32).reshape(64, 3)

    @jax.jit
    def in_float32(element):
        twin = symmetry.act(element, params, network.spec)
        return jnp.abs(network.apply(params, x) - network.apply(twin, x)).max()

    difference = in_float32(element)
    assert certificate.max_difference < 1e-5 * difference
    assert jnp.zeros(1).dtype == jnp.float32


def test_a_false_element_does_not_pass(key):
    network, wrong = NETWORKS["relu"], NETWORKS["tanh"].spec
    params = draw(network)
    element = symmetry.sample(key, wrong, wrong.sizes(params))
    certificate = certificates.certify(params, element, wrong, apply=network.apply)
    assert not certificate.passed
    with pytest.raises(
        ValueError, match=r"The twin changed as a function: .*differ by"
    ):
        certificate.require("The twin")


def test_a_batch_is_certified_network_by_network(key):
    network = NETWORKS["tanh"]
    params = draw(network)
    sizes = network.spec.sizes(params)
    twins = jax.tree.map(lambda x: np.stack([x, 2 * x, 3 * x]), params)
    sample = jax.vmap(lambda k: symmetry.sample(k, network.spec, sizes))
    elements = jax.jit(sample)(jax.random.split(key, 3))
    certificate = certificates.certify(twins, elements, network)
    assert certificate.passed.tolist() == [True] * 3
    perm, scale = elements["hidden_1"]
    elements["hidden_1"] = symmetry.Monomial(perm, scale.at[1, 2].multiply(1.01))
    certificate = certificates.certify(twins, elements, network)
    assert certificate.passed.tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"A twin \(number 1\) changed"):
        certificate.require("A twin")


def test_phases_are_folded_on_request(key):
    network = NETWORKS["siren"]
    params = draw(network)
    params["dense_0"]["bias"] += 2 * np.pi / 30
    shifted = symmetry.fold_phases(params, network.spec)
    element = symmetry.sample(key, network.spec, network.spec.sizes(params))

    def certify(**options):
        return certificates.certify(params, element, network, **options)

    exact = certify(fold=True).max_difference
    moved = certificates.compare_functions(params, shifted, network)
    # Folding float32 weights rounds; the certificate folds in float64.
    assert exact < 1e-12 and moved.max_difference > 1000 * exact
    wrong = with_spaces(network.spec, hidden_0={"frequency": 29.0})
    assert not certificates.certify(
        params, {}, wrong, apply=network.apply, fold=True
    ).passed


def test_outputs_that_are_not_finite_do_not_pass():
    network = NETWORKS["gelu"]
    params = draw(network)

    def apply(params, x):
        return jnp.log(network.apply(params, x) - 1e9)

    certificate = certificates.certify(params, {}, network.spec, apply=apply)
    assert not certificate.passed and np.isinf(certificate.max_difference)


def test_inputs_are_given_or_drawn(key):
    network = NETWORKS["gelu"]
    params = draw(network)
    seen = []

    def apply(params, x):
        seen.append((x.shape, x.dtype))
        return network.apply(params, x.astype(float))

    def certify(**options):
        return certificates.certify(params, {}, network.spec, apply=apply, **options)

    default = certify()
    assert seen[-1] == ((16, 3), np.float64)
    certify(input_shape=(7, 3))
    assert seen[-1][0] == (7, 3)
    certify(inputs=np.ones((2, 3), np.uint8))
    assert seen[-1] == ((2, 3), np.uint8)
    assert certify().output_scale == default.output_scale
    assert certify(key=key).output_scale == default.output_scale
    assert certify(key=jax.random.key(9)).output_scale != default.output_scale
    assert certify(inputs=np.zeros((1, 3))).output_scale < default.output_scale
    with pytest.raises(ValueError, match="inputs or input_shape, not both"):
        certify(inputs=np.ones((2, 3)), input_shape=(2, 3))
    with pytest.raises(ValueError, match=r"not take inputs of shape \[\(2, 4\)\]"):
        certify(inputs=np.ones((2, 4)))


TANH, RELU = NETWORKS["tanh"].spec, NETWORKS["relu"].spec
WRONG = {
    "signs on ReLU": ("relu", TANH, "flipping signs of .* 'hidden_0' .*SIGN"),
    "scales on tanh": ("tanh", RELU, "rescaling .* 'hidden_0' .*SCALE"),
    "signs on GELU": ("gelu", TANH, "flipping signs of .* 'hidden_0'"),
    "permuted classes": (
        "relu",
        with_spaces(RELU, out={"group": Group.PERMUTATION}),
        r"permuting .* 'out' .*'dense_2/bias' axis 0 \(written\)",
    ),
    "permuted inputs": (
        "gelu",
        with_spaces(RELU, **{"in": {"group": Group.PERMUTATION}}),
        r"permuting .* 'in' .*'dense_0/kernel' axis 0 \(read\)",
    ),
    "bias left out": (
        "relu",
        with_axes(RELU, dense_1_bias=(None,)),
        r"permuting .* 'hidden_1' .*'dense_1/kernel' axis 1 \(written\), 'dense_2",
    ),
    "scaled where it is read": (
        "relu",
        with_axes(RELU, dense_2_kernel=(Axis("hidden_1", 0), Axis("out"))),
        r"rescaling .* 'hidden_1' .*'dense_2/kernel' axis 0 \(kept\)",
    ),
    "wrong frequency": (
        "siren",
        with_spaces(NETWORKS["siren"].spec, hidden_1={"frequency": 29.0}),
        "folding the phases at frequency 29 of .* 'hidden_1'",
    ),
    "double frequency": (
        "siren",
        with_spaces(NETWORKS["siren"].spec, hidden_0={"frequency": 60.0}),
        "folding the phases at frequency 60 of .* 'hidden_0'",
    ),
}


@pytest.mark.parametrize(
    "name", fast_only(WRONG, ["signs on ReLU", "permuted classes", "wrong frequency"])
)
def test_wrong_specs_are_refused_by_space_and_parameter(name):
    which, spec, message = WRONG[name]
    # Fresh networks: their biases of zeros would fit where the spec leaves them out.
    network = NETWORKS[which]
    params = network.init(jax.random.key(0))
    with pytest.raises(
        ValueError, match=f"The spec does not fit the network: {message}"
    ):
        certificates.check_spec(params, spec, apply=network.apply)


@pytest.mark.slow
def test_two_layers_tied_to_one_space_are_refused():
    network = networks.mlp((3, 5, 5, 2), "gelu")
    first, second = Axis("hidden_0"), Axis("hidden_0", -1)
    spec = with_axes(
        network.spec,
        without=["hidden_1"],
        dense_1_kernel=(None, first),
        dense_1_bias=(first,),
        dense_2_kernel=(second, Axis("out")),
    )
    with pytest.raises(ValueError, match="permuting the neurons of space 'hidden_0'"):
        certificates.check_spec(draw(network), spec, apply=network.apply)


@pytest.mark.slow
def test_check_spec_takes_the_first_of_a_batch(key):
    network = NETWORKS["gelu"]
    twins = symmetry.sample_orbit(key, draw(network), network.spec, 2)
    certificates.check_spec(twins, network, input_shape=(5, 3))
    with pytest.raises(ValueError, match="flipping signs"):
        certificates.check_spec(twins, TANH, apply=network.apply)


def test_a_tolerance_may_be_asked_for():
    network = NETWORKS["tanh"]

    def rounded(params, x):
        single = jax.tree.map(lambda p: p.astype(jnp.float32), params)
        y = network.apply(single, x.astype(jnp.float32))
        # A sum of one's own, which is not followed in float64.
        return jax.lax.reduce(y[None], np.float32(0), lambda a, b: a + b + 0 * a, [0])

    params = draw(network)
    with pytest.raises(ValueError, match="does not fit"):
        certificates.check_spec(params, network.spec, apply=rounded, tolerance=1e-12)
    certificates.check_spec(params, network.spec, apply=rounded, tolerance=1e-4)
    certificates.check_spec(params, network.spec, apply=rounded)
    scaled = {"hidden_0": symmetry.Monomial(np.arange(6), np.full(6, 1.001))}

    def certify(**options):
        return certificates.certify(
            params, scaled, NETWORKS["relu"].spec, apply=network.apply, **options
        )

    assert not certify().passed
    assert certify(tolerance=1e-2).passed
    np.testing.assert_allclose(certify(tolerance=1e-2).tolerance, 1e-2)
    # So much is allowed that nothing would be told.
    assert not certify(tolerance=10.0).passed
