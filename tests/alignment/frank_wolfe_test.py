import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, networks, symmetry
from symmerge_jax.alignment import AlignmentProblem, FrankWolfe, WeightMatching
from tests.alignment import pairs


def solve(aligner, problem):
    return pairs.compiled(aligner)(jax.random.key(0), problem)


def draw(seed, shapes):
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes
    )


def chain(num_movable_axes):
    """Spaces in a row, and one array over this many of them."""
    names = [f"space_{i}" for i in range(num_movable_axes)]
    spec = symmetry.SymmetrySpec.create(
        {
            "core": tuple(symmetry.Axis(name) for name in names),
            **{name: (symmetry.Axis("in", -1), symmetry.Axis(name)) for name in names},
        },
        [
            symmetry.Space("in", symmetry.Group.TRIVIAL),
            *(symmetry.Space(name, symmetry.Group.SIGN) for name in names),
        ],
    )
    shapes = {"core": jnp.zeros((4,) * num_movable_axes)}
    return spec, {**shapes, **{name: jnp.zeros((1, 4)) for name in names}}


@pytest.mark.slow
@pytest.mark.parametrize("num_movable_axes", [1, 2, 3])
def test_each_step_is_the_best_on_its_segment(num_movable_axes):
    spec, shapes = chain(num_movable_axes)
    params_a, params_b = draw(0, shapes), draw(1, shapes)

    @pairs.compiled
    def curve(params_a, params_b):
        barycentre = {s.name: jnp.zeros((4, 4)) for s in spec.spaces[1:]}
        vertices = {}
        for name in barycentre:
            others = {other: m for other, m in barycentre.items() if other != name}
            moved = symmetry.act_dense(others, params_b, spec)
            rows_a = symmetry.unfold(params_a, spec, name, 1)
            rows_b = symmetry.unfold(moved, spec, name, 1)
            vertex = alignment.project(rows_a @ rows_b.T, symmetry.Group.SIGN)
            vertices[name] = symmetry.as_matrix(vertex)

        def objective(t):
            matrices = {name: t * vertex for name, vertex in vertices.items()}
            moved = symmetry.act_dense(matrices, params_b, spec)
            terms = jax.tree.map(
                lambda a, b, moved: jnp.sum(a**2 + b**2 - 2 * a * moved),
                params_a,
                params_b,
                moved,
            )
            return sum(jax.tree.leaves(terms))

        return jax.lax.map(objective, jnp.linspace(0, 1, 2001))

    expected = curve(params_a, params_b)
    problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=spec)
    aligner = FrankWolfe(starts=("barycentre",), max_iters=1)
    found = solve(aligner, problem).objective
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], np.min(expected), rtol=1e-5)
    assert found[1] < found[0]


def test_four_movable_axes_are_refused(key):
    spec, shapes = chain(4)
    params = draw(0, shapes)
    problem = AlignmentProblem(params_a=params, params_b=params, spec=spec)
    with pytest.raises(ValueError, match="'core' has 4 movable axes"):
        FrankWolfe()(key, problem)


@pytest.mark.parametrize(
    "network", ["small", pytest.param("relu", marks=pytest.mark.slow)]
)
def test_objective_never_rises_and_ends_with_the_distance(network):
    problem = pairs.make_strangers(network)
    result = solve(FrankWolfe(rescale=False), problem)
    assert np.all(np.diff(result.objective) <= 1e-6 * result.objective[0])
    moved = pairs.act(result.element, problem.params_b, spec=problem.spec)
    distance = symmetry.distance(problem.params_a, moved)
    np.testing.assert_allclose(result.objective[-1], distance**2, rtol=1e-5)
    assert result.start_objectives.shape == (2,)
    assert result.objective[-1] == result.start_objectives.min()
    assert result.converged
    assert 0 < result.num_iters < 100


@pytest.mark.slow
def test_strangers_come_closer_than_by_weight_matching(key):
    spec = networks.mlp((3, 12, 9, 2), "gelu").spec
    shapes = {
        f"dense_{i}": {"kernel": jnp.zeros((20, m, n)), "bias": jnp.zeros((20, n))}
        for i, (m, n) in enumerate([(3, 12), (12, 9), (9, 2)])
    }
    params_a, params_b = draw(0, shapes), draw(1, shapes)

    def distances(aligner):
        def solve(params_a, params_b):
            problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=spec)
            return aligner(key, problem).objective[-1]

        return pairs.compiled(jax.vmap(solve))(params_a, params_b)

    found = distances(FrankWolfe())
    assert np.mean(found) < np.mean(distances(WeightMatching())) - 0.1
    polished = distances(WeightMatching(starts=(), init=FrankWolfe()))
    np.testing.assert_allclose(polished, found, rtol=1e-5)


@pytest.mark.slow
def test_the_barycentre_does_not_depend_on_the_order_of_neurons(key):
    # Without biases zero is stationary for the middle layers: they wait.
    spec, shapes = deep_linear_spec()
    params_a, params_b = draw(0, shapes), draw(1, shapes)
    twin = symmetry.sample_orbit(key, params_b, spec, 1)
    pair = jax.tree.map(lambda b, twin: jnp.stack([b, twin[0]]), params_b, twin)

    def histories(start):
        def solve(params_b):
            problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=spec)
            return FrankWolfe(starts=(start,))(key, problem).objective

        return pairs.compiled(jax.vmap(solve))(pair)

    plain, moved = histories("barycentre")
    np.testing.assert_allclose(moved, plain, rtol=1e-4)
    plain, moved = histories("identity")
    assert abs(moved[0] - plain[0]) > 1e-2 * plain[0]


def deep_linear_spec():
    names = ["in", "h0", "h1", "h2", "h3", "out"]
    sizes = [6, 8, 8, 8, 8, 6]
    axes = {
        f"kernel_{i}": (symmetry.Axis(names[i], -1), symmetry.Axis(names[i + 1]))
        for i in range(5)
    }
    groups = {"in": symmetry.Group.TRIVIAL, "out": symmetry.Group.TRIVIAL}
    spaces = [symmetry.Space(n, groups.get(n, symmetry.Group.SIGN)) for n in names]
    shapes = {f"kernel_{i}": jnp.zeros((sizes[i], sizes[i + 1])) for i in range(5)}
    return symmetry.SymmetrySpec.create(axes, spaces), shapes


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"permute": False}, {"rescale": False}])
def test_restrictions_hold(options):
    problem, element = pairs.make_twins("tanh", **options)
    found = solve(FrankWolfe(**options), problem).element
    for name, (perm, scale) in element.items():
        np.testing.assert_array_equal(found[name].perm, perm)
        np.testing.assert_array_equal(found[name].scale, scale)
    problem, _ = pairs.make_twins("tanh")
    restricted = solve(FrankWolfe(**options), problem)
    assert restricted.objective[-1] > 0.1


@pytest.mark.slow
def test_a_bound_on_the_steps_is_no_convergence():
    problem = pairs.make_strangers("tanh")
    result = solve(FrankWolfe(max_iters=1), problem)
    assert not result.converged
    assert result.num_iters == 1
    assert result.objective.shape == (3,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": ()}, "needs a start"),
        ({"starts": ("outward",)}, "outward"),
        ({"max_iters": 0}, "got 0"),
        ({"tolerance": -1.0}, "got -1.0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        FrankWolfe(**options)
