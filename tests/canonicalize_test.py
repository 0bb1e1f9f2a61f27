import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import autoencoders, networks, symmetry, testing, zoo

SIREN = {"kind": "siren", "layer_sizes": [2, 4, 1]}
ENCODER = {"kind": "scale_gmn", "width": 4, "num_layers": 1, "num_probes": 2}


def network_of(description=SIREN):
    return networks.build(description)


def untrained(architecture, encoder):
    """A canonicaliser that nobody trained: any template serves the laws."""
    network = network_of(architecture)
    shapes = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    statistics = {path: (0.0, 0.2) for path in shapes}
    decoder = {"head": "affine"}
    model = autoencoders.build(architecture, encoder, decoder, statistics)
    random = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda x: random.normal(scale=0.3, size=x.shape).astype(x.dtype),
        jax.eval_shape(model.init, jax.random.key(1)),
    )
    return autoencoders.Canonicalizer(
        architecture, encoder, decoder, statistics, variables
    )


@pytest.fixture(scope="module")
def canonicalizer():
    return untrained(SIREN, ENCODER)


def row(params, index):
    return jax.tree.map(lambda x: x[index], params)


@pytest.mark.parametrize(
    "description",
    [SIREN, {"kind": "mlp", "layer_sizes": [3, 4, 4, 2], "activation": "relu"}],
    ids=["siren", "relu"],
)
@pytest.mark.slow
def test_twins_get_one_representative_with_the_same_function(key, description):
    network = network_of(description)
    params = testing.random_params(key, network)
    twins = symmetry.sample_orbit(key, params, network.spec, 4)
    forms = symmerge_jax.canonicalize(twins, network.spec).params
    for leaf in jax.tree.leaves(forms):
        np.testing.assert_allclose(
            leaf, np.broadcast_to(leaf[0], leaf.shape), atol=1e-5
        )
    x = jax.random.normal(key, (5, description["layer_sizes"][0]))
    testing.assert_same_function(network.apply, params, row(forms, 2), x)
    chex.assert_trees_all_equal(
        row(forms, 1), symmerge_jax.canonicalize(row(twins, 1), network.spec).params
    )


def test_batch_axes_numpy_and_jit_give_the_same(key):
    network = network_of()
    keys = jax.random.split(key, 6)
    batch = jax.vmap(lambda k: testing.random_params(k, network.init(k)))(keys)
    flat = symmerge_jax.canonicalize(batch, network.spec).params
    two_axes = jax.tree.map(lambda x: np.asarray(x).reshape(2, 3, *x.shape[1:]), batch)
    forms = symmerge_jax.canonicalize(two_axes, network.spec).params
    chex.assert_trees_all_equal(
        flat, jax.tree.map(lambda x: x.reshape(6, *x.shape[2:]), forms)
    )
    jitted = jax.jit(lambda p: symmerge_jax.canonicalize(p, network.spec).params)
    chex.assert_trees_all_equal(flat, jitted(batch))


def test_double_precision_is_kept(key):
    network = network_of()
    params = testing.random_params(key, network)
    double = jax.tree.map(lambda x: np.asarray(x, np.float64) * (1 + 1e-12), params)
    form = symmerge_jax.canonicalize(double, network.spec).params
    for leaf in jax.tree.leaves(form):
        assert isinstance(leaf, np.ndarray) and leaf.dtype == np.float64
    signless = lambda tree: sorted(  # noqa: E731
        np.abs(tree["dense_1"]["kernel"]).ravel().tolist()
    )
    assert signless(form) == signless(double)  # not rounded to single precision
    with jax.enable_x64(True):
        chex.assert_trees_all_equal(
            form, symmerge_jax.canonicalize(double, network.spec).params
        )


def test_networks_of_another_spec_are_refused(key):
    params = network_of().init(key)
    three = network_of({"kind": "siren", "layer_sizes": [2, 4, 4, 1]}).spec
    with pytest.raises(ValueError, match=r"missing \['dense_2/bias'"):
        symmerge_jax.canonicalize(params, three)


