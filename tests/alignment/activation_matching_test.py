import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from symmerge_jax import alignment, symmetry
from symmerge_jax.alignment import ActivationMatching
from symmerge_jax.typing import Task
from tests.alignment import pairs


def solve(aligner, problem):
    return pairs.compiled(aligner)(jax.random.key(0), problem)


def features_of(problem):
    """Features of both networks in double precision, by space."""
    found = (
        problem.task.features_fn(p, problem.task.data)
        for p in (problem.params_a, problem.params_b)
    )
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tuple(found))


def with_features(features_a, features_b, group):
    """A problem with one hidden space and these features, whatever its weights."""
    n = features_a.shape[-1]
    spec = symmetry.SymmetrySpec.create(
        {"kernel": (symmetry.Axis("in", -1), symmetry.Axis("hidden"))},
        [
            symmetry.Space("in", symmetry.Group.TRIVIAL),
            symmetry.Space("hidden", group),
        ],
    )
    which = {"a": 1.0, "b": 2.0}
    params_a, params_b = ({"kernel": jnp.full((1, n), x)} for x in which.values())

    def features_fn(params, data):
        is_a = params["kernel"][0, 0] == which["a"]
        return {"hidden": jnp.where(is_a, data["a"], data["b"])}

    return alignment.AlignmentProblem(
        params_a=params_a,
        params_b=params_b,
        task=Task(
            {"a": jnp.asarray(features_a), "b": jnp.asarray(features_b)},
            features_fn=features_fn,
        ),
        spec=spec,
    )


@pytest.mark.parametrize(
    ("similarity", "chunk_size"),
    [("inner_product", 1000), ("inner_product", 10), ("correlation", 7)],
)
def test_streamed_matching_is_that_of_all_data(similarity, chunk_size):
    problem = pairs.make_strangers("tanh")
    aligner = ActivationMatching(similarity=similarity, chunk_size=chunk_size)
    result = solve(aligner, problem)
    features_a, features_b = features_of(problem)
    total = before = 0.0
    for name, a in features_a.items():
        b = features_b[name]
        if similarity == "correlation":
            a, b = ((x - x.mean(0)) / x.std(0) / 2**0.5 for x in (a, b))
        distance = np.stack(
            [((a[:, :, None] - s * b[:, None]) ** 2).mean(0) for s in (1, -1)]
        )
        rows, columns = optimize.linear_sum_assignment(distance.min(0))
        perm, scale = result.element[name]
        np.testing.assert_array_equal(perm, columns)
        flipped = distance[1] < distance[0]
        np.testing.assert_array_equal(scale < 0, flipped[rows, columns])
        total += distance.min(0)[rows, columns].mean()
        before += np.diagonal(distance[0]).mean()
    np.testing.assert_allclose(result.objective, [before, total], rtol=1e-4)


def test_large_means_cost_no_digits():
    generator = np.random.default_rng(0)
    a = generator.normal(size=(300, 5))
    perm = generator.permutation(5)
    b = a[:, perm]
    problem = with_features(
        np.float32(1e4 + a), np.float32(-2e4 + 3 * b), symmetry.Group.PERMUTATION
    )
    result = solve(ActivationMatching(similarity="correlation", chunk_size=64), problem)
    np.testing.assert_array_equal(result.element["hidden"].perm, np.argsort(perm))
    assert abs(result.objective[-1]) < 1e-5
    offset = solve(ActivationMatching(chunk_size=64), problem)
    assert offset.objective[-1] > 1e8


def test_positions_count_as_samples():
    maps = np.random.default_rng(1).normal(size=(6, 4, 3, 5)).astype(np.float32)
    perm = np.random.default_rng(2).permutation(5)
    flat, moved = maps.reshape(-1, 5), maps[..., perm]
    group = symmetry.Group.PERMUTATION
    aligner = ActivationMatching(similarity="correlation", chunk_size=4)
    found = solve(aligner, with_features(maps, moved, group))
    expected = solve(aligner, with_features(flat, moved.reshape(-1, 5), group))
    np.testing.assert_array_equal(found.element["hidden"].perm, np.argsort(perm))
    np.testing.assert_allclose(found.objective, expected.objective, atol=1e-5)


