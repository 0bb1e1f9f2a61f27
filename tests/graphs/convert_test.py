import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, networks, symmetry, testing


def assert_equal_trees(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def there_and_back(topology):
    """Nodes, edges and recovered parameters in one compiled program."""

    @jax.jit
    def function(params):
        graph = graphs.params_to_graph(params, topology)
        return graph.nodes, graph.edges, graphs.graph_to_params(graph, topology)

    return function


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_round_trip_is_exact(case, batch):
    spec, params = case
    topology = graphs.topology(spec, params)
    number = np.arange(np.prod(batch), dtype=np.float32).reshape(batch)
    stacked = jax.tree.map(lambda a: number.reshape(*batch, *[1] * a.ndim) + a, params)
    nodes, edges, back = there_and_back(topology)(stacked)
    assert nodes.shape == (*batch, topology.num_nodes, 1)
    assert edges.shape == (*batch, topology.num_edges, topology.num_edge_features)
    assert_equal_trees(back, stacked)


def test_no_networks_give_empty_graphs_and_back(get_case):
    spec, params = get_case("flattened")
    nothing = jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape)), params)
    nodes, _, back = there_and_back(graphs.topology(spec, params))(nothing)
    assert nodes.shape[0] == 0
    assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, nothing)


def test_nodes_hold_biases_and_edges_hold_weights(get_case):
    spec, params = get_case("inr")
    topology = graphs.topology(spec, params)
    graph = graphs.params_to_graph(params, topology, input_value=7.0)
    np.testing.assert_array_equal(graph.nodes[:2, 0], [7, 7])
    biases = np.concatenate([params[f"dense_{i}"]["bias"] for i in range(3)])
    np.testing.assert_array_equal(graph.nodes[2:, 0], biases)
    offsets = [0, 2, 7, 11]
    for sender, receiver, weight in zip(
        graph.senders, graph.receivers, graph.edges[:, 0], strict=True
    ):
        layer = int(np.searchsorted(offsets, receiver, side="right")) - 2
        kernel = params[f"dense_{layer}"]["kernel"]
        assert weight == kernel[sender - offsets[layer], receiver - offsets[layer + 1]]
    assert graph.n_node.tolist() == [12] and graph.n_edge.tolist() == [34]
    assert graph.globals is None


def test_only_inputs_have_the_input_value(get_case):
    """A hidden neuron without a bias is like one whose bias is zero."""
    spec, params = get_case("residual")
    topology = graphs.topology(spec, params)
    graph = graphs.params_to_graph(params, topology, input_value=7.0)
    expected = np.concatenate([[7, 7], np.zeros(3), params["bias"], np.zeros(2)])
    np.testing.assert_array_equal(graph.nodes[:, 0], expected)


def test_kernels_are_row_major_in_the_middle_and_dense_weights_first(get_case):
    spec, params = get_case("conv")
    topology = graphs.topology(spec, params)
    edges = graphs.params_to_graph(params, topology).edges
    first, second, last = (edges[where] for where in topology.edge_slices)
    kernel = params["conv_0"]["kernel"]  # [3, 3, 1, 3]
    np.testing.assert_array_equal(first, kernel.reshape(9, 3).T)
    np.testing.assert_array_equal(second[:, 4], params["conv_1"]["kernel"].ravel())
    assert not np.delete(second, 4, axis=1).any()
    np.testing.assert_array_equal(last[:, 0], params["dense"]["kernel"].ravel())
    assert not last[:, 1:].any()


@pytest.mark.parametrize("linear_as_conv", [False, True])
@pytest.mark.parametrize(
    ("kernels", "corners", "sides"),
    [((3, 5), (1, 0), 5), ((2, 3), (0, 0), 3), ((3, 2, 1), (0, 0, 1), 3)],
)
def test_smaller_kernels_are_padded_in_space(
    make_conv_chain, kernels, corners, sides, linear_as_conv
):
    """The odd row and column is at the end: 2 x 2 lies in the first rows of 3 x 3."""
    spec, params = make_conv_chain((1, 2, 3, 2)[: len(kernels) + 1], kernels, 2)
    topology = graphs.topology(spec, params, linear_as_conv=linear_as_conv)
    graph = graphs.params_to_graph(params, topology)
    assert topology.num_edge_features == sides**2
    for number, (size, start) in enumerate(zip(kernels, corners, strict=True)):
        edges = graph.edges[topology.edge_slices[number]]
        square = np.array(edges).reshape(-1, sides, sides)
        kernel = params[f"conv_{number}"]["kernel"].reshape(size, size, -1)
        middle = (slice(None), *[slice(start, start + size)] * 2)
        np.testing.assert_array_equal(square[middle], np.moveaxis(kernel, -1, 0))
        square[middle] = 0
        assert not square.any()
    dense = np.asarray(graph.edges[topology.edge_slices[-1]])
    place = sides**2 // 2 if linear_as_conv else 0
    np.testing.assert_array_equal(dense[:, place], params["dense"]["kernel"].ravel())
    assert np.count_nonzero(dense) == dense[:, place].size
    assert_equal_trees(graphs.graph_to_params(graph, topology), params)


@pytest.mark.parametrize(("image_size", "num_features"), [(11, 9), (19, 16)])
def test_a_flattened_image_has_its_weights_first(image_size, num_features):
    network = networks.cnn((image_size,) * 2 + (1,), (2, 3), 2, readout="flatten")
    params = testing.random_params(jax.random.key(0), network)
    topology = graphs.topology(network.spec, params, linear_as_conv=True)
    graph = graphs.params_to_graph(params, topology)
    assert graph.edges.shape == (2 + 6 + 6, num_features)
    kernel = params["dense"]["kernel"].reshape(-1, 3, 2).transpose(1, 2, 0)
    positions = kernel.shape[-1]
    dense = graph.edges[topology.edge_slices[-1]]
    np.testing.assert_array_equal(dense[:, :positions], kernel.reshape(6, -1))
    assert not dense[:, positions:].any()
    np.testing.assert_array_equal(
        graph.edges[0, :9], params["conv_0"]["kernel"][..., 0, 0].ravel()
    )
    assert_equal_trees(graphs.graph_to_params(graph, topology), params)