def test_values_that_are_not_finite_are_named(key):
    network = network_of()
    params = network.init(key)
    params["dense_1"]["kernel"] = params["dense_1"]["kernel"].at[2, 0].set(jnp.nan)
    with pytest.raises(ValueError, match=r"dense_1/kernel' is not finite: nan.*\(2, 0"):
        symmerge_jax.canonicalize(params, network.spec)


def test_zero_networks_are_refused(key):
    network = network_of()
    none = jax.tree.map(lambda x: x[None][:0], network.init(key))
    with pytest.raises(ValueError, match="zero networks"):
        symmerge_jax.canonicalize(none, network.spec)


@pytest.mark.slow
def test_a_canonicalizer_reconstructs(key, canonicalizer):
    spec = canonicalizer.spec
    params = testing.random_params(key, network_of())
    twins = symmetry.sample_orbit(key, params, spec, 3)
    forms = symmerge_jax.canonicalize(
        twins, spec, form="decoded", canonicalizer=canonicalizer
    ).params
    assert jax.tree.map(np.shape, forms) == jax.tree.map(np.shape, twins)
    for leaf in jax.tree.leaves(forms):
        np.testing.assert_allclose(
            leaf, np.broadcast_to(leaf[0], leaf.shape), atol=1e-5
        )
    chex.assert_trees_all_equal(forms, canonicalizer.reconstruct(twins))
    closed = symmerge_jax.canonicalize(twins, spec).params
    assert not np.allclose(forms["dense_0"]["kernel"], closed["dense_0"]["kernel"])


def test_a_canonicalizer_of_another_symmetry_is_refused(key, canonicalizer):
    other = network_of({**SIREN, "w0": 20.0})
    with pytest.raises(ValueError, match="trained for another symmetry"):
        symmerge_jax.canonicalize(
            other.init(key), other.spec, form="decoded", canonicalizer=canonicalizer
        )


ARCHITECTURES = {
    "siren": {"kind": "siren", "layer_sizes": [2, 6, 5, 1]},
    "relu": {"kind": "mlp", "layer_sizes": [2, 6, 5, 1], "activation": "relu"},
    "tanh": {"kind": "mlp", "layer_sizes": [2, 6, 5, 1], "activation": "tanh"},
    "gelu": {"kind": "mlp", "layer_sizes": [2, 6, 5, 1], "activation": "gelu"},
    "linear": {"kind": "mlp", "layer_sizes": [2, 1], "activation": "tanh"},
}


@pytest.fixture(
    scope="module",
    params=[
        *("siren", "relu"),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("tanh", "gelu", "linear")),
    ],
)
def template_case(request):
    """Network, canonicaliser that reads outputs, four twins, and their forms."""
    architecture = ARCHITECTURES[request.param]
    network = network_of(architecture)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    std = 0.1 if architecture["kind"] == "siren" else 0.5  # phases are 30 times that
    params = testing.random_params(jax.random.key(3), shapes, std=std)
    twins = symmetry.sample_orbit(jax.random.key(4), params, network.spec, 4)
    probe = {"kind": "probe", "width": 4, "num_probes": 3}
    canonicalizer = untrained(architecture, probe)
    forms, element, _ = symmerge_jax.canonicalize(
        twins, network.spec, canonicalizer=canonicalizer, form="template"
    )
    return network, canonicalizer, twins, forms, element


def evaluate(network, params_batch, x):
    return jax.jit(jax.vmap(network.apply, (0, None)))(params_batch, x)


