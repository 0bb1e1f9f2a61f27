import dataclasses
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks, symmetry
from tests.metanets import flat_edges

# Options that are enough to reach every branch; `group` says which networks they read.
CONFIGS = {
    "sign_inr": dict(group="sign"),
    "sign_absolute": dict(group="sign", symmetrize=False, skip=False),
    "sign_ablated": dict(group="sign", ablate_symmetry=True),
    "sign_separate": dict(group="sign", io="mlp", num_io_mlps=2, edge_embedding=False),
    "sign_gated_separate_mean": dict(group="sign", num_io_mlps=2, aggregator="mean"),
    "sign_last_layer": dict(group="sign", readout="last_layer", node_embedding=False),
    "sign_bidirectional": dict(group="sign", bidirectional=True, io="mlp"),
    "scale_cnn": dict(group="scale", io="mlp", edge_embedding=False, skip=False),
    "scale_gated": dict(group="scale"),
    "permutation": dict(group="permutation"),
    "permutation_bidirectional": dict(
        group="permutation", bidirectional=True, skip=False, edge_embedding=False
    ),
    "permutation_of_sign": dict(group="sign", symmetry="permutation"),
}
ACTIVATIONS = {"sign": "tanh", "scale": "relu", "permutation": "gelu"}


def make(name, **options):
    """Return a network, its encoder of width 6, and a graph of 3 random members."""
    options = CONFIGS[name] | options
    network = networks.mlp((2, 4, 3, 2), ACTIVATIONS[options.pop("group")])
    params = jax.vmap(network.init)(jax.random.split(jax.random.key(3), 3))
    topology = graphs.topology(network.spec, jax.tree.map(lambda x: x[0], params))
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(4), len(leaves))
    leaves = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    params = jax.tree.unflatten(treedef, leaves)
    encoder = metanets.ScaleGMN(
        topology, **({"width": 6, "num_layers": 2, "dropout": 0.5} | options)
    )
    return network, encoder, params


def some(*fast, without=()):
    """Return the names of all cases, those that are not `fast` marked as slow."""
    slow = [name for name in CONFIGS if name not in (*fast, *without)]
    return [*fast, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


def make_variables(encoder, graph, dtype=jnp.float32):
    """Return random parameters, biases and LayerNorms too, without compiling `init`."""
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), graph)
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        noise = generator.normal(size=leaf.shape)
        if path[-1].key == "ln_g":
            return jnp.asarray(1 + 0.1 * noise, dtype)
        fan_in = leaf.shape[0] if leaf.ndim == 2 else 4
        return jnp.asarray(noise / np.sqrt(fan_in), dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def graph_of(encoder, params, dtype=jnp.float32):
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    return graphs.params_to_graph(params, encoder.topology)


def group_of(encoder):
    (group,) = {s.group for s in encoder.topology.spaces if s.role == "hidden"}
    return encoder.symmetry or group.value


def flat(encoder, variables, graph):
    one = lambda n, e: flat_edges.encode(  # noqa: E731
        encoder, group_of(encoder), variables, n, e
    )
    return jax.vmap(one)(graph.nodes, graph.edges)


@pytest.mark.parametrize("name", some("sign_inr", "scale_cnn", "permutation"))
def test_values_are_those_of_flat_edges(name):
    with jax.enable_x64(True):
        _, encoder, params = make(name)
        graph = graph_of(encoder, params, jnp.float64)
        variables = make_variables(encoder, graph, jnp.float64)
        ours = jax.jit(encoder.apply)(variables, graph)
        theirs = jax.jit(lambda v: flat(encoder, v, graph))(variables)
    # Rounding of float64 through a few hundred sums.
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_those_of_flat_edges(name):
    with jax.enable_x64(True):
        _, encoder, params = make(name)
        graph = graph_of(encoder, params, jnp.float64)
        variables = make_variables(encoder, graph, jnp.float64)

        def gradients(f):
            def loss(variables, nodes, edges):
                z = f(variables, graph._replace(nodes=nodes, edges=edges))
                return jnp.sum(jnp.sin(z + jnp.arange(z.shape[-1])[None]))

            gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
            return jax.tree.leaves(gradient(variables, graph.nodes, graph.edges))

        ours = gradients(encoder.apply)
        theirs = gradients(lambda v, g: flat(encoder, v, g))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def orbit_member(network, params, group):
    """Return `g . params` for a random element that permutes and flips or scales."""
    key, sizes = jax.random.key(7), network.spec.sizes(params)
    element = {}
    for i, space in enumerate(s for s in network.spec.spaces if s.name[:6] == "hidden"):
        size = sizes[space.name]
        keys = jax.random.split(jax.random.fold_in(key, i), 2)
        scale = {
            "sign": jnp.where(jnp.arange(size) % 2 == 0, -1.0, 1.0),
            "scale": jnp.exp(5 * jax.random.normal(keys[0], (size,))),
            "permutation": jnp.ones(size),
        }[group]
        element[space.name] = symmetry.Monomial(
            jax.random.permutation(keys[1], size), scale
        )
    return element, symmetry.act(element, params, network.spec)


def deviation(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a))