def test_kernels_of_all_shapes_fit_one_grid():
    """Heights and widths are padded apart; kernels along a line are one row high."""
    axis = symmetry.Axis
    spec = symmetry.SymmetrySpec.create(
        {
            "tall": (None, None, axis("in", -1), axis("a")),
            "wide": (axis("b"), axis("a", -1), None, None),
            "line": (None, axis("b", -1), axis("out")),
        },
        [symmetry.Space(name, symmetry.Group.TRIVIAL) for name in ("in", "a", "b")]
        + [symmetry.Space("out", symmetry.Group.TRIVIAL)],
    )
    shapes = {"tall": (3, 1, 1, 1), "wide": (1, 1, 1, 4), "line": (2, 1, 1)}
    params = {
        name: 1 + np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        for name, shape in shapes.items()
    }
    topology = graphs.topology(spec, params)
    assert topology.kernel_grid == (3, 4) and topology.num_edge_features == 12
    graph = graphs.params_to_graph(params, topology)
    tall, wide, line = np.asarray(graph.edges).reshape(3, 3, 4)
    np.testing.assert_array_equal(tall, [[0, 1, 0, 0], [0, 2, 0, 0], [0, 3, 0, 0]])
    np.testing.assert_array_equal(wide, [[0] * 4, [1, 2, 3, 4], [0] * 4])
    np.testing.assert_array_equal(line, [[0] * 4, [0, 1, 2, 0], [0] * 4])
    assert_equal_trees(graphs.graph_to_params(graph, topology), params)


def test_flattened_axes_give_each_channel_its_own_entries(get_case):
    spec, params = get_case("flattened")
    topology = graphs.topology(spec, params)
    edges = graphs.params_to_graph(params, topology).edges[topology.edge_slices[-1]]
    kernel = params["dense"]["kernel"].reshape(6, 3, 2)  # position, channel, output
    expected = kernel.transpose(1, 2, 0).reshape(6, 6)
    np.testing.assert_array_equal(edges, expected)


def test_permuted_neurons_give_permuted_nodes_and_edges(case, key):
    spec, params = case
    topology = graphs.topology(spec, params)
    element = symmetry.sample(key, spec, spec.sizes(params), rescale=False)
    graph = graphs.params_to_graph(params, topology)
    moved = graphs.params_to_graph(symmetry.act(element, params, spec), topology)
    order = np.arange(topology.num_nodes)
    for space, where in zip(topology.spaces, topology.node_slices, strict=True):
        if space.name in element:
            order[where] = order[where][np.asarray(element[space.name].perm)]
    np.testing.assert_array_equal(moved.nodes, np.asarray(graph.nodes)[order])
    edge_of = {
        pair: i
        for i, pair in enumerate(zip(graph.senders, graph.receivers, strict=True))
    }
    edge_order = [
        edge_of[order[sender], order[receiver]]
        for sender, receiver in zip(moved.senders, moved.receivers, strict=True)
    ]
    np.testing.assert_array_equal(moved.edges, np.asarray(graph.edges)[edge_order])


def test_vmap_gives_what_batches_give(get_case):
    spec, params = get_case("conv")
    function = there_and_back(graphs.topology(spec, params))
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf + 1]), params)
    assert_equal_trees(jax.jit(jax.vmap(function))(batch), function(batch))


def test_data_type_is_kept_and_zeros_give_no_nan(get_case):
    spec, params = get_case("inr")
    topology = graphs.topology(spec, params)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.bfloat16), params)
    graph = graphs.params_to_graph(zeros, topology)
    assert graph.nodes.dtype == graph.edges.dtype == jnp.bfloat16
    assert jnp.isfinite(graph.nodes).all() and not graph.edges.any()


def test_parameters_that_do_not_fit_are_refused(get_case):
    spec, params = get_case("inr")
    topology = graphs.topology(spec, params)
    fewer = {name: params[name] for name in ("dense_0", "dense_1")}
    with pytest.raises(ValueError, match=r"missing \['dense_2/bias', 'dense_2/kernel'"):
        graphs.params_to_graph(fewer, topology)
    with pytest.raises(ValueError, match=r"unknown \['more'\]"):
        graphs.params_to_graph({**params, "more": np.zeros(1)}, topology)
    wide = {**params, "dense_1": {**params["dense_1"], "bias": np.zeros(9)}}
    with pytest.raises(
        ValueError,
        match=r"'dense_1/bias' has shape \(9,\), the topology expects \(4,\)",
    ):
        graphs.params_to_graph(wide, topology)
    mixed = jax.tree.map(lambda leaf: leaf[None], params)
    mixed["dense_2"]["bias"] = np.zeros((2, 1))
    with pytest.raises(ValueError, match=r"\(2, 1\), the topology expects \(1, 1\)"):
        graphs.params_to_graph(mixed, topology)


def test_graphs_of_another_topology_are_refused(get_case):
    spec, params = get_case("inr")
    other = graphs.topology(*get_case("two_outputs"))
    graph = graphs.params_to_graph(params, graphs.topology(spec, params))
    with pytest.raises(
        ValueError, match=r"nodes \(12, 1\) and edges \(34, 1\), the top"
    ):
        graphs.graph_to_params(graph, other)
