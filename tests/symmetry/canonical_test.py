import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, symmetry
from symmerge_jax.symmetry import Axis, Group, Space

# One per group; each costs a compilation.
cases = pytest.mark.parametrize(
    "name",
    [
        "siren",
        "mlp_relu",
        "mlp_tanh",
        "conv",
        pytest.param("mlp_gelu", marks=pytest.mark.slow),
        pytest.param("residual", marks=pytest.mark.slow),
    ],
)
# Balanced scales are a fixed point known to 16 units of rounding, relative to weights
# of order one.
SCALE_TOLERANCE = 5e-6


@cases
def test_canonical_form_is_constant_on_the_orbit(get_case, name, max_deviation):
    case = get_case(name)
    forms = case.canonical_orbit
    first = jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(leaf), 0), forms)
    assert max_deviation(forms, first) <= (0 if case.exact else SCALE_TOLERANCE)


@cases
def test_canonical_form_keeps_the_function(get_case, name):
    case = get_case(name)
    got, expected = case.outputs(case.canonical_orbit), case.outputs(case.orbit)
    # The parameters have float32 rounding, the functions are compared in float64.
    np.testing.assert_allclose(got, expected, atol=2e-6)


@cases
def test_canonical_form_is_idempotent(get_case, name, max_deviation):
    case = get_case(name)
    again = case.canonical_batch(case.canonical_orbit)
    tolerance = 0 if case.exact else SCALE_TOLERANCE
    assert max_deviation(again, case.canonical_orbit) <= tolerance


@pytest.mark.slow
def test_canonical_form_is_the_same_without_jit_and_vmap(get_case, max_deviation):
    case = get_case("mlp_tanh")
    eager = symmetry.canonical_form(case.params, case.spec)
    compiled = jax.tree.map(lambda leaf: leaf[0], case.canonical_orbit)
    assert max_deviation(eager, compiled) == 0


def test_canonical_element_maps_to_the_canonical_form(get_case, max_deviation):
    case = get_case("mlp_tanh")
    element = symmetry.canonical_element(case.params, case.spec)
    assert set(element) == {"hidden_0", "hidden_1"}
    form = symmetry.act(element, case.params, case.spec)
    assert max_deviation(form, jax.tree.map(lambda a: a[0], case.canonical_orbit)) == 0


def test_canonical_form_has_positive_leading_weights_and_falling_norms(get_case):
    form = jax.tree.map(lambda leaf: leaf[0], get_case("mlp_tanh").canonical_orbit)
    rows = np.concatenate(
        [form["dense_0"]["bias"][None], form["dense_0"]["kernel"]], axis=0
    ).T
    assert (rows[np.arange(6), np.abs(rows).argmax(axis=1)] > 0).all()
    assert (np.diff(np.linalg.norm(rows, axis=1)) < 0).all()


def degenerate(case, kind):
    """Parameters with ties: what generic networks never show."""
    params = jax.tree.map(np.copy, case.params)
    first, second, last = (params[f"dense_{i}"] for i in range(3))
    if kind == "duplicates":  # neuron 3 is neuron 1, 4 reads the same as 0
        for copy, original in ((3, 1), (4, 0)):
            first["kernel"][:, copy] = first["kernel"][:, original]
            first["bias"][copy] = first["bias"][original]
        second["kernel"][3] = second["kernel"][1]
    elif kind == "dead":  # no input at all
        first["kernel"][:, 1:4] = 0
        first["bias"][1:4] = 0
    elif kind == "unread":
        second["kernel"][2:4] = 0
        last["kernel"][:] = 0
    elif kind == "one_hot":  # equal norms everywhere
        first["kernel"][:] = np.tile(np.eye(3), 2) * np.repeat([1, 2], 3)[None]
        first["bias"][:] = 0
        second["kernel"][:] = np.tile(np.eye(5), (2, 1))[:6] + 0.5 * np.eye(6, 5, 1)
    elif kind == "zero":
        params = jax.tree.map(np.zeros_like, params)
    return params


@pytest.mark.parametrize("kind", ["duplicates", "dead", "unread", "one_hot", "zero"])
@pytest.mark.parametrize("name", ["mlp_relu", "mlp_tanh", "siren"])
def test_canonical_form_resolves_ties(get_case, name, kind, max_deviation):
    case = get_case(name)
    params = degenerate(case, kind)
    orbit = case.make_orbit(params)
    forms = case.canonical_batch(orbit)
    for leaf in jax.tree.leaves(forms):
        assert np.isfinite(leaf).all()
    first = jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(leaf), 0), forms)
    assert max_deviation(forms, first) <= (0 if case.exact else SCALE_TOLERANCE)
    again = case.canonical_batch(forms)
    assert max_deviation(again, forms) <= (0 if case.exact else SCALE_TOLERANCE)
    np.testing.assert_allclose(case.outputs(forms), case.outputs(orbit), atol=2e-6)


def test_dead_neurons_come_last(get_case):
    case = get_case("mlp_tanh")
    form = case.canonical_batch(case.make_orbit(degenerate(case, "dead")))
    dead = ~np.any(form["dense_0"]["kernel"], axis=1)
    np.testing.assert_array_equal(dead, [[False] * 3 + [True] * 3] * len(dead))


