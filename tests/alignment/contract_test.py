import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, symmetry
from tests.alignment import pairs

ALIGNERS = {
    "weight_matching": alignment.WeightMatching(),
    "activation_matching": alignment.ActivationMatching(chunk_size=15),
    "activation_correlation": alignment.ActivationMatching(
        similarity="correlation", scales="matched", chunk_size=15
    ),
    "frank_wolfe": alignment.FrankWolfe(),
    "straight_through": alignment.StraightThrough(
        num_steps=4, eval_every=2, batch_size=8
    ),
    "sinkhorn_l2": alignment.SinkhornRebasin(num_steps=150),
    "sinkhorn_midpoint": alignment.SinkhornRebasin(
        cost="midpoint",
        init=alignment.ActivationMatching(),
        num_steps=4,
        eval_every=2,
        batch_size=8,
    ),
}
"""A new aligner is one more line. The solvers of a task loss start from another
aligner, without which they come near a twin and seldom meet it; the others need no
start of their own."""

KINDS = ("twins", "strangers", "spoiled twins")
FAST = {"weight_matching", "activation_matching", "frank_wolfe", "sinkhorn_l2"}
# Networks of the other groups take one aligner of each kind: search, outputs, gradient.
SOME = ("weight_matching", "activation_matching", "sinkhorn_l2")
NETWORKS = {"tanh": ALIGNERS, "relu": ALIGNERS, "siren": SOME, "gelu": SOME}


def cases():
    for network, aligners in NETWORKS.items():
        for aligner in aligners:
            is_fast = network == "tanh" and aligner in FAST
            marks = [] if is_fast else [pytest.mark.slow]
            yield pytest.param(aligner, network, marks=marks)


every_case = pytest.mark.parametrize(("aligner", "network"), list(cases()))


def make_problems(network):
    spoiled, _ = pairs.make_twins(network, pairs.spoil(pairs.make_params(network, 0)))
    twins, element = pairs.make_twins(network)
    return [twins, pairs.make_strangers(network), spoiled], element


@functools.cache
def solve(aligner, network):
    """All kinds of problems at once: one compilation per aligner and network."""
    problems, element = make_problems(network)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    keys = jax.random.split(jax.random.key(1), len(problems))
    results = pairs.compiled(jax.vmap(ALIGNERS[aligner]))(keys, stacked)
    solved = {
        kind: (problem, jax.tree.map(operator.itemgetter(index), results))
        for index, (kind, problem) in enumerate(zip(KINDS, problems, strict=True))
    }
    return solved, element


@every_case
@pytest.mark.slow
def test_elements_are_group_elements(aligner, network):
    for problem, result in solve(aligner, network)[0].values():
        spec, sizes = problem.spec, problem.spec.sizes(problem.params_a)
        movable = spec.spaces[1:-1]
        assert list(result.element) == [space.name for space in movable]
        for name, (perm, scale) in result.element.items():
            np.testing.assert_array_equal(np.sort(perm), np.arange(sizes[name]))
            assert np.all(np.isfinite(scale))
            if spec.space(name).group is symmetry.Group.SCALE:
                assert np.all(scale > 0)
            elif spec.space(name).group is symmetry.Group.SIGN:
                assert np.all(np.abs(scale) == 1)
            else:
                assert np.all(scale == 1)


@every_case
def test_function_is_kept_in_double_precision(aligner, network):
    _, _, apply = pairs.make_functions(network)
    for problem, result in solve(aligner, network)[0].values():
        with jax.enable_x64(True):
            element, params_b, inputs = jax.tree.map(
                in_double,
                (result.element, problem.params_b, problem.task.data["inputs"]),
            )
            moved = pairs.act(element, params_b, spec=problem.spec)
            expected, found = apply(params_b, inputs), apply(moved, inputs)
            np.testing.assert_allclose(found, expected, atol=1e-12, rtol=1e-12)


def in_double(x):
    return np.asarray(x, np.float64) if np.asarray(x).dtype.kind == "f" else x


@every_case
def test_known_element_is_recovered(aligner, network):
    results, element = solve(aligner, network)
    for name, (perm, scale) in results["twins"][1].element.items():
        np.testing.assert_array_equal(perm, element[name].perm)
        np.testing.assert_allclose(scale, element[name].scale, rtol=1e-4)


@every_case
def test_objective_is_finite_and_ends_no_higher(aligner, network):
    for _, result in solve(aligner, network)[0].values():
        history = np.asarray(result.objective)
        assert np.all(np.isfinite(history))
        assert history[-1] <= history[0] + 1e-6  # rounding, where both are zero
        assert history[-1] == np.min(result.start_objectives)
        assert result.num_iters >= 1