NOT_INVARIANT = ("sign_ablated", "permutation_of_sign")


@pytest.mark.parametrize("name", some("sign_inr", "scale_gated", without=NOT_INVARIANT))
def test_latent_is_invariant_and_node_features_are_equivariant(name):
    network, encoder, params = make(name)
    params = jax.tree.map(lambda x: x[0], params)
    group = group_of(encoder)
    element, moved = orbit_member(network, params, group)
    variables = make_variables(encoder, graph_of(encoder, params))

    @jax.jit
    def apply(graph):
        return encoder.apply(variables, graph), encoder.apply(
            variables, graph, method="node_features"
        )

    graph, moved_graph = graph_of(encoder, params), graph_of(encoder, moved)
    # float32, log-scales of standard deviation 5 for "scale".
    latent, features = apply(graph)
    moved_latent, moved_features = apply(moved_graph)
    assert deviation(latent, moved_latent) < 5e-6
    for space, where in zip(
        encoder.topology.spaces, encoder.topology.node_slices, strict=True
    ):
        x, y = features[where], moved_features[where]
        if space.role == "hidden":
            g = element[space.name]
            x = g.scale[:, None] * x[g.perm]
        size = jnp.linalg.norm(x, axis=-1, keepdims=True)
        np.testing.assert_allclose(x / size, y / size, atol=2e-5)


@pytest.mark.parametrize("name", NOT_INVARIANT)
def test_encoders_without_the_sign_symmetry_notice_sign_flips(name):
    network, encoder, params = make(name)
    params = jax.tree.map(lambda x: x[0], params)
    _, moved = orbit_member(network, params, "sign")
    variables = make_variables(encoder, graph_of(encoder, params))
    apply = jax.jit(encoder.apply)
    latent = apply(variables, graph_of(encoder, params))
    assert deviation(latent, apply(variables, graph_of(encoder, moved))) > 1e-3


@pytest.mark.parametrize(
    "name", [pytest.param("sign_inr", marks=pytest.mark.slow), "scale_gated"]
)
def test_gradients_are_finite_where_biases_and_weights_are_zero(name):
    _, encoder, params = make(name, num_layers=1)
    zeros = jax.tree.map(jnp.zeros_like, params)
    graph = graph_of(encoder, zeros)
    variables = make_variables(encoder, graph)

    def loss(variables, nodes, edges):
        graph_ = graph._replace(nodes=nodes, edges=edges)
        return jnp.sum(encoder.apply(variables, graph_) ** 2)

    grads = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(
        variables, graph.nodes, graph.edges
    )
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(grads))


def test_batch_axes_are_those_of_vmap_and_of_single_networks():
    _, encoder, params = make("sign_inr", num_layers=1)
    graph = graph_of(encoder, params)
    variables = make_variables(encoder, graph)

    @jax.jit
    def one(nodes, edges):
        return encoder.apply(variables, graph._replace(nodes=nodes, edges=edges))

    batch = one(graph.nodes, graph.edges)
    vmapped = jax.jit(jax.vmap(one))(graph.nodes, graph.edges)
    np.testing.assert_allclose(vmapped, batch, atol=1e-5)
    single = one(graph.nodes[1], graph.edges[1])
    np.testing.assert_allclose(single, batch[1], atol=1e-5)
    assert jax.eval_shape(one, graph.nodes[None], graph.edges[None]).shape == (1, 3, 6)


