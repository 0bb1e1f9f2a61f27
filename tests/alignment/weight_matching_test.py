import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, networks, symmetry
from symmerge_jax.alignment import (
    AlignmentProblem,
    WeightMatching,
)
from tests.alignment import pairs

# One per group: signs, positive scales, permutations (with a stream that is shared).
NETWORKS = {
    "siren": lambda: networks.siren((2, 12, 9, 1)),
    "relu": lambda: networks.mlp((3, 12, 9, 2), "relu"),
    "residual": lambda: networks.residual_mlp((1, 12, 1), 9),
}


def random_params(seed, network):
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: generator.normal(scale=0.5, size=x.shape).astype(np.float32),
        jax.eval_shape(network.init, jax.random.key(0)),
    )


def make_pair(network, seed, **options):
    """A generic network, a twin of it, and the element that leads back."""
    params = random_params(seed, network)
    element = pairs.draw_element(
        network.spec,
        network.spec.sizes(params),
        np.random.default_rng(seed + 100),
        **options,
    )
    back = jax.tree.map(np.asarray, symmetry.inverse(element))
    return params, symmetry.act(element, params, network.spec), back


def solve_many(aligner, network, num, **options):
    """Results, one after the other, and the elements that are to be found, stacked.

    Called like this numpy solves the problems, and nothing is compiled; that this gives
    the same is shown by `contract_test.py` and `stored_test.py`.
    """
    results, elements = [], []
    for seed in range(num):
        params_a, params_b, element = make_pair(network, seed, **options)
        problem = AlignmentProblem(
            params_a=params_a, params_b=params_b, spec=network.spec
        )
        results.append(aligner(jax.random.key(seed), problem))
        elements.append(element)
    stack = lambda trees: jax.tree.map(lambda *x: np.stack(x), *trees)  # noqa: E731
    return stack(results), stack(elements)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.slow
def test_outward_start_finds_the_element_of_every_twin(key, name):
    network = NETWORKS[name]()
    num = 8
    found, element = solve_many(WeightMatching(starts=("outward",)), network, num)
    for space, monomial in element.items():
        np.testing.assert_array_equal(found.element[space].perm, monomial.perm)
        np.testing.assert_allclose(
            found.element[space].scale, monomial.scale, rtol=1e-4
        )
    assert np.all(found.objective[:, -1] < 1e-6)
    assert np.all(found.converged)
    assert np.all(found.num_iters <= 2)


@pytest.mark.parametrize(
    ("options", "twins"),
    [
        ({"rescale": False}, {"rescale": False}),
        ({"permute": False}, {"permute": False}),
    ],
)
@pytest.mark.slow
def test_restricted_matching_finds_restricted_elements(key, options, twins):
    network = networks.siren((2, 12, 9, 1))
    num = 5
    found, element = solve_many(WeightMatching(**options), network, num, **twins)
    for space, monomial in element.items():
        np.testing.assert_array_equal(found.element[space].perm, monomial.perm)
        np.testing.assert_array_equal(found.element[space].scale, monomial.scale)


def test_permutations_alone_do_not_undo_signs(key):
    network = networks.siren((2, 12, 9, 1))
    num = 5
    found, _ = solve_many(WeightMatching(rescale=False), network, num)
    assert np.all(found.objective[:, -1] > 0.1)
    assert all(np.all(m.scale == 1) for m in found.element.values())


@pytest.mark.slow
def test_published_start_misses_some_twins_that_restarts_find(key):
    network = networks.siren((2, 32, 32, 1))
    num = 10
    published = WeightMatching(starts=("identity",), order="random", tolerance=0.0)
    alone, _ = solve_many(published, network, num)
    best, element = solve_many(WeightMatching(), network, num)
    assert np.mean(alone.objective[:, -1] < 1e-6) < 0.5
    assert np.all(best.objective[:, -1] < 1e-6)
    chex.assert_trees_all_equal(best.element, element)