@pytest.mark.slow
def test_twins_share_a_twin(key, template_case):
    network, _, twins, forms, _ = template_case
    for leaf in jax.tree.leaves(forms):
        np.testing.assert_allclose(
            leaf, np.broadcast_to(leaf[:1], leaf.shape), atol=1e-5
        )
    x = jax.random.uniform(key, (50, 2), minval=-1)
    expected = evaluate(network, twins, x)
    np.testing.assert_allclose(evaluate(network, forms, x), expected, atol=1e-4)
    middle = jax.tree.map(lambda leaf: (leaf + leaf[::-1]) / 2, dict(forms))
    np.testing.assert_allclose(evaluate(network, middle, x), expected, atol=1e-4)
    if len(network.spec.spaces) > 2:  # without, there is a barrier
        middle = jax.tree.map(lambda leaf: (leaf + leaf[::-1]) / 2, dict(twins))
        assert np.abs(evaluate(network, middle, x) - expected).max() > 0.05


def test_the_element_leads_to_the_form(template_case):
    network, _, twins, forms, element = template_case

    def move(element, params):
        params = symmetry.fold_phases(params, network.spec)
        return symmetry.act(element, params, network.spec)

    moved = jax.jit(jax.vmap(move))(element, twins)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        moved,
        dict(forms),
    )


def test_the_form_is_nearer_to_the_template_than_the_closed_form(template_case):
    network, canonicalizer, twins, forms, _ = template_case
    closed = symmerge_jax.canonicalize(twins, network.spec).params
    template = canonicalizer.reconstruct(closed)

    def distance(form, template):
        template = symmetry.fold_phases(template, network.spec)
        scales = symmetry.balance_scales(template, network.spec)
        template = symmetry.act(scales, template, network.spec)
        return symmetry.distance(form, template)

    distances = jax.jit(jax.vmap(distance))
    ours, others = distances(forms, template), distances(closed, template)
    if len(network.spec.spaces) > 2:
        assert (ours < 0.99 * others).all()
    else:
        chex.assert_trees_all_equal(forms, twins)  # nothing can be moved


@pytest.mark.slow
def test_the_template_form_of_one_network_is_that_of_the_batch(template_case):
    network, canonicalizer, twins, forms, _ = template_case
    one = symmerge_jax.canonicalize(
        row(twins, 1), network.spec, canonicalizer=canonicalizer, form="template"
    ).params
    chex.assert_trees_all_equal(row(forms, 1), one)


def test_templates_keep_double_precision(key, canonicalizer):
    network = network_of()
    params = testing.random_params(key, network)
    double = jax.tree.map(lambda x: np.asarray(x, np.float64) * (1 + 1e-12), params)
    form = symmerge_jax.canonicalize(
        double, network.spec, canonicalizer=canonicalizer, form="template"
    ).params
    with jax.enable_x64(True):
        x = jax.random.uniform(key, (50, 2), np.float64, minval=-1)
        y, z = network.apply(double, x), network.apply(form, x)
        np.testing.assert_allclose(y, z, atol=1e-12)


def test_the_closed_form_returns_its_element(key):
    network = network_of()
    params = testing.random_params(key, network)
    found = symmerge_jax.canonicalize(params, network.spec)
    folded = symmetry.fold_phases(params, network.spec)
    chex.assert_trees_all_equal(
        symmetry.act(found.element, folded, network.spec), dict(found.params)
    )


def test_options_that_mean_nothing_are_refused(key, canonicalizer, unchecked):
    network = network_of()
    params = network.init(key)

    def call(**options):
        return symmerge_jax.canonicalize(params, network, **options)

    with pytest.raises(ValueError, match=r"form must be one of .*, got 'exact'"):
        call(form="exact")
    for form in ("template", "decoded"):
        with pytest.raises(ValueError, match=f"'{form}' needs a canonicalizer"):
            call(form=form)
    with pytest.raises(ValueError, match="reads no canonicalizer"):
        call(canonicalizer=canonicalizer)
    with pytest.raises(ValueError, match="of which there is no certificate"):
        call(form="decoded", canonicalizer=canonicalizer, tolerance=1e-3)


def test_the_orbit_of_a_real_network_has_one_form(data_dir):
    inrs = zoo.import_dws(data_dir / "mnist_inrs")
    spec = networks.build(inrs.architecture).spec
    forms = symmerge_jax.canonicalize(inrs.params, spec).params
    for leaf in jax.tree.leaves(forms):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[0], leaf.shape))
