import jax
import numpy as np
import pytest

from symmerge_jax import graphs, symmetry
from symmerge_jax.symmetry import Axis, Group, Space


def test_small_inr_in_full(make_chain):
    """2-5-4-1: counts of the published graphs of INRs."""
    topology = graphs.topology(*make_chain(2, 5, 4, 1))
    assert (topology.num_nodes, topology.num_edges) == (12, 34)
    assert (topology.num_node_types, topology.num_edge_types) == (5, 4)
    assert topology.num_edge_features == 1
    assert [space.role for space in topology.spaces] == [
        "input",
        "hidden",
        "hidden",
        "output",
    ]
    assert topology.node_slices == (
        slice(0, 2),
        slice(2, 7),
        slice(7, 11),
        slice(11, 12),
    )
    assert topology.edge_slices == (slice(0, 10), slice(10, 30), slice(30, 34))
    np.testing.assert_array_equal(topology.senders[:10], [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(topology.receivers[:10], [2, 3, 4, 5, 6] * 2)
    np.testing.assert_array_equal(topology.senders[10:30], np.repeat(range(2, 7), 4))
    np.testing.assert_array_equal(topology.receivers[10:30], [7, 8, 9, 10] * 5)
    np.testing.assert_array_equal(topology.senders[30:], [7, 8, 9, 10])
    np.testing.assert_array_equal(topology.receivers[30:], [11] * 4)
    np.testing.assert_array_equal(topology.node_types, [0, 1] + [2] * 5 + [3] * 4 + [4])
    np.testing.assert_array_equal(
        topology.edge_types, [0] * 5 + [1] * 5 + [2] * 20 + [3] * 4
    )
    for array in (topology.senders, topology.receivers):
        assert array.dtype == topology.edge_types.dtype == np.int32


def test_edges_to_outputs_are_typed_by_the_target(make_chain):
    topology = graphs.topology(*make_chain(2, 3, 4, 2))
    np.testing.assert_array_equal(topology.edge_types[-8:], [3, 4] * 4)
    same_target = topology.receivers[-8:]
    np.testing.assert_array_equal(topology.edge_types[-8:] - 3, same_target - 9)


@pytest.mark.parametrize(
    ("sizes", "num_nodes", "num_edges"),
    [((2, 32, 32, 1), 67, 1120), ((2, 1), 3, 2)],
)
def test_counts_of_inrs(make_chain, sizes, num_nodes, num_edges):
    topology = graphs.topology(*make_chain(*sizes))
    assert (topology.num_nodes, topology.num_edges) == (num_nodes, num_edges)


def test_counts_of_the_small_cnn_zoo(make_conv_chain):
    spec, params = make_conv_chain((1, 16, 16, 16), (3, 3, 3), 10)
    topology = graphs.topology(spec, params)
    assert (topology.num_nodes, topology.num_edges) == (59, 688)
    assert topology.num_node_types == 14
    assert topology.num_edge_features == 9


def test_masks_part_the_nodes(case):
    topology = graphs.topology(*case)
    masks = [topology.mask("input"), topology.mask("hidden"), topology.mask("output")]
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    sizes = [
        sum(s.size for s in topology.spaces if s.role == role)
        for role in ("input", "hidden", "output")
    ]
    assert [int(mask.sum()) for mask in masks] == sizes


def test_edges_join_the_spaces_of_their_block(case):
    topology = graphs.topology(*case)
    space_of = np.repeat(
        np.arange(len(topology.spaces)), [space.size for space in topology.spaces]
    )
    pairs = set(zip(topology.senders, topology.receivers, strict=True))
    assert len(pairs) == topology.num_edges
    for block, where in zip(topology.blocks, topology.edge_slices, strict=True):
        assert (space_of[topology.senders[where]] == block.source).all()
        assert (space_of[topology.receivers[where]] == block.target).all()


def test_topology_is_hashable_equal_and_static_under_jit(get_case):
    spec, params = get_case("inr")
    topology = graphs.topology(spec, params)
    again = graphs.topology(spec, jax.tree.map(np.zeros_like, params))
    _ = topology.senders  # cached arrays take no part in comparisons
    assert topology == again and hash(topology) == hash(again)
    assert topology != graphs.topology(*get_case("two_outputs"))
    traces = []

    def function(x, topology):
        traces.append(topology)
        return x * topology.num_nodes

    compiled = jax.jit(function, static_argnames="topology")
    assert compiled(1.0, topology=topology) == compiled(1.0, topology=again) == 12
    assert len(traces) == 1


def test_topology_takes_shapes(get_case):
    spec, params = get_case("conv")
    shapes = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, params))
    assert graphs.topology(spec, shapes) == graphs.topology(spec, params)


H = Space("h", Group.SIGN)


@pytest.mark.parametrize(
    ("axes", "shapes", "message"),
    [
        (
            {"a": (Axis("h"),), "b": (Axis("h"),)},
            {"a": (3,), "b": (3,)},
            "Space 'h' has two biases: 'a' and 'b'",
        ),
        ({"gain": (Axis("h", 0),)}, {"gain": (3,)}, "'gain' with axes .* is neither"),
        ({"a": (Axis("h"), None)}, {"a": (3, 2)}, "'a' with axes .* is neither"),
        (
            {"bias": (Axis("h", 1, 2),)},
            {"bias": (6,)},
            "'bias': repeat=2 on the written axis",
        ),
    ],
)
def test_parameters_without_a_place_in_the_graph_are_refused(axes, shapes, message):
    spec = symmetry.SymmetrySpec.create(axes, [H])
    params = {name: np.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=message):
        graphs.topology(spec, params)


def test_parameters_of_another_architecture_are_refused(get_case):
    spec, _ = get_case("inr")
    with pytest.raises(ValueError, match="do not fit the spec"):
        graphs.topology(spec, get_case("two_outputs")[1])
