"""Numbers of any size, numbers that are none, and statistics of data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import alignment, symmetry
from tests.alignment import pairs

LAYERS = ("dense_0", "dense_1", "dense_2")
SOLVERS = {
    "weight_matching": alignment.WeightMatching(),
    "matched": alignment.WeightMatching(scales="matched"),
    "frank_wolfe": alignment.FrankWolfe(),
}
MAGNITUDES = {
    "huge": (1e20, 1e20, 1e20),
    "tiny": (1e-25, 1e-25, 1e-25),
    "tiny first": (1e-25, 1e20, 1.0),
    "huge first": (1e25, 1e-20, 1e-20),
}


def at_magnitude(params, sizes):
    return {
        layer: jax.tree.map(lambda x, size=size: x * np.float32(size), params[layer])
        for layer, size in zip(LAYERS, sizes, strict=True)
    }


def magnitude_cases():
    for solver in SOLVERS:
        for network in ("relu", "tanh"):
            for magnitude in MAGNITUDES:
                # Scales of their own mix uses of a neuron that lie too far apart.
                if solver == "matched" and network == "relu" and "f" in magnitude:
                    continue
                is_fast = solver == "weight_matching" and magnitude == "huge"
                marks = [] if is_fast else [pytest.mark.slow]
                yield pytest.param(solver, network, magnitude, marks=marks)


@pytest.mark.parametrize(("solver", "network", "magnitude"), list(magnitude_cases()))
def test_twins_are_found_at_any_magnitude(solver, network, magnitude):
    params = at_magnitude(pairs.make_params(network, 0), MAGNITUDES[magnitude])
    spec, generator = pairs.make_network(network).spec, np.random.default_rng(1)
    element = pairs.draw_element(spec, spec.sizes(params), generator)
    twin = jax.tree.map(np.asarray, pairs.act(element, params, spec=spec))
    found = symmerge_jax.align(params, twin, spec, aligner=SOLVERS[solver])
    assert found.result.converged
    assert np.all(np.isfinite(found.result.objective))
    for name, (perm, scale) in symmetry.inverse(element).items():
        np.testing.assert_array_equal(found.result.element[name].perm, perm)
        np.testing.assert_allclose(found.result.element[name].scale, scale, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("count", [2, 3])
def test_twins_are_merged_at_any_magnitude(magnitude, count):
    params = at_magnitude(pairs.make_params("tanh", 0), MAGNITUDES[magnitude])
    spec = pairs.make_network("tanh").spec
    twins = [params]
    for seed in range(1, count):
        generator = np.random.default_rng(seed)
        element = pairs.draw_element(spec, spec.sizes(params), generator)
        twins.append(jax.tree.map(np.asarray, pairs.act(element, params, spec=spec)))
    found = symmerge_jax.merge(twins, spec)
    assert np.all(np.isfinite(found.result.objective))
    for x, y in zip(
        jax.tree.leaves(found.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e20, 1e-25])
@pytest.mark.parametrize("similarity", ["inner_product", "correlation"])
def test_features_of_any_magnitude_are_matched(similarity, size):
    problem, element = pairs.make_twins("gelu")
    features_fn = problem.task.features_fn

    def scaled(params, data):
        found = features_fn(params, data)
        return {name: x * size for name, x in found.items()}

    problem = pairs.with_task(problem, features_fn=scaled)
    solver = alignment.ActivationMatching(similarity=similarity, chunk_size=15)
    result = solver(jax.random.key(0), problem)
    np.testing.assert_array_equal(
        result.element["hidden_0"].perm, element["hidden_0"].perm
    )
    assert np.all(np.isfinite(result.objective))


DATA_SOLVERS = {
    "activation": alignment.ActivationMatching(chunk_size=15),
    "straight_through": alignment.StraightThrough(
        num_steps=2, eval_every=1, batch_size=8
    ),
    "sinkhorn": alignment.SinkhornRebasin(
        cost="midpoint", num_steps=2, eval_every=1, batch_size=8
    ),
}


@pytest.mark.parametrize("solver", DATA_SOLVERS)
def test_data_that_are_not_finite_are_refused_or_marked(solver):
    problem = pairs.make_strangers("small")
    inputs = problem.task.data["inputs"].copy()
    inputs[7, 2] = np.nan
    data = {**problem.task.data, "inputs": inputs}
    spoiled = pairs.with_task(problem, data=data)
    key, spec = jax.random.key(0), problem.spec
    with pytest.raises(ValueError, match=r"'inputs' of the data .* sample 7"):
        DATA_SOLVERS[solver](key, spoiled)
    result = pairs.compiled(DATA_SOLVERS[solver])(key, spoiled)
    assert not result.converged
    assert np.all(np.isnan(result.element["hidden_0"].scale))
    with pytest.raises(ValueError, match=r"hidden_0'.*not finite"):
        alignment.check_element(result.element, spec, spec.sizes(problem.params_a))


def test_features_that_are_not_finite_name_space_and_sample():
    problem = pairs.make_strangers("small")

    def features_fn(params, data):
        values = data["inputs"] @ params["dense_0"]["kernel"]
        return {
            "hidden_0": jnp.where(
                jnp.arange(len(values))[:, None] == 9, jnp.inf, values
            )
        }

    problem = pairs.with_task(problem, features_fn=features_fn)
    with pytest.raises(ValueError, match=r"'hidden_0' are not finite.*sample 9"):
        alignment.ActivationMatching()(jax.random.key(0), problem)


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_that_are_not_finite_are_refused_or_marked(solver):
    problem = pairs.make_strangers("small")
    params = jax.tree.map(np.array, problem.params_b)
    params["dense_0"]["kernel"][1, 2] = np.nan
    problem = dataclasses.replace(problem, params_b=params)
    with pytest.raises(ValueError, match=r"params_b.*dense_0/kernel"):
        SOLVERS[solver](jax.random.key(0), problem)
    result = pairs.compiled(SOLVERS[solver])(jax.random.key(0), problem)
    assert not result.converged
    assert np.all(np.asarray(result.element["hidden_0"].perm) == -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: {"other": g}, "only"),
        (lambda g: {"hidden_0": g._replace(scale=g.scale[:-1])}, "expected 6 neurons"),
        (lambda g: {"hidden_0": g._replace(perm=g.perm * 0)}, "no permutation"),
        (lambda g: {"hidden_0": g._replace(scale=2 * g.scale)}, "signs"),
    ],
)
def test_what_is_no_element_is_refused(change, message):
    spec = pairs.make_network("small").spec
    sizes = spec.sizes(pairs.make_params("small", 0))
    element = symmetry.identity({"hidden_0": 6})
    alignment.check_element(element, spec, sizes)
    batch = jax.tree.map(lambda x: np.stack([x, x]), element)
    alignment.check_element(batch, spec, sizes)
    with pytest.raises(ValueError, match=message):
        alignment.check_element(change(element["hidden_0"]), spec, sizes)


def normalised_spec(weight):
    axis, space, group = symmetry.Axis, symmetry.Space, symmetry.Group
    return symmetry.SymmetrySpec.create(
        {
            "params": {
                "w0": (axis("in", -1), axis("h", 0)),
                "gamma": (axis("h"),),
                "beta": (axis("h"),),
                "w1": (axis("h", -1), axis("out")),
            },
            "batch_stats": {"mean": (axis("h", 0),), "var": (axis("h", 0),)},
        },
        [
            space("in", group.TRIVIAL),
            space("h", group.SCALE),
            space("out", group.TRIVIAL),
        ],
        statistics_weight=weight,
    )


def draw_pair(scale, n=32):
    """The same weights with a little noise, and statistics of other data."""
    generator = np.random.default_rng(0)
    draw = lambda *shape: generator.normal(size=shape).astype(np.float32)  # noqa: E731
    weights = {
        "w0": draw(16, n),
        "gamma": np.abs(draw(n)) + 0.5,
        "beta": draw(n),
        "w1": draw(n, 4),
    }
    noisy = {key: x + 0.05 * draw(*x.shape) for key, x in weights.items()}
    statistics = [
        {"mean": draw(n) * scale**0.5, "var": scale * np.exp(draw(n))} for _ in "ab"
    ]
    a, b = (
        {"params": params, "batch_stats": found}
        for params, found in zip((weights, noisy), statistics, strict=True)
    )
    perm = generator.permutation(n)
    element = {"h": symmetry.Monomial(perm, np.ones(n, np.float32))}
    return a, symmetry.act(element, b, normalised_spec(0.0)), np.argsort(perm)


@pytest.mark.parametrize(
    "solver", ["weight_matching", pytest.param("frank_wolfe", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "scale", [0.1, pytest.param(1.0, marks=pytest.mark.slow), 100.0]
)
def test_statistics_are_moved_and_not_matched(solver, scale):
    a, b, truth = draw_pair(scale)
    spec = normalised_spec(0.0)
    found = symmerge_jax.align(a, b, spec, aligner=SOLVERS[solver])
    np.testing.assert_array_equal(found.result.element["h"].perm, truth)
    variance = b["batch_stats"]["var"][truth]
    np.testing.assert_array_equal(found.params["batch_stats"]["var"], variance)


@pytest.mark.slow
def test_statistics_count_by_their_weight():
    a, b, truth = draw_pair(100.0)
    wrong = []
    for weight in (0.0, 1.0):
        spec = normalised_spec(weight)
        found = symmerge_jax.align(a, b, spec).result.element["h"].perm
        wrong.append(int((np.asarray(found) != truth).sum()))
    assert wrong[0] == 0 < wrong[1]
    stay = symmetry.identity({})
    matrices = [
        alignment.similarity(a, b, stay, normalised_spec(w), "h")
        for w in (0.0, 0.5, 1.0)
    ]
    middle = (matrices[0] + matrices[2]) / 2
    np.testing.assert_allclose(matrices[1], middle, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: alignment.MergeMany(num_starts="3"), TypeError, "num_starts"),
        (lambda: alignment.MergeMany(aligner=alignment.Universe()), TypeError, "many"),
        (lambda: alignment.MergeMany(aligner=3), TypeError, "aligner"),
        (lambda: alignment.Universe(max_sweeps=0), ValueError, "max_sweeps"),
        (lambda: alignment.WeightMatching(max_sweeps=2.5), TypeError, "max_sweeps"),
        (lambda: alignment.WeightMatching(starts="identity"), TypeError, "tuple"),
        (lambda: alignment.WeightMatching(starts=("far",)), ValueError, "far"),
        (
            lambda: alignment.WeightMatching(init=alignment.FrankWolfe),
            TypeError,
            "FrankWolfe()",
        ),
        (lambda: alignment.FrankWolfe(tolerance="1"), TypeError, "tolerance"),
        (lambda: alignment.SinkhornRebasin(num_steps="9"), TypeError, "num_steps"),
        (lambda: alignment.StraightThrough(learning_rate="1"), TypeError, "learning"),
        (lambda: alignment.ActivationMatching(chunk_size=None), TypeError, "chunk"),
    ],
)
def test_wrong_options_are_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("solver", [alignment.MergeMany(), alignment.Universe()])
def test_solvers_for_many_align_no_pairs(solver, unchecked):
    with pytest.raises(TypeError, match="solver for pairs"):
        solver(jax.random.key(0), pairs.make_strangers("small"))