@pytest.mark.slow
def test_remat_changes_no_value_and_no_gradient():
    _, encoder, params = make("sign_inr")
    graph = graph_of(encoder, params)
    variables = make_variables(encoder, graph)
    results = []
    for remat in (False, True):
        model = dataclasses.replace(encoder, remat=remat)
        loss = lambda v, m=model: jnp.sum(m.apply(v, graph) ** 2)  # noqa: E731
        results.append(jax.jit(jax.value_and_grad(loss))(variables))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_dropout_keeps_the_sign_symmetry_and_is_off_by_default():
    network, encoder, params = make("sign_inr", num_layers=1)
    params = jax.tree.map(lambda x: x[0], params)
    graph = graph_of(encoder, params)
    flips = jnp.array([1.0, -1.0, -1.0, 1.0])
    element = {"hidden_0": symmetry.Monomial(jnp.arange(4), flips)}
    moved = graph_of(encoder, symmetry.act(element, params, network.spec))
    variables = make_variables(encoder, graph)
    apply = jax.jit(encoder.apply, static_argnames="deterministic")
    drop = {"deterministic": False, "rngs": {"dropout": jax.random.key(1)}}
    latent, dropped = apply(variables, graph), apply(variables, graph, **drop)
    assert deviation(latent, dropped) > 1e-2
    assert deviation(dropped, apply(variables, moved, **drop)) < 5e-6
    # Without dropout no key is asked for.
    no_dropout = dataclasses.replace(encoder, dropout=0.0)
    jax.eval_shape(lambda: no_dropout.apply(variables, graph, deterministic=False))