def test_neurons_without_variance_correlate_with_none():
    a = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
    a[:, 1], a[:, 2] = 0, 0.7
    problem = with_features(a, a[:, ::-1], symmetry.Group.SIGN)
    result = solve(ActivationMatching(similarity="correlation"), problem)
    perm, scale = result.element["hidden"]
    assert sorted(perm.tolist()) == [0, 1, 2, 3]
    assert (perm[0], perm[3]) == (3, 0)
    assert np.all(np.abs(scale) == 1)
    np.testing.assert_allclose(result.objective[-1], 0.5, atol=1e-5)


@pytest.mark.slow
def test_scales_come_from_weights_or_features():
    problem = pairs.make_strangers("relu")
    features_a, features_b = features_of(problem)
    by_features = solve(ActivationMatching(scales="matched"), problem).element
    for name, (perm, scale) in by_features.items():
        rms_a, rms_b = (
            np.sqrt(np.mean(f[name] ** 2, 0)) for f in (features_a, features_b)
        )
        both = (rms_a > 0) & (rms_b[perm] > 0)
        assert both.sum() >= 3
        expected = rms_a[both] / rms_b[perm][both]
        np.testing.assert_allclose(scale[both], expected, rtol=1e-3)
    by_weights = solve(ActivationMatching(), problem).element
    balance_a, balance_b = (
        symmetry.balance_scales(p, problem.spec)
        for p in (problem.params_a, problem.params_b)
    )
    for name, (perm, scale) in by_weights.items():
        expected = balance_b[name].scale[perm] / balance_a[name].scale
        np.testing.assert_allclose(scale, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "options"),
    [("tanh", {"permute": False}), ("tanh", {"rescale": False}), ("relu", {})],
)
def test_restricted_twins_need_restricted_matching_only(network, options):
    twin_options = {"permute": True, "rescale": network == "tanh", **options}
    problem, element = pairs.make_twins(network, **twin_options)
    result = solve(ActivationMatching(**options), problem)
    for name, (perm, scale) in element.items():
        np.testing.assert_array_equal(result.element[name].perm, perm)
        np.testing.assert_allclose(result.element[name].scale, scale, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("tanh", {"permute": False}),
        ("tanh", {"rescale": False}),
        ("relu", {"rescale": False}),
    ],
)
def test_restricted_matching_does_not_undo_everything(network, options):
    problem, _ = pairs.make_twins(network)
    result = solve(ActivationMatching(**options), problem)
    assert result.objective[-1] > 1e-2
    for perm, scale in result.element.values():
        assert options.get("permute", True) or np.all(perm == np.arange(len(perm)))
        assert options.get("rescale", True) or np.all(scale == 1)


def test_missing_parts_and_misfits_are_refused():
    problem = pairs.make_strangers("tanh")
    features = problem.task.features_fn(problem.params_a, problem.task.data)

    def check(message, **changes):
        with pytest.raises(ValueError, match=message):
            jax.jit(ActivationMatching())(
                jax.random.key(0), pairs.with_task(problem, **changes)
            )

    def returning(**changes):
        return lambda params, data: {**features, **changes}

    check("needs data", data=None)
    check("leading axis", data={"inputs": jnp.zeros((3, 2)), "targets": jnp.zeros(2)})
    check("leading axis", data={})
    check("leading axis", data=jnp.zeros((0, 3)))
    check("give the task `features_fn`", features_fn=None)
    check(r"knows \['hidden_0'", features_fn=returning(extra=features["hidden_0"]))
    check("needs", features_fn=lambda params, data: {"hidden_0": features["hidden_0"]})
    check(
        r"'hidden_0' have shape \(40, 5\)",
        features_fn=returning(hidden_0=features["hidden_1"]),
    )
    check(
        r"'hidden_1' have shape \(39, 5\)",
        features_fn=returning(hidden_1=features["hidden_1"][1:]),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "cosine"}, "'cosine'"),
        ({"scales": "none"}, "'none'"),
        ({"chunk_size": 0}, "got 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ActivationMatching(**options)
