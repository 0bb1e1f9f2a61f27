"""The verb trace: what it refuses, and networks that need care."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import symmerge_jax
from symmerge_jax import networks


def apply(params, x):
    return jax.nn.relu(x @ params["first"]) @ params["last"]


def make(seed, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed))
    return {
        "first": jax.random.normal(keys[0], (3, 8), dtype),
        "last": jax.random.normal(keys[1], (8, 2), dtype),
    }


X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def branches(params, x):
    return apply(params, x) if x.sum() > 0 else x


def calls_float(params, x):
    return apply(params, x) * float(x.sum())


def calls_numpy(params, x):
    return np.tanh(np.asarray(x)) @ params["first"]


@pytest.mark.parametrize("function", [branches, calls_float, calls_numpy])
def test_functions_that_need_values_are_refused(function):
    with pytest.raises(TypeError, match=r"apply is not a pure JAX function: write it"):
        symmerge_jax.trace(function, make(0), X)


def test_what_is_kept_between_calls_is_refused():
    kept = {"mean": jnp.zeros(8)}

    def counts(params, x):
        kept["mean"] += (x @ params["first"]).mean(0)
        return apply(params, x) + kept["mean"].sum()

    network = symmerge_jax.trace(counts, make(0), X)
    for call in (
        lambda: symmerge_jax.trace(counts, make(0), X),
        lambda: symmerge_jax.align(make(0), make(1), network),
    ):
        with pytest.raises(
            TypeError, match=r"not a pure JAX function.*kept from an ea"
        ):
            call()


@pytest.mark.parametrize(
    ("params", "inputs", "message"),
    [
        (
            {"params": make(0)},
            (X,),
            r"params/first, params/last and .*KeyError: 'first'",
        ),
        ([make(0)["first"]], (X,), r"for parameters 0 and .*TypeError: list indices"),
        (make(0), (), r"and no inputs: TypeError: apply\(\) missing .*argument: 'x'"),
        (make(0), (X, X), r"\[4, 3\], \[4, 3\]: TypeError: apply\(\) takes 2"),
        (make(0), (X[:, :2],), r"inputs of shape \[4, 2\]: TypeError: dot_general"),
        ({}, (X,), "params has no arrays of floats, got dict"),
        ({"a": None, "b": 3.0}, (X,), "params has no arrays of floats"),
    ],
)
def test_what_the_function_does_not_take_is_refused(params, inputs, message):
    with pytest.raises(ValueError, match=message) as caught:
        symmerge_jax.trace(apply, params, *inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (make(0), r"must be a function, as the first argument .*got dict"),
        (None, "must be a function"),
        (nn.Dense(2), "got a Dense: pass its method apply"),
    ],
)
def test_what_is_no_function_is_refused(function, message, unchecked):
    with pytest.raises(TypeError, match=message):
        symmerge_jax.trace(function, make(0), X)


def test_inputs_that_are_no_arrays_are_refused():
    with pytest.raises(
        TypeError, match="Input 1 has a str, which is no array: bind it"
    ):
        symmerge_jax.trace(apply, make(0), X, "eval")


def test_outputs_that_depend_on_nothing_are_refused():
    with pytest.raises(ValueError, match="depend on no parameter"):
        symmerge_jax.trace(lambda params, x: 2 * x, make(0), X)


def test_integers_by_their_shape_alone_have_no_values_to_certify():
    def looked_up(params, tokens):
        return jax.nn.relu(params["first"][tokens]) @ params["last"]

    tokens = jax.ShapeDtypeStruct((4,), jnp.int32)
    network = symmerge_jax.trace(looked_up, make(0), tokens)
    with pytest.raises(ValueError, match=r"type int32 by their shape \(4,\) alone"):
        symmerge_jax.align(make(0), make(1), network)
    found = symmerge_jax.align(make(0), make(1), network, inputs=np.arange(3))
    assert found.certificate.passed


def test_parameters_without_effect_are_listed_and_stay():
    params = make(0) | {"extra": jnp.ones((8, 3))}
    network = symmerge_jax.trace(apply, params, X)
    reason = "the outputs do not depend on it"
    assert ("extra[0]", reason) in network.pinned
    assert f"  {reason}: extra[0], extra[1]" in network.describe()
    found = symmerge_jax.align(
        params, make(1) | {"extra": 2 * params["extra"]}, network
    )
    assert (found.params["extra"] == 2).all()


def test_networks_of_which_nothing_moves_are_certified():
    params = {"scale": jnp.ones(())}
    network = symmerge_jax.trace(lambda params, x: params["scale"] * x, params, X)
    assert symmerge_jax.align(params, params, network).certificate.passed


def test_one_array_in_two_places_moves_as_one():
    """A table that is read on both sides stays one table."""

    def tied(params, tokens):
        h = jax.nn.gelu(params["embed"][tokens] @ params["mix"])
        return h @ params["head"].T

    def make_tied(seed):
        keys = jax.random.split(jax.random.key(seed))
        table = jax.random.normal(keys[0], (5, 8))
        mix = jax.random.normal(keys[1], (8, 8))
        return {"embed": table, "mix": mix, "head": table}

    a, b = make_tied(0), make_tied(1)
    network = symmerge_jax.trace(tied, a, jnp.arange(5))
    uses = network.spec.uses(network.spec.matched_spaces[0].name, 1, -1, 0)
    assert {("embed", 1), ("head", 1)} <= {(path[0], axis) for path, axis, _ in uses}
    moved = symmerge_jax.align(a, b, network).params
    np.testing.assert_array_equal(moved["embed"], moved["head"])


def test_deleted_arrays_are_named():
    def deleted(tree):
        jax.tree.map(lambda leaf: leaf.delete(), tree)
        return tree

    network = symmerge_jax.trace(apply, make(0), X)
    for name, call in {
        "params_a": lambda: symmerge_jax.align(deleted(make(0)), make(1), network),
        "network 1": lambda: symmerge_jax.merge([make(0), deleted(make(1))], network),
        "params": lambda: symmerge_jax.canonicalize(deleted(make(0)), network),
    }.items():
        with pytest.raises(ValueError, match=rf"{name}: Parameter 'first' was deleted"):
            call()
    donated = jnp.asarray(X)
    network = symmerge_jax.trace(apply, make(0), donated)
    donated.delete()
    with pytest.raises(ValueError, match="inputs were deleted"):
        symmerge_jax.align(make(0), make(1), network)


def in_its_type(dtype, params, x):
    assert params["first"].dtype == dtype  # as models do that mix no types
    return apply(params, x.astype(dtype))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_models_of_one_type_are_proven_in_float64(dtype):
    a, b = make(0, dtype), make(1, dtype)
    network = symmerge_jax.trace(functools.partial(in_its_type, dtype), a, X)
    found = symmerge_jax.align(a, b, network)
    assert found.certificate.passed
    proof = symmerge_jax.certificates.certify(b, found.result.element, network)
    assert proof.max_difference < 1e-12 * proof.output_scale


@pytest.mark.slow
def test_recurrent_cells_of_flax_are_proven_in_float64():
    class Recurrent(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.RNN(nn.LSTMCell(4))(x)[:, -1])

    x = jax.random.normal(jax.random.key(0), (3, 4, 2))
    model = Recurrent()
    with jax.numpy_rank_promotion("allow"):
        a, b = (model.init(jax.random.key(i), x) for i in (1, 2))
        network = symmerge_jax.trace(model.apply, a, x)
        found = symmerge_jax.align(a, b, network)
    assert found.certificate.passed
    assert found.certificate.tolerance < 1e-10


def test_what_cannot_be_widened_is_proven_in_its_own_type():
    """A callback has the types that it was written for, and the certificate says so."""

    def called_back(params, x):
        hidden = jax.nn.relu(x @ params["first"]) @ params["last"]
        shape = jax.ShapeDtypeStruct(hidden.shape, jnp.float32)
        assert hidden.dtype == jnp.float32
        return jax.pure_callback(np.tanh, shape, hidden, vmap_method="sequential")

    network = symmerge_jax.trace(called_back, make(0), X)
    certificate = symmerge_jax.align(make(0), make(1), network).certificate
    assert certificate.passed
    assert "computed in float32" in certificate.notes.pairs[0][0]


def test_traced_networks_make_no_parameters():
    network = symmerge_jax.trace(apply, make(0), X)
    assert isinstance(network, networks.Network)
    with pytest.raises(TypeError, match="call the initialiser of your model"):
        network.init(jax.random.key(0))