def norms(params):
    """Incoming and outgoing norms of both hidden spaces of a chain of three layers."""
    layers = [jax.tree.map(np.asarray, params[f"dense_{i}"]) for i in range(3)]

    def norm(*rows):
        return np.sqrt(sum(np.sum(row**2, axis=0) for row in rows))

    incoming = [norm(layer["kernel"], layer["bias"][None]) for layer in layers[:2]]
    outgoing = [norm(layer["kernel"].T) for layer in layers[1:]]
    return np.concatenate(incoming), np.concatenate(outgoing)


@pytest.fixture(scope="session")
def balance():
    spec = networks.mlp((3, 6, 5, 2), "relu").spec

    @jax.jit
    def function(params):
        return symmetry.act(symmetry.balance_scales(params, spec), params, spec)

    return function


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 3e-6), (np.float64, 1e-13)]
)
def test_balance_equalises_norms_even_of_extreme_twins(
    get_case, balance, dtype, tolerance, max_deviation
):
    case = get_case("mlp_relu")
    with jax.enable_x64(dtype is np.float64):
        params = jax.tree.map(dtype, case.params)
        element = symmetry.sample(
            jax.random.key(9), case.spec, case.sizes, permute=False, scale_std=5.0
        )
        extreme = symmetry.act(element, params, case.spec)
        balanced, from_twin = balance(params), balance(extreme)
    assert max_deviation(extreme, params) > 100
    incoming, outgoing = norms(from_twin)
    assert incoming.dtype == dtype
    np.testing.assert_allclose(incoming, outgoing, rtol=tolerance)
    assert max_deviation(from_twin, balanced) < tolerance


def test_balanced_weights_have_the_least_norm_of_the_orbit(get_case, balance):
    case = get_case("mlp_relu")

    def total(tree):
        return sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree))

    least = total(balance(case.params))
    assert least < total(case.params)
    for seed in range(3):
        element = symmetry.sample(
            jax.random.key(seed), case.spec, case.sizes, scale_std=0.05
        )
        twin = symmetry.act(element, balance(case.params), case.spec)
        assert total(twin) > least