@every_case
def test_equal_and_dead_neurons_are_no_obstacle(aligner, network):
    problem, result = solve(aligner, network)[0]["spoiled twins"]
    moved = pairs.act(result.element, problem.params_b, spec=problem.spec)
    assert symmetry.distance(problem.params_a, moved) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("aligner", SOME)
def test_one_problem_alone_and_eagerly_gives_the_same(aligner):
    """The others: `test_nothing_needs_the_compiler`."""
    problem, expected = solve(aligner, "siren")[0]["strangers"]
    key = jax.random.split(jax.random.key(1), len(KINDS))[KINDS.index("strangers")]
    found = ALIGNERS[aligner](key, problem)
    for name, (perm, scale) in expected.element.items():
        np.testing.assert_array_equal(found.element[name].perm, perm)
        np.testing.assert_allclose(found.element[name].scale, scale, rtol=1e-5)
    np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("aligner", ALIGNERS)
def test_data_types_fit_with_and_without_double_precision(aligner, dtype):
    problem = pairs.make_strangers("small_relu")
    with jax.enable_x64(True):
        problem = jax.tree.map(lambda x: x.astype(dtype), problem)
        result = jax.eval_shape(ALIGNERS[aligner], jax.random.key(0), problem)
        assert result.element["hidden_0"].scale.dtype == dtype


@pytest.mark.parametrize(
    ("network", "double"), [("small", True), ("small_relu", False)]
)
@pytest.mark.parametrize("aligner", ALIGNERS)
def test_nothing_is_promoted_without_a_word(aligner, network, double):
    problem = pairs.make_strangers(network)
    with jax.numpy_dtype_promotion("strict"), jax.enable_x64(double):
        result = jax.eval_shape(ALIGNERS[aligner], jax.random.key(0), problem)
    assert result.element["hidden_0"].scale.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("aligner", [a for a in ALIGNERS if a != "weight_matching"])
def test_nothing_needs_the_compiler(aligner):
    """Weight matching: `tests/modes_test.py`."""
    solver, problem = ALIGNERS[aligner], pairs.make_twins("small")[0]
    if hasattr(solver, "num_steps"):
        solver = dataclasses.replace(solver, num_steps=2, eval_every=2)
    if hasattr(solver, "sinkhorn_iters"):
        solver = dataclasses.replace(solver, sinkhorn_iters=2)
    if hasattr(solver, "max_iters"):
        solver = dataclasses.replace(solver, starts=("barycentre",), max_iters=2)
    if hasattr(solver, "chunk_size"):
        solver = dataclasses.replace(solver, chunk_size=pairs.NUM_SAMPLES)
    expected = pairs.compiled(solver)(jax.random.key(0), problem).element
    with jax.disable_jit():
        found = solver(jax.random.key(0), problem).element
    for name, (perm, scale) in expected.items():
        np.testing.assert_array_equal(found[name].perm, perm)
        np.testing.assert_allclose(found[name].scale, scale, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["one_neuron", "no_hidden"])
@pytest.mark.parametrize("aligner", ALIGNERS)
def test_networks_with_little_to_align(aligner, network):
    problem, element = pairs.make_twins(network)
    result = pairs.compiled(ALIGNERS[aligner])(jax.random.key(0), problem)
    assert result.element.keys() == element.keys()
    for name, (perm, scale) in element.items():
        np.testing.assert_array_equal(result.element[name].perm, perm)
        np.testing.assert_array_equal(result.element[name].scale, scale)
    assert result.objective[-1] < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("aligner", ["weight_matching", "frank_wolfe"])
def test_signs_behind_a_normalisation(aligner):
    # Kernel, mean and variance keep their sign (power 0): they outvote the rest.
    axis, space = symmetry.Axis, symmetry.Space
    spec = symmetry.SymmetrySpec.create(
        {
            "kernel": (axis("in", -1), axis("hidden", 0)),
            "norm": {"var": (axis("hidden", 0),), "scale": (axis("hidden"),)},
            "readout": (axis("hidden", -1), axis("out")),
        },
        [
            space("in", symmetry.Group.TRIVIAL),
            space("hidden", symmetry.Group.SIGN),
            space("out", symmetry.Group.TRIVIAL),
        ],
    )
    generator = np.random.default_rng(0)

    def draw(*shape):
        return generator.normal(size=shape).astype(np.float32)

    params = {
        "kernel": draw(8, 16),
        "norm": {"var": np.exp(draw(16)), "scale": draw(16)},
        "readout": draw(16, 3),
    }
    element = pairs.draw_element(spec, spec.sizes(params), generator)
    problem = alignment.AlignmentProblem(
        params_a=pairs.act(element, params, spec=spec), params_b=params, spec=spec
    )
    found = pairs.compiled(ALIGNERS[aligner])(jax.random.key(0), problem).element
    np.testing.assert_array_equal(found["hidden"].perm, element["hidden"].perm)
    np.testing.assert_array_equal(found["hidden"].scale, element["hidden"].scale)
