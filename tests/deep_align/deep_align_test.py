"""Learned similarities of neurons: laws, losses, and the solver made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, deep_align, networks, symmetry
from tests.alignment import pairs

ARCHITECTURES = {
    "relu": {"kind": "mlp", "layer_sizes": (5, 7, 6, 3), "activation": "relu"},
    "siren": {"kind": "siren", "layer_sizes": (2, 6, 5, 1)},
    "cnn": {
        "kind": "cnn",
        "image_shape": (8, 8, 1),
        "channels": (4, 3),
        "num_classes": 3,
        "activation": "tanh",
    },
}
PROBES = {"kind": "probes", "num_probes": 24, "feature_size": 16, "width": 8}
ROUNDS = {"num_rounds": 2}
DWS = {"kind": "deep_weight_space", "width": 4, "num_layers": 1, "feature_size": 8}


def make(name, features, num=2, dtype=np.float32, init=True):
    """Return a matcher, its variables, and random networks."""
    network = networks.build(ARCHITECTURES[name])
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    statistics = {path: (0.0, 1.0) for path in symmetry.flatten(shapes)}
    matcher = deep_align.build(ARCHITECTURES[name], features, statistics)
    random = np.random.default_rng(0)
    draw = lambda x, *axes: random.normal(size=(*axes, *x.shape))  # noqa: E731
    if init:
        variables = jax.jit(matcher.init)(jax.random.key(0))
    else:  # nothing is compiled
        variables = jax.tree.map(
            lambda x: draw(x) / np.sqrt(x.shape[0] if x.ndim > 1 else 4),
            jax.eval_shape(matcher.init, jax.random.key(0)),
        )
        variables["scale"] = 3.0
    params = jax.tree.map(lambda x: 0.1 * draw(x, num), shapes)
    cast = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)  # noqa: E731
    return matcher, cast(variables), cast(params)


def first(params):
    return jax.tree.map(lambda x: x[0], params)


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("cnn", DWS),
        ("relu", DWS | ROUNDS),
        ("siren", PROBES | ROUNDS),
        ("cnn", PROBES | ROUNDS),
    ],
)
@pytest.mark.slow
def test_similarities_move_with_either_network(name, features):
    with jax.enable_x64(True):
        matcher, variables, params = make(name, features, dtype=np.float64, init=False)
        spec = matcher.network.spec
        one = first(params)
        element = symmetry.sample(
            jax.random.key(2),
            spec,
            spec.sizes(one),
            rescale=features["kind"] == "probes",
        )
        limit = float(variables["scale"]) ** 2
        moved = jax.vmap(lambda p: symmetry.act(element, p, spec))(params)
        other = jax.tree.map(lambda x: x[::-1], params)
        run = jax.jit(matcher.similarities)
        plain, left, swapped = (
            jax.device_get(run(variables, a, b))
            for a, b in ((params, other), (moved, other), (other, params))
        )
    for space, found in plain.items():
        perm, scale = (np.asarray(x) for x in element[space])
        sign = np.sign(scale) if matcher.signed else np.ones_like(scale)
        expected = sign[None, :, None] * np.asarray(found)[:, perm]
        np.testing.assert_allclose(left[space], expected, rtol=0, atol=1e-10)
        transposed = np.swapaxes(swapped[space], 1, 2)
        np.testing.assert_allclose(transposed, found, rtol=0, atol=1e-10)
        assert np.std(found) > 0.01 * limit
        if "num_rounds" not in features:
            assert np.abs(found).max() <= limit + 1e-9


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.slow
def test_untrained_probes_undo_every_twin(name):
    matcher, variables, params = make(name, PROBES)
    spec = matcher.network.spec
    # Positive biases: neurons that are zero on all probes cannot be told apart.
    one = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.abs(x[0]) if path[-1].key == "bias" else x[0], params
    )
    solver = deep_align.DeepAlign(matcher=matcher, variables=variables, num_sweeps=0)

    @jax.jit
    def solve(key):
        element = symmetry.sample(key, spec, spec.sizes(one))
        twin = symmetry.act(element, one, spec)
        problem = alignment.AlignmentProblem(params_a=one, params_b=twin, spec=spec)
        return element, solver(key, problem)

    for seed in range(5):
        element, result = solve(jax.random.key(seed))
        inverse = symmetry.inverse(element)
        for space, (perm, scale) in result.element.items():
            np.testing.assert_array_equal(perm, inverse[space].perm)
            if matcher.signed:
                np.testing.assert_array_equal(scale, inverse[space].scale)
        assert -1.001 < result.objective[-1] < -0.5


def test_neurons_that_hardly_speak_have_gradients():
    """As a penalty leaves them: squares of 1e-20 are zero in float32."""
    matcher, variables, params = make("relu", PROBES, init=False)
    faint = np.asarray([1, 1e-10, 1e-15, 1e-20, 1e-35, 0, 1], np.float32)
    params["dense_0"] = {
        name: np.asarray(x) * faint for name, x in params["dense_0"].items()
    }

    @jax.jit
    @jax.grad
    def run(variables):
        found = matcher.similarities(variables, params, params)
        return sum(jnp.sum(x**2) for x in found.values())

    norms = jax.tree.map(lambda x: float(jnp.linalg.norm(x)), run(variables))
    assert all(np.isfinite(x) and x > 0 for x in jax.tree.leaves(norms)), norms


def test_parameters_do_not_depend_on_widths():
    _, variables, _ = make("relu", PROBES, init=False)
    wide = {**ARCHITECTURES["relu"], "layer_sizes": (5, 11, 9, 3)}
    network = networks.build(wide)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    other = deep_align.build(
        wide, PROBES, dict.fromkeys(symmetry.flatten(shapes), (0.0, 1.0))
    )
    params = jax.tree.map(lambda x: np.ones((1, *x.shape), np.float32), shapes)
    found = jax.jit(other.similarities)(variables, params, params)
    assert {name: x.shape for name, x in found.items()} == {
        "hidden_0": (1, 11, 11),
        "hidden_1": (1, 9, 9),
    }


@pytest.mark.parametrize("signed", [False, True])
def test_the_supervised_loss_is_a_cross_entropy_over_candidates(signed):
    random = np.random.default_rng(0)
    logits = random.normal(size=(4, 4)).astype(np.float32)
    perm = np.array([2, 0, 3, 1])
    scale = np.array([1, -1, -1, 1], np.float32) if signed else np.ones(4, np.float32)
    element = {"hidden": symmetry.Monomial(jnp.asarray(perm), jnp.asarray(scale))}
    found = deep_align.supervised_loss(
        {"hidden": jnp.asarray(logits)}, element, signed=signed
    )
    total = 0.0
    for i, j in enumerate(perm):
        wanted = scale[i] * logits[i, j]
        for line in (logits[i], logits[:, j]):
            candidates = np.concatenate([line, -line]) if signed else line
            total += np.log(np.exp(candidates).sum()) - wanted
    assert found == pytest.approx(total / 8, rel=1e-5)


@pytest.mark.slow
def test_training_sees_through_distortions():
    """Twins with noise, as they are trained on: the loss falls, and they are found."""
    import optax

    matcher, variables, params = make("relu", PROBES, num=24)
    spec = matcher.network.spec
    sizes = spec.sizes(first(params))

    def loss_fn(variables, key):
        keys = jax.random.split(key, 3)
        num = len(jax.tree.leaves(params)[0])

        def twin(key, p):
            element_key, noise_key = jax.random.split(key)
            element = symmetry.sample(element_key, spec, sizes, rescale=False)
            copy = deep_align.perturb_weights(noise_key, p, noise=0.3)
            return symmetry.act(element, copy, spec), symmetry.inverse(element)

        twins, elements = jax.vmap(twin)(jax.random.split(keys[0], num), params)
        found = matcher.similarities(variables, params, twins)
        one = lambda q, e: deep_align.supervised_loss(q, e, signed=False)  # noqa: E731
        return jnp.mean(jax.vmap(one)(found, elements))

    optimizer = optax.adam(3e-3)

    @jax.jit
    def train(variables):
        def step(carry, key):
            variables, state = carry
            value, gradient = jax.value_and_grad(loss_fn)(variables, key)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(variables, updates), state), value

        keys = jax.random.split(jax.random.key(5), 60)
        return jax.lax.scan(step, (variables, optimizer.init(variables)), keys)

    _, losses = train(variables)
    assert losses[-5:].mean() < 0.6 * losses[:5].mean()


@pytest.mark.slow
def test_soft_moves_reach_hard_ones_and_have_gradients():
    matcher, _, params = make("siren", PROBES, num=1, init=False)
    spec, one = matcher.network.spec, jax.device_get(first(params))
    element = pairs.draw_element(spec, spec.sizes(one), np.random.default_rng(0))
    moved = symmetry.act(element, one, spec)
    sharp = {
        name: 50 * symmetry.as_matrix(monomial) for name, monomial in element.items()
    }

    @jax.jit
    @jax.value_and_grad
    def loss(similarities):
        soft = deep_align.move_softly(similarities, one, spec, signed=True)
        return deep_align.alignment_loss(soft, moved)

    assert loss(sharp)[0] < 1e-8
    _, gradient = loss({name: 0.1 * x for name, x in sharp.items()})
    assert all(np.isfinite(x).all() and np.abs(x).max() > 0 for x in gradient.values())


def test_the_task_loss_is_that_of_the_mean():
    a, b = ({"w": jnp.asarray([x])} for x in (1.0, 3.0))
    loss_fn = lambda params, data: jnp.sum(params["w"] * data)  # noqa: E731
    found = deep_align.task_loss(loss_fn, a, b, jnp.asarray(0.25), jnp.asarray(2.0))
    assert found == pytest.approx(3.0)


@pytest.mark.slow
def test_sweeps_finish_and_sinkhorn_starts_from_it():
    matcher, variables, params = make("siren", DWS, init=False)
    spec, one = matcher.network.spec, jax.device_get(first(params))
    element = pairs.draw_element(spec, spec.sizes(one), np.random.default_rng(1))
    twin = symmetry.act(element, one, spec)
    problem = alignment.AlignmentProblem(params_a=one, params_b=twin, spec=spec)
    solver = deep_align.DeepAlign(matcher=matcher, variables=variables, num_sweeps=20)
    alone = deep_align.DeepAlign(matcher=matcher, variables=variables, num_sweeps=0)
    assert not matcher.signed
    results = [jax.jit(s)(jax.random.key(0), problem) for s in (solver, alone)]
    distances = [
        float(symmetry.distance(one, symmetry.act(r.element, twin, spec)))
        for r in results
    ]
    assert distances[0] < distances[1]  # the model alone knows no signs
    refined = alignment.SinkhornRebasin(
        similarity_fn=alone.similarities, num_steps=2, eval_every=2, sinkhorn_iters=3
    )
    found = jax.jit(refined)(jax.random.key(0), problem)
    assert set(found.element) == set(results[1].element)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"kind": "probe"}, "Unknown kind of features 'probe'"),
        ({"kind": "probes", "depth": 3}, "Features of kind 'probes'.*depth"),
        ({"kind": "probes", "num_probes": 0}, "num_probes"),
        ({"kind": "deep_weight_space", "num_probes": 3}, "num_probes=3 means nothing"),
        ({"kind": "scale_gmn", "depth": 3}, "Encoder of kind 'scale_gmn'.*depth"),
    ],
)
def test_bad_descriptions_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        make("siren", features)


@pytest.mark.parametrize(
    "options", [{"noise": -1.0}, {"dropout": 1.0}, {"prune": -0.1}]
)
def test_bad_distortions_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        deep_align.perturb_weights(jax.random.key(0), {"w": jnp.ones(3)}, **options)


def test_distortions_are_what_they_say():
    x = np.random.default_rng(0).normal(size=(200, 50)).astype(np.float32)
    change = lambda **options: np.asarray(  # noqa: E731
        deep_align.perturb_weights(
            jax.random.key(1),
            {"w": jnp.asarray(x)},
            **({"noise": 0.0, "dropout": 0.0, "prune": 0.0} | options),
        )["w"]
    )
    np.testing.assert_array_equal(change(), x)
    assert np.std(change(noise=0.1) - x) == pytest.approx(0.1 * x.std(), rel=0.05)
    dropped = change(dropout=0.2)
    assert (dropped == 0).mean() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_allclose(dropped[dropped != 0], x[dropped != 0] / 0.8, rtol=1e-5)
    pruned = change(prune=0.5)
    gone = pruned == 0
    assert 0 < gone.mean() < 0.5
    assert np.abs(x)[gone].max() <= np.abs(x)[~gone].min()
