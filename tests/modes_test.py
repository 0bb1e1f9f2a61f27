"""The verbs under the modes of JAX, and what is remembered between calls."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import _verbs, alignment, networks, programs, symmetry

RELU = networks.mlp((3, 6, 2), "relu")
TANH = networks.mlp((3, 6, 2), "tanh")
X = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)


def pair(network, dtype=np.float32):
    draw = lambda seed: network.init(jax.random.key(seed))  # noqa: E731
    return [jax.tree.map(lambda x: np.array(x, dtype), draw(s)) for s in range(2)]


def loss(params, x):
    return jnp.mean(RELU.apply(params, x) ** 2)


VERBS = {
    "align": lambda a, b: symmerge_jax.align(a, b, RELU).params,
    "activation matching": lambda a, b: (
        symmerge_jax.align(
            a,
            b,
            RELU,
            task=symmerge_jax.Task(X, features_fn=RELU.features),
            aligner=alignment.ActivationMatching(),
        ).params
    ),
    "merge": lambda a, b: symmerge_jax.merge([a, b], RELU).params,
    "canonicalize": lambda a, b: symmerge_jax.canonicalize(b, RELU).params,
    "interpolate": lambda a, b: symmerge_jax.interpolate(a, b, 0.5),
    "barrier": lambda a, b: (
        symmerge_jax.loss_barrier(a, b, loss, num_points=3, data=X).losses
    ),
    "orbit": jax.jit(
        lambda a, b: symmetry.sample_orbit(jax.random.key(0), a, RELU.spec, 2)
    ),
    "distance": jax.jit(lambda a, b: symmetry.canonical_distance(a, b, RELU.spec)),
}
MODES = {
    "without jit": jax.disable_jit,
    "strict promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "x64": lambda: jax.enable_x64(True),
}


@functools.cache
def expected_of(verb):
    return VERBS[verb](*pair(RELU))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "mode"),
    [
        (verb, mode)
        for verb in VERBS
        for mode in MODES
        # Random scales are drawn in the precision of the mode.
        if (verb, mode) != ("orbit", "x64")
        # Programs that others have in them, too, would run step by step twice.
        and (mode != "without jit" or verb not in ("distance", "activation matching"))
    ],
)
def test_verbs_give_the_same_in_every_mode(verb, mode):
    a, b = pair(RELU)
    expected = expected_of(verb)
    with MODES[mode]():
        found = VERBS[verb](a, b)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


PURE = {
    "align": lambda a, b, spec: symmerge_jax.align(a, b, spec).params,
    "merge": lambda a, b, spec: symmerge_jax.merge([a, b], spec).params,
    "canonicalize": lambda a, b, spec: symmerge_jax.canonicalize(b, spec).params,
    "interpolate": lambda a, b, spec: symmerge_jax.interpolate(a, b, 0.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", PURE)
def test_verbs_are_transformed_like_functions(verb):
    a, b = pair(RELU)
    call = lambda a, b: PURE[verb](a, b, RELU.spec)  # noqa: E731
    expected = call(a, b)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, jax.jit(call)(a, b), expected)
    batch = jax.tree.map(lambda x: np.stack([x, x]), (a, b))
    lifted = jax.vmap(call)(*batch)
    jax.tree.map(lambda x, y: close(x[1], y), lifted, expected)


@pytest.mark.parametrize("verb", ["align", "merge"])
def test_certificates_need_values(verb):
    a, b = pair(TANH)

    @jax.jit
    def call(a, b):
        networks = ([a, b],) if verb == "merge" else (a, b)
        return getattr(symmerge_jax, verb)(
            *networks, TANH.spec, apply=TANH.apply
        ).params

    with pytest.raises(TypeError, match=r"pass network\.spec there"):
        call(a, b)


def test_traced_weights_of_a_mean():
    a, b = pair(TANH)
    mean = lambda w: symmerge_jax.merge([a, b], TANH.spec, weights=w).params  # noqa: E731
    weights = np.array([0.3, 0.7], np.float32)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        jax.jit(mean)(weights),
        mean(weights),
    )


def test_a_loss_that_reads_changed_data_is_compiled_again():
    a, b = pair(RELU)
    data = {"x": X}
    closed = lambda params: loss(params, data["x"])  # noqa: E731
    measure = lambda fn: symmerge_jax.loss_barrier(a, b, fn, num_points=3).losses  # noqa: E731
    measure(closed)
    data["x"] = 100 * X
    np.testing.assert_allclose(
        measure(closed), measure(lambda params: loss(params, 100 * X)), rtol=1e-6
    )
    data["x"][:] = 7  # in place
    np.testing.assert_allclose(measure(closed)[0], loss(a, data["x"]), rtol=1e-5)


def test_a_function_that_computes_something_else_is_certified_anew():
    a, b = pair(RELU)
    state = {"power": 1.0}

    def apply(params, x):  # positively homogeneous at first
        hidden = jax.nn.relu(x @ params["dense_0"]["kernel"]) ** state["power"]
        return hidden @ params["dense_1"]["kernel"]

    for params in (a, b):
        params["dense_0"]["bias"][:] = 0
    # Biases are no part of this function, and stay out of the spec's way.
    symmerge_jax.align(a, b, RELU.spec, apply=apply)
    state["power"] = 2.0
    with pytest.raises(ValueError, match="rescaling the neurons of space 'hidden_0'"):
        symmerge_jax.align(a, b, RELU.spec, apply=apply)


def test_functions_that_compute_the_same_share_a_program():
    builds = []

    def build():
        builds.append(1)
        return len(builds)

    same = [lambda x, k=k: k * jnp.sin(x) for k in (2.0, 2.0, 3.0)]
    kept = [
        programs.remembered(build, 5, calls={"fn": (fn, (np.ones(3),))}) for fn in same
    ]
    assert kept == [1, 1, 2]


IMPURE = {
    "float": lambda params: float(params["w"].sum()),
    "numpy": lambda params: np.asarray(params["w"]).sum(),
    "branch": lambda params: 1.0 if params["w"].sum() > 0 else 0.0,
    "loop": lambda params: sum(x.item() for x in params["w"]),
}


@pytest.mark.parametrize("kind", IMPURE)
def test_losses_that_are_no_pure_jax_are_named_or_looped_over(kind):
    a, b = {"w": np.full(3, -1.0, np.float32)}, {"w": np.full(3, 3.0, np.float32)}
    with pytest.raises(TypeError, match=r"loss_fn is not a pure .*pass compiled=False"):
        symmerge_jax.loss_barrier(a, b, IMPURE[kind], num_points=5)
    found = symmerge_jax.loss_barrier(a, b, IMPURE[kind], num_points=5, compiled=False)
    expected = [0, 0, 1, 1, 1] if kind == "branch" else [-3, 0, 3, 6, 9]
    np.testing.assert_allclose(found.losses, expected, atol=1e-6)
    batch = [jax.tree.map(lambda x: np.stack([x, x]), p) for p in (a, b)]
    pairs = symmerge_jax.loss_barrier(
        *batch, IMPURE[kind], num_points=5, compiled=False, num_batch_axes=1
    )
    np.testing.assert_allclose(pairs.losses, [expected] * 2, atol=1e-6)


def test_a_spec_tells_batches_from_single_networks():
    a, b = pair(RELU)
    batch = [jax.tree.map(lambda x: np.stack([x, x, x]), p) for p in (a, b)]
    options = {"num_points": 3, "data": X, "network": RELU}
    assert symmerge_jax.loss_barrier(*batch, loss, **options).barrier.shape == (3,)
    assert symmerge_jax.loss_barrier(a, b, loss, **options).barrier.shape == ()
    with pytest.raises(ValueError, match=r"num_batch_axes=0, .* have 1 lead"):
        symmerge_jax.loss_barrier(*batch, loss, num_batch_axes=0, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"key": 0}, TypeError, r"as jax.random.key\(0\) is"),
        ({"aligner": alignment.MergeMany()}, TypeError, "pass it to merge"),
        ({"apply": "relu"}, TypeError, "apply must be a function"),
        ({"tolerance": 1e-3}, ValueError, "needs the function"),
    ],
)
def test_arguments_of_another_kind_are_named(options, error, message, unchecked):
    a, b = pair(RELU)
    with pytest.raises(error, match=message):
        symmerge_jax.align(a, b, RELU.spec, **options)


def test_what_is_no_architecture_is_named(unchecked):
    a, b = pair(RELU)
    for call in (
        lambda: symmerge_jax.align(a, b, RELU.apply),
        lambda: symmerge_jax.merge([a, b], RELU.apply),
        lambda: symmerge_jax.canonicalize(a, RELU.apply),
    ):
        with pytest.raises(TypeError, match=r"must be a networks\.Network, or a Symm"):
            call()


@pytest.mark.parametrize("verb", ["align", "merge", "canonicalize"])
def test_a_network_proves_and_a_spec_says_that_nothing_was_proven(verb, caplog):
    a, b = pair(RELU)
    params = {"align": (a, b), "merge": ([a, b],), "canonicalize": (a,)}[verb]
    call = getattr(symmerge_jax, verb)
    with caplog.at_level("WARNING", "symmerge_jax"):
        found = call(*params, RELU)
        assert found.certificate.passed.all() and not caplog.records
        _verbs.unproven.clear()
        assert call(*params, RELU.spec).certificate is None
        call(*params, RELU.spec)
    [record] = caplog.records
    assert f"{verb} got only a spec" in record.getMessage()
    with pytest.raises(ValueError, match="apply is that of the network"):
        call(*params, RELU, apply=RELU.apply)


def test_a_network_brings_its_features():
    a, b = pair(RELU)
    aligner = alignment.ActivationMatching()
    by_hand = symmerge_jax.Task(X, features_fn=RELU.features)
    expected = symmerge_jax.align(a, b, RELU, aligner=aligner, task=by_hand)
    for data in (X, {"inputs": X, "labels": np.arange(len(X))}):
        task = symmerge_jax.Task(data)
        found = symmerge_jax.align(a, b, RELU, aligner=aligner, task=task)
        chex.assert_trees_all_equal(found.params, expected.params)
    shapes = rf"shape \[{len(X)}, 2\], and the network reads inputs \[S, 3\]"
    for data, message in (
        (X[:, :2], shapes),
        ({"inputs": X[:, :2]}, shapes),
        ({"x": X, "y": X}, r"have the entries \['x', 'y'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            symmerge_jax.align(a, b, RELU, task=symmerge_jax.Task(data))


@pytest.mark.parametrize("verb", ["align", "merge"])
def test_scales_that_a_type_cannot_hold_are_refused(verb):
    a, b = pair(RELU, np.float16)
    a["dense_0"]["kernel"] *= np.float16(2e-4)  # legal scales, which b cannot take
    a["dense_1"]["kernel"] *= np.float16(5e3)
    for layer in b.values():
        layer["kernel"] *= np.float16(30)
    if verb == "align":
        with pytest.raises(ValueError, match=r"does not fit its data type.*to float32"):
            symmerge_jax.align(a, b, RELU.spec)
    else:  # in balanced scales both fit
        found = symmerge_jax.merge([a, b], RELU.spec)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(found.params))


def test_a_canonical_form_under_a_wrong_spec_is_refused():
    _, b = pair(RELU)
    with pytest.raises(ValueError, match="flipping signs of the neurons of space"):
        symmerge_jax.canonicalize(b, TANH.spec, apply=RELU.apply)
