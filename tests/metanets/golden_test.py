"""ScaleGMN against values of the public PyTorch modules (`tests/golden`).

Other cases of the same schema are tried by naming a file in SYMMERGE_GOLDEN.
"""

import itertools
import json
import math
import os
import pathlib

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, symmetry

_PATH = pathlib.Path(
    os.environ.get("SYMMERGE_GOLDEN")
    or pathlib.Path(__file__).parents[1] / "golden" / "golden.json"
)
GOLDEN = json.loads(_PATH.read_text())
CASES = GOLDEN["encoder"]


def make_topology(case):
    """Return the topology of a layered network with the layout of a case."""
    layout = case["layout"]
    names = ["in", *(f"hidden_{i}" for i in range(len(layout) - 2)), "out"]
    groups = [symmetry.Group(case["symmetry"])] * len(layout)
    groups[0] = groups[-1] = symmetry.Group.TRIVIAL
    roles = ["input", *["hidden"] * (len(layout) - 2), "output"]
    spaces = tuple(
        graphs.NodeSpace(name, size, role, group, (name,) if i else None)
        for i, (name, size, role, group) in enumerate(
            zip(names, layout, roles, groups, strict=True)
        )
    )
    kernel = math.isqrt(case["edge_features"])
    blocks = []
    for i in range(len(layout) - 1):
        dense = kernel == 1 or i == len(layout) - 2
        shape = (() if dense else (kernel, kernel)) + (layout[i], layout[i + 1])
        blocks.append(
            graphs.EdgeBlock(
                source=i,
                target=i + 1,
                path=(f"w{i}",),
                source_axis=len(shape) - 2,
                target_axis=len(shape) - 1,
                shape=shape,
            )
        )
    return graphs.Topology(spaces, tuple(blocks))


def make_graph(case, topology):
    """Return the input of a case, float64."""
    layout, num_features = case["layout"], case["edge_features"]
    nodes, edges = [np.full(layout[0], case["input_value"])], []
    for i, (size, next_size) in enumerate(itertools.pairwise(layout)):
        nodes.append(0.3 * np.sin(0.83 * np.arange(1, next_size + 1) + 0.17 * i))
        used = topology.blocks[i].num_features
        n = np.arange(1, size * next_size * used + 1)
        weight = (0.5 * np.cos(0.61 * n + 0.29 * i)).reshape(size * next_size, used)
        edges.append(np.pad(weight, [(0, 0), (0, num_features - used)]))
    return jraph.GraphsTuple(
        nodes=jnp.asarray(np.concatenate(nodes)[:, None]),
        edges=jnp.asarray(np.concatenate(edges)),
        senders=topology.senders,
        receivers=topology.receivers,
        n_node=np.array([topology.num_nodes]),
        n_edge=np.array([topology.num_edges]),
        globals=None,
    )


def make_encoder(case, **options):
    """Return the encoder that the fields of a case describe."""
    steps = [int(n[5 : n.index(".")]) for n in case["param_shapes"] if n[:5] == "layer"]
    return metanets.ScaleGMN(
        topology=make_topology(case),
        width=case["d"],
        num_layers=max(steps) + 1,
        symmetry=case["symmetry"],
        io=case["io"],
        num_io_mlps=case["num_io_mlps"],
        node_embedding="node_pe" in case["param_shapes"],
        edge_embedding=case["edge_pe"],
        skip=case["skip"],
        input_value=case["input_value"],
        norm_epsilon=1e-10,
        unit_rows=False,
        **options,
    )


def fill(name, shape):
    """Return the parameter of a name by the closed-form rule of the file, [in, out]."""
    h = sum(name.encode()) % 97
    s = np.sin(0.37 * np.arange(1, math.prod(shape) + 1) + 0.11 * h).reshape(shape)
    last = name.split(".")[-1]
    if last == "ln_g":
        return 1 + 0.1 * s
    if last in ("b0", "b1", "ln_b"):
        return 0.1 * s
    if last in ("node_pe", "edge_pe"):
        return s
    return (s / np.sqrt(shape[-1])).T


def place(name):
    """Return where the parameter of a name lies in our tree."""
    names = {"msg": "message", "upd": "update", "read": "readout"}
    path = [names.get(part, part) for part in name.split(".")]
    if path[0].startswith("layer"):
        path[0] = f"layer_{path[0][5:]}"
    elif len(path) == 1:
        path = ["embedding", *path]
    return tuple(jax.tree_util.DictKey(part) for part in ("params", *path))


def make_variables(case, encoder, graph):
    """Return the parameters of a case, having checked names, shapes and number."""
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), graph)
    filled = {place(n): fill(n, s) for n, s in case["param_shapes"].items()}
    leaves, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    assert {path for path, _ in leaves} == set(filled)
    for path, leaf in leaves:
        assert leaf.shape == filled[path].shape, path
    assert sum(leaf.size for _, leaf in leaves) == case["n_params"]
    return jax.tree.unflatten(
        treedef, [jnp.asarray(filled[path]) for path, _ in leaves]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_latent_and_number_of_parameters(name):
    case = CASES[name]
    with jax.enable_x64(True):
        encoder = make_encoder(case)
        graph = make_graph(case, encoder.topology)
        variables = make_variables(case, encoder, graph)
        latent = jax.jit(encoder.apply)(variables, graph)
    # The file gives 12 digits.
    np.testing.assert_allclose(latent, case["latent"], rtol=0, atol=1e-10)