@pytest.mark.parametrize(
    ("name", "order"), [*((name, "forward") for name in NETWORKS), ("siren", "random")]
)
@pytest.mark.slow
def test_objective_is_the_distance_and_never_rises(key, name, order):
    network = NETWORKS[name]()
    spec = network.spec
    params_a = random_params(0, network)
    params_b = random_params(1, network)
    problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=spec)
    aligner = WeightMatching(
        starts=("identity",), num_random_starts=3, order=order, rescale=False
    )
    # One compiled, as random starts and orders are not compiled elsewhere.
    solve = jax.jit(aligner) if order == "random" else aligner
    result = solve(key, problem)
    moved = symmetry.act(jax.device_get(result.element), params_b, spec)
    distance = symmetry.distance(params_a, moved)
    np.testing.assert_allclose(result.objective[-1], distance**2, rtol=1e-4)
    assert np.all(np.diff(result.objective) <= 1e-5 * result.objective[0])
    assert result.start_objectives.shape == (4,)
    assert result.start_objectives.min() == result.objective[-1]
    assert result.start_objectives.max() > result.objective[-1]
    assert result.converged
    assert 0 < result.num_iters < 100


@pytest.mark.slow
def test_no_single_space_can_be_improved_at_the_end(key):
    network = networks.mlp((3, 6, 5, 2), "tanh")
    params_a = random_params(0, network)
    params_b = random_params(1, network)
    problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=network.spec)
    element = WeightMatching(tolerance=0.0)(key, problem).element

    def distance(element):
        moved = symmetry.act(element, params_b, network.spec)
        return symmetry.distance(params_a, moved)

    reached = distance(element)
    generator = np.random.default_rng(0)
    for name, (perm, scale) in element.items():
        perms, scales = np.tile(perm, (50, 1)), np.tile(scale, (50, 1))
        for index in range(50):
            i, j = generator.choice(len(perm), 2, replace=False)
            perms[index, [i, j]] = perms[index, [j, i]]
            scales[index, [i, j]] = scales[index, [j, i]]
            scales[index, i] *= generator.choice([-1, 1])
        others = symmetry.Monomial(jnp.asarray(perms), jnp.asarray(scales))
        distances = jax.vmap(
            lambda other, name=name: distance({**element, name: other})
        )
        assert np.all(jax.jit(distances)(others) >= reached - 1e-6)


@pytest.mark.slow
def test_scales_are_balanced_before_matching(key):
    network = networks.mlp((16, 64, 64, 10), "relu")
    num = 3
    options = {"scale_std": 1.5}
    found, element = solve_many(WeightMatching(), network, num, **options)
    published = WeightMatching(starts=("identity",), tolerance=0.0, rescale=False)
    plain, _ = solve_many(published, network, num, **options)
    for space, monomial in element.items():
        np.testing.assert_array_equal(found.element[space].perm, monomial.perm)
    placed = np.mean(plain.element["hidden_0"].perm == element["hidden_0"].perm)
    assert placed < 0.9


def test_matched_scales_reach_the_network_as_it_is_scaled(key):
    network = networks.mlp((16, 24, 20, 4), "relu")
    num = 5
    aligner = jax.jit(WeightMatching(scales="matched"))
    found, element = solve_many(aligner, network, num, scale_std=0.5)
    assert np.all(found.converged)
    for space, monomial in element.items():
        np.testing.assert_array_equal(found.element[space].perm, monomial.perm)
        np.testing.assert_allclose(
            found.element[space].scale, monomial.scale, rtol=1e-4
        )
    scaled = np.max(np.abs(np.log(element["hidden_0"].scale)))
    assert scaled > 1


@pytest.mark.parametrize("scales", ["balanced", "matched"])
@pytest.mark.slow
def test_dead_neurons_have_no_scale(key, scales):
    network = networks.mlp((3, 6, 5, 2), "relu")
    params_a, params_b, _ = make_pair(network, 0)
    params_a, params_b = jax.tree.map(np.array, (params_a, params_b))
    for params, dead in ((params_a, 1), (params_b, 4)):
        params["dense_0"]["kernel"][:, dead] = 0
        params["dense_0"]["bias"][dead] = 0
        params["dense_1"]["kernel"][0] = 0
    problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=network.spec)
    aligner = WeightMatching(scales=scales)
    found = (jax.jit(aligner) if scales == "matched" else aligner)(key, problem)
    for perm, scale in found.element.values():
        np.testing.assert_array_equal(np.sort(perm), np.arange(len(perm)))
        assert np.all(np.isfinite(scale) & (scale > 0))
    assert np.isfinite(found.objective[-1])


