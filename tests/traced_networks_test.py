"""Any JAX function as a network: what is derived, and what all verbs make of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import Task, alignment, networks, symmetry, testing
from symmerge_jax.symmetry import Group

HAND = networks.mlp((3, 6, 5, 2), "relu")


def attention(params, x):
    """Two heads of three dimensions, without biases; a stream of four values."""
    stream = x @ params["stem"]
    q, k, v = (
        (stream @ params[name]).reshape(*x.shape[:2], 2, 3) for name in ("q", "k", "v")
    )
    weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
    z = jnp.einsum("bhts,bshd->bthd", weights, v).reshape(*x.shape[:2], 6)
    return jnp.tanh(stream + z @ params["out"]) @ params["head"]


SHAPES = dict(stem=(3, 4), q=(4, 6), k=(4, 6), v=(4, 6), out=(6, 4), head=(4, 2))


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def heads(random):
    """The network of attention, its parameters, a twin, and inputs."""
    params = {n: random.normal(size=s).astype("f4") for n, s in SHAPES.items()}
    x = random.normal(size=(4, 5, 3)).astype("f4")
    network = symmerge_jax.trace(attention, params, x)
    return network, params, make_twins(params, network, 1), x


def make_twins(params, network, num):
    twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, num)
    rows = [symmetry.rows(twins, i) for i in range(num)]
    return rows[0] if num == 1 else rows


def assert_close(tree, expected, rtol=2e-5):
    for path, leaf in symmetry.flatten(expected).items():
        got = symmetry.flatten(tree)[path]
        np.testing.assert_allclose(got, leaf, rtol=rtol, atol=rtol, err_msg=str(path))


def test_what_is_derived_is_what_was_written_by_hand(random):
    params = testing.random_params(jax.random.key(0), HAND)
    x = random.normal(size=(7, 3)).astype("f4")
    network = symmerge_jax.trace(HAND.apply, params, x)
    names = {"inputs": "in", "dense_0": "hidden_0", "dense_1": "hidden_1"}
    names |= {"outputs": "out"}
    found = {
        names[space.name]: (space.group, space.size) for space in network.spec.spaces
    }
    sizes = HAND.spec.sizes(params)
    assert found == {s.name: (s.group, sizes[s.name]) for s in HAND.spec.spaces}
    for path, axes in HAND.spec.axes:
        traced = dict(network.spec.axes)[path]
        assert [(names[a.space], a.power) for a in traced] == [
            (a.space, a.power) for a in axes
        ]
    features = network.features(params, x)
    for name, values in HAND.features(params, x).items():
        traced = features[next(k for k, v in names.items() if v == name)]
        np.testing.assert_allclose(traced, values, rtol=1e-6)


def test_heads_their_dimensions_and_what_is_pinned_are_told(heads):
    network, params, *_ = heads
    spaces = {space.name: space for space in network.spec.spaces}
    groups = {name: (space.group, space.over) for name, space in spaces.items()}
    assert groups == {
        "inputs": (Group.TRIVIAL, ()),
        "stem": (Group.SIGN, ()),
        "q.groups": (Group.PERMUTATION, ()),
        "q": (Group.SIGN, ("q.groups",)),
        "q.scale_1": (Group.SCALE, ("q.groups",)),
        "v": (Group.SIGN, ("q.groups",)),
        "v.scale_1": (Group.SCALE, ("q.groups",)),
        "outputs": (Group.TRIVIAL, ()),
    }
    text = network.describe()
    assert "q: 3 permutations and signs for each of q.groups" in text
    assert (
        "v: 3 permutations and signs for each of q.groups, and any invertible" in text
    )
    assert "an output: head[1]" in text
    sizes = network.diagram()["sizes"]
    assert sizes == {"inputs": 3, "stem": 4, "q.groups": 2, "q": 3, "v": 3} | {
        "outputs": 2
    }
    assert network.spec.sizes(params)["q.scale_1"] == 3


@pytest.mark.parametrize("by", ["weights", "activations"])
def test_twins_are_aligned_and_proven(heads, by):
    network, params, twin, x = heads
    options = {}
    if by == "activations":
        options = {"task": Task(data=x), "aligner": alignment.ActivationMatching()}
    found = symmerge_jax.align(params, twin, network, **options)
    assert found.certificate.passed
    assert_close(found.params, params)


def test_closed_forms_and_merges_of_traced_networks(heads):
    network, params, twin, x = heads
    forms = [symmerge_jax.canonicalize(p, network) for p in (params, twin)]
    assert all(form.certificate.passed for form in forms)
    assert_close(forms[0].params, forms[1].params)
    twins = make_twins(params, network, 2)
    merged = symmerge_jax.merge([params, *twins], network)
    # In balanced scales, but one function.
    expected = attention(params, x)
    np.testing.assert_allclose(attention(merged.params, x), expected, atol=1e-4)


def test_one_sample_and_several_inputs_are_inputs(random):
    params = {"a": random.normal(size=(3, 5)), "b": random.normal(size=(2, 5))}
    params = jax.tree.map(np.float32, params) | {"c": np.ones((5, 2), np.float32)}

    def apply(params, x, y):
        hidden = jnp.tanh(x @ params["a"] + y @ params["b"])
        return hidden @ params["c"]

    inputs = jnp.ones((1, 3)), jnp.ones((1, 2))
    network = symmerge_jax.trace(apply, params, *inputs)
    assert network.input_shape == ()
    many = jnp.ones((6, 3)), jnp.ones((6, 2))
    assert network.features(params, many)["a"].shape == (6, 5)
    assert symmerge_jax.align(params, params, network).certificate.passed


def test_shapes_suffice(heads):
    network, params, _, x = heads
    shapes = jax.eval_shape(lambda: (params, x))
    assert symmerge_jax.trace(attention, *shapes).spec == network.spec