def test_balance_sets_the_only_norm_of_a_neuron_to_one(get_case, balance):
    params = jax.tree.map(np.copy, get_case("mlp_relu").params)
    params["dense_0"]["kernel"][:, 0] = params["dense_0"]["bias"][0] = 0
    params["dense_1"]["kernel"][1] = 0
    params["dense_0"]["kernel"][:, 2] = params["dense_0"]["bias"][2] = 0
    params["dense_1"]["kernel"][2] = 0
    incoming, outgoing = norms(balance(params))
    np.testing.assert_allclose(incoming[:3], [0, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(outgoing[:3], [1, 0, 0], rtol=1e-6)


def test_balance_stops_early_for_a_loose_tolerance_or_few_sweeps(get_case):
    case = get_case("mlp_relu")
    loose, short = (
        symmetry.balance_scales(case.params, case.spec, **options)
        for options in ({"tolerance": 1e3}, {"max_sweeps": 1})
    )
    chex.assert_trees_all_equal(loose, short)
    incoming, outgoing = norms(symmetry.act(short, case.params, case.spec))
    assert np.abs(incoming / outgoing - 1).max() > 1e-2


def test_balance_leaves_other_groups_alone(get_case):
    case = get_case("mlp_tanh")
    assert symmetry.balance_scales(case.params, case.spec) == {}
    case = get_case("conv")
    assert set(symmetry.balance_scales(case.params, case.spec)) == {"hidden"}


@pytest.mark.parametrize(("w0", "first_w0"), [(30.0, None), (1.0, 300.0)])
def test_fold_keeps_the_function_and_bounds_the_phases(w0, first_w0):
    network = networks.siren((2, 32, 32, 1), w0, first_w0)
    generator = np.random.default_rng(1)
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
    for layer in params.values():
        layer["bias"] = np.float32(generator.uniform(-3, 3, layer["bias"].shape))
    folded = symmetry.fold_phases(params, network.spec)
    for i, factor in enumerate((first_w0 or w0, w0)):
        bias = folded[f"dense_{i}"]["bias"]
        assert bias.dtype == jnp.float32
        assert (np.abs(factor * np.float64(bias)) <= np.pi / 2 * (1 + 1e-6)).all()
    np.testing.assert_array_equal(folded["dense_2"]["bias"], params["dense_2"]["bias"])
    x = generator.uniform(-1, 1, (50, 2))
    # In float64, so that only the rounding of the folded float32 biases is measured:
    # float32 itself evaluates a phase of 90 radians to 4e-6.
    np.testing.assert_allclose(
        siren_in_numpy(folded, x, w0, first_w0),
        siren_in_numpy(params, x, w0, first_w0),
        atol=1e-6,
    )


def siren_in_numpy(params, x, w0, first_w0):
    for i, factor in enumerate((first_w0 or w0, w0, None)):
        layer = params[f"dense_{i}"]
        x = x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
        x = np.sin(factor * x) if factor else x
    return x


def test_fold_leaves_neurons_in_range_bit_identical(get_case):
    case = get_case("siren")
    params = jax.tree.map(np.copy, case.params)
    in_range = np.float32([0.0, -0.0, 1.5, -1.5, 0.3, 1.2]) / np.float32(30)
    params["dense_0"]["bias"] = in_range
    params["dense_1"]["bias"] = np.float32([0.2, 0.01, -0.2, 0.02, 3])
    folded = symmetry.fold_phases(params, case.spec)
    for name, where in (("dense_0", slice(None)), ("dense_1", [1, 3])):
        for key in ("kernel", "bias"):
            got = np.asarray(folded[name][key])[..., where]
            assert got.tobytes() == params[name][key][..., where].tobytes()
    moved = np.asarray(folded["dense_1"]["bias"]) != params["dense_1"]["bias"]
    np.testing.assert_array_equal(moved, [True, False, True, False, True])


def test_fold_is_idempotent_and_ignores_networks_without_frequency(get_case):
    case = get_case("siren")
    fold = jax.jit(lambda params: symmetry.fold_phases(params, case.spec))
    params = jax.tree.map(lambda leaf: 30 * leaf, case.params)
    once = fold(params)
    chex.assert_trees_all_equal(fold(once), once)
    tanh = get_case("mlp_tanh")
    jax.tree.map(
        np.testing.assert_array_equal, symmetry.fold_phases(params, tanh.spec), params
    )


def test_fold_takes_many_networks_on_any_axes(get_case):
    case = get_case("siren")
    turns = np.float32([[0.1, 3, 9], [27, -1, -20]])
    many = jax.tree.map(
        lambda leaf: np.multiply.outer(turns, leaf).astype(np.float32), case.params
    )
    folded = symmetry.fold_phases(many, case.spec)
    for index in np.ndindex(turns.shape):
        one = symmetry.fold_phases(symmetry.rows(many, index), case.spec)
        chex.assert_trees_all_equal(symmetry.rows(folded, index), one)


def test_twins_in_phase_have_one_canonical_form(get_case, max_deviation):
    case = get_case("siren")
    period = 2 * np.pi / 30
    turns = jax.tree.map(np.copy, case.params)
    turns["dense_0"]["bias"] += np.float32(period * np.array([1, -2, 0, 3, 0, -1]))
    turns["dense_1"]["bias"] += np.float32(period * np.array([0, 5, -1, 0, 2]))
    flips = jax.tree.map(np.copy, case.params)
    which = [0, 2, 3]
    flips["dense_0"]["kernel"][:, which] *= -1
    flips["dense_0"]["bias"][which] = period / 2 - flips["dense_0"]["bias"][which]
    both = jax.tree.map(
        lambda *a: np.stack([*a, a[0], a[0]]), case.params, turns, flips
    )
    forms = case.canonical_batch(both)
    first = jax.tree.map(lambda leaf: np.repeat(leaf[:1], len(leaf), 0), forms)
    # The shifted biases (up to 1) were themselves rounded to float32.
    assert max_deviation(forms, first) < 2e-7
    np.testing.assert_allclose(case.outputs(forms), case.outputs(both), atol=1e-5)


def test_fold_flips_every_kernel_that_writes_the_space():
    spec = symmetry.SymmetrySpec.create(
        {
            "bias": (Axis("h"),),
            "branch": (Axis("in", -1), Axis("h")),
            "skip": (Axis("h"), Axis("in", -1)),
            "last": (Axis("h", -1), None),
        },
        [Space("in", Group.TRIVIAL), Space("h", Group.SIGN, frequency=2.0)],
    )
    params = {
        "bias": jnp.array([1.0, 0.1]),  # phases 2.0 and 0.2
        "branch": jnp.ones((3, 2)),
        "skip": jnp.ones((2, 3)),
        "last": jnp.ones((2, 4)),
    }
    folded = symmetry.fold_phases(params, spec)
    np.testing.assert_allclose(folded["bias"], [np.pi / 2 - 1, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(folded["branch"][0], [-1, 1])
    np.testing.assert_array_equal(folded["skip"][:, 0], [-1, 1])
    np.testing.assert_array_equal(folded["last"], params["last"])


def test_orbit_of_a_real_inr_has_one_canonical_form_and_one_image(real_orbit):
    network = networks.siren()
    grid = networks.coordinate_grid(28, 28)
    render = jax.jit(jax.vmap(network.apply, (0, None)))
    form = jax.jit(jax.vmap(lambda p: symmetry.canonical_form(p, network.spec)))
    images, forms = render(real_orbit, grid), form(real_orbit)
    assert np.abs(images - images[:1]).max() <= 2e-6
    assert np.abs(render(forms, grid) - images[:1]).max() <= 5e-6
    for leaf in jax.tree.leaves(forms):
        # One neuron has a phase of 1.61 > pi/2, which is folded: rounding of its bias.
        np.testing.assert_allclose(leaf, np.repeat(leaf[:1], 32, 0), atol=1e-8)