@pytest.mark.slow
def test_equal_and_dead_neurons_do_not_cycle(key):
    network = networks.mlp((3, 8, 8, 2), "tanh")
    params = jax.tree.map(np.array, random_params(0, network))
    params["dense_0"]["kernel"][:, 1] = params["dense_0"]["kernel"][:, 0]
    params["dense_0"]["bias"][1] = params["dense_0"]["bias"][0]
    params["dense_1"]["kernel"][1] = params["dense_1"]["kernel"][0]
    params["dense_0"]["kernel"][:, 5:7] = 0
    params["dense_0"]["bias"][5:7] = 0
    params["dense_1"]["kernel"][5:7] = 0
    sizes, generator = network.spec.sizes(params), np.random.default_rng(0)
    for _ in range(8):
        element = pairs.draw_element(network.spec, sizes, generator)
        problem = AlignmentProblem(
            params_a=params,
            params_b=symmetry.act(element, params, network.spec),
            spec=network.spec,
        )
        found = WeightMatching(num_random_starts=2)(key, problem)
        assert found.converged
        assert found.objective[-1] < 1e-8
        assert all(np.all(np.abs(m.scale) == 1) for m in found.element.values())


@pytest.mark.parametrize("layer_sizes", [(3, 2), (3, 1, 2)])
def test_networks_with_nothing_or_one_neuron_to_permute(key, layer_sizes):
    network = networks.mlp(layer_sizes, "tanh")
    params_a, params_b, element = make_pair(network, 0)
    problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=network.spec)
    found = WeightMatching()(key, problem)
    assert found.element.keys() == element.keys()
    moved = symmetry.act(found.element, params_b, network.spec)
    assert symmetry.distance(params_a, moved) < 1e-6


def test_repeated_axes_and_convolutions(key):
    axis, space = symmetry.Axis, symmetry.Space
    spec = symmetry.SymmetrySpec.create(
        {
            "conv": {"kernel": (None, None, axis("in", -1), axis("maps"))},
            "norm": {"mean": (axis("maps", 0),), "scale": (axis("maps"),)},
            "flat": {"kernel": (axis("maps", -1, repeat=4), axis("out"))},
        },
        [
            space("in", symmetry.Group.TRIVIAL),
            space("maps", symmetry.Group.PERMUTATION),
            space("out", symmetry.Group.TRIVIAL),
        ],
    )
    generator = np.random.default_rng(0)
    draw = lambda *shape: generator.normal(size=shape).astype(np.float32)  # noqa: E731
    params = {
        "conv": {"kernel": draw(3, 3, 1, 7)},
        "norm": {"mean": draw(7), "scale": draw(7)},
        "flat": {"kernel": draw(28, 2)},
    }
    element = pairs.draw_element(spec, spec.sizes(params), generator)
    twin = symmetry.act(element, params, spec)
    problem = AlignmentProblem(params_a=twin, params_b=params, spec=spec)
    found = WeightMatching(starts=("identity",))(key, problem)
    np.testing.assert_array_equal(found.element["maps"].perm, element["maps"].perm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"starts": ("inward",)}, "unknown name 'inward'"),
        ({"starts": ()}, "needs a start"),
        ({"num_random_starts": -1}, "got -1"),
        ({"max_sweeps": -1}, "max_sweeps must be >= 0, got -1"),
        ({"tolerance": 1.0}, r"tolerance must lie in \[0, 1\), got 1"),
        ({"order": "backward"}, "'backward'"),
        ({"scales": "free"}, "'free'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        WeightMatching(**options)


@pytest.mark.slow
def test_similarity_predicts_the_change_of_the_objective(key):
    network = networks.siren((2, 6, 5, 1))
    spec = network.spec
    with jax.enable_x64(True):
        params_a = random_params(0, network)
        params_b = random_params(1, network)
        sizes, generator = spec.sizes(params_a), np.random.default_rng(0)
        element = pairs.draw_element(spec, sizes, generator)

        def product(element):
            moved = symmetry.act(element, params_b, spec)
            terms = jax.tree.map(lambda a, b: (a * b).sum(), params_a, moved)
            return sum(jax.tree.leaves(terms))

        for name in element:
            matrix = alignment.similarity(params_a, params_b, element, spec, name)
            other = pairs.draw_element(spec, sizes, generator)[name]
            gains = [
                np.sum(m.scale * np.asarray(matrix)[np.arange(len(m.perm)), m.perm])
                for m in (element[name], other)
            ]
            change = product({**element, name: other}) - product(element)
            np.testing.assert_allclose(gains[1] - gains[0], change, rtol=1e-5)