@pytest.mark.slow
def test_input_options_replace_and_scale_the_raw_features():
    _, encoder, params = make("sign_inr")
    graph = graph_of(encoder, params)
    variables = make_variables(encoder, graph)
    scale = metanets.input_scale(graph, encoder.topology)
    scaled = dataclasses.replace(encoder, input_scale=scale)
    params_scaled = graphs.graph_to_params(graph, encoder.topology)
    for i, block in enumerate(encoder.topology.blocks):
        bias = encoder.topology.spaces[block.target].bias
        for path, factor in (
            (block.path, scale.edges[i]),
            (bias, scale.nodes[block.target]),
        ):
            leaf = params_scaled[path[0]][path[1]] * factor
            assert abs(float(jnp.mean(leaf**2)) - 1) < 1e-5
            params_scaled[path[0]][path[1]] = leaf
    np.testing.assert_allclose(
        scaled.apply(variables, graph),
        encoder.apply(variables, graph_of(encoder, params_scaled)),
        atol=1e-6,
    )
    zero_input = dataclasses.replace(encoder, input_value=0.0)
    other = graphs.params_to_graph(params, encoder.topology, input_value=0.0)
    np.testing.assert_allclose(
        zero_input.apply(variables, graph), encoder.apply(variables, other), atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scale_gated", {"bidirectional": True}, "reciprocal of every weight"),
        ("scale_gated", {"ablate_symmetry": True}, "needs symmetry='sign'"),
        ("scale_gated", {"symmetry": "sign"}, "no symmetry of this architecture"),
        ("sign_inr", {"io": "gate"}, "io must be one of"),
        ("sign_inr", {"num_io_mlps": 3}, "num_io_mlps must be one of"),
        ("sign_inr", {"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ("sign_inr", {"num_layers": 0}, "num_layers must be >= 1"),
        ("sign_inr", {"latent_size": 0}, "latent_size must be >= 1"),
        (
            "sign_inr",
            {"input_scale": metanets.InputScale((1.0,), (1.0,))},
            "input_scale has 1 node and 1 edge",
        ),
        (
            "sign_inr",
            {"input_scale": metanets.InputScale((1.0,) * 4, (1.0, 0.0, 1.0))},
            "input_scale must be positive",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options, message):
    _, encoder, params = make(name, **options)
    graph = graph_of(encoder, params)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(encoder.init, jax.random.key(0), graph)


def test_a_graph_of_another_architecture_is_refused(key):
    _, encoder, params = make("sign_inr")
    graph = graph_of(encoder, params)
    with pytest.raises(ValueError, match="another architecture"):
        encoder.init(key, graph._replace(edges=graph.edges[:, 1:]))
    with pytest.raises(ValueError, match="batch axes"):
        encoder.init(key, graph._replace(edges=graph.edges[:2]))


def test_latent_size_is_free():
    _, encoder, params = make("scale_gated", latent_size=9)
    graph = graph_of(encoder, params)
    variables = make_variables(encoder, graph)
    assert jax.eval_shape(encoder.apply, variables, graph).shape == (3, 9)


@pytest.mark.parametrize(
    ("layout", "features", "options", "expected"),
    [
        # Section 2.5 of the spec; dead MLPs of the published readout left out.
        ((2, 32, 32, 1), 1, dict(group="sign"), 1_936_256 - 33_280),
        ((2, 32, 32, 1), 1, dict(group="permutation"), 728_960),
        (
            (1, 16, 16, 16, 10),
            9,
            dict(group="scale", width=256, io="mlp", edge_embedding=False, skip=False),
            5_861_376 - 132_096,
        ),
        (
            (1, 16, 16, 16, 10),
            9,
            dict(
                group="sign",
                width=256,
                io="mlp",
                num_io_mlps=2,
                edge_embedding=False,
                skip=False,
            ),
            9_290_752 - 132_096,
        ),
    ],
)
def test_published_configurations_have_the_published_number_of_parameters(
    layout, features, options, expected
):
    from tests.metanets import golden_test

    case = {
        "layout": layout,
        "edge_features": features,
        "symmetry": options["group"],
        "input_value": 0.0,
    }
    topology = golden_test.make_topology(case)
    options = {k: v for k, v in options.items() if k != "group"}
    encoder = metanets.ScaleGMN(topology, **options)
    graph = golden_test.make_graph(case, topology)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), graph)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


SHAPES = [(32, 2), (32,), (32, 32), (32,), (1, 32), (1,)]


def read_inr(path):
    """Return a SIREN of the MNIST-INR data set as our parameters."""
    with zipfile.ZipFile(path) as file:
        names = [n for n in file.namelist() if re.search(r"/data/\d+$", n)]
        names.sort(key=lambda n: int(n.rsplit("/", 1)[1]))
        arrays = [
            np.frombuffer(file.read(n), "<f4").reshape(s)
            for n, s in zip(names, SHAPES, strict=True)
        ]
    return {
        f"dense_{i}": {"kernel": arrays[2 * i].T, "bias": arrays[2 * i + 1]}
        for i in range(3)
    }


@pytest.mark.parametrize(
    ("options", "is_invariant"),
    [
        ({}, True),
        pytest.param({"input_scale": True}, True, marks=pytest.mark.slow),
        pytest.param({"ablate_symmetry": True}, False, marks=pytest.mark.slow),
        pytest.param({"symmetry": "permutation"}, False, marks=pytest.mark.slow),
    ],
)
def test_real_orbit_of_an_inr_has_one_latent(data_dir, options, is_invariant):
    paths = sorted(data_dir.glob("mnist_inrs/*/checkpoints/model_final.pth"))
    assert len(paths) == 32
    params = jax.tree.map(lambda *x: jnp.stack(x), *map(read_inr, paths))
    network = networks.siren((2, 32, 32, 1))
    topology = graphs.topology(network.spec, jax.tree.map(lambda x: x[0], params))
    graph = graphs.params_to_graph(params, topology)
    if options.get("input_scale"):
        options = {"input_scale": metanets.input_scale(graph, topology)}
    encoder = metanets.ScaleGMN(topology, width=16, num_layers=2, **options)
    variables = jax.jit(encoder.init)(jax.random.key(0), graph)
    z = jax.jit(encoder.apply)(variables, graph)
    spread = jnp.linalg.norm(z - z[:1], axis=-1) / jnp.linalg.norm(z[0])
    if is_invariant:
        assert spread.max() < 5e-6
    else:
        assert spread.max() > 1e-4  # twenty times the bound of the invariant ones
