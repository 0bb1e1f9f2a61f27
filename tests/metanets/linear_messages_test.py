"""Linear messages against a loop over neurons and edges, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.metanets import cases


def silu(x):
    return x / (1 + np.exp(-x))


def rms(x):
    return np.sqrt(np.mean(x**2) + 1e-5)


def bent(x, bias, odd):
    return silu(bias + x) + silu(bias - x) if odd else 2 * silu(bias + x)


def oracle(encoder, variables, graph, wave):
    """Return the latent of one network: every neuron and every edge for itself.

    With rows of norm one where there are scales.
    """
    p = jax.tree.map(np.asarray, variables["params"])
    topology, nodes = encoder.topology, np.asarray(graph.nodes)[:, 0]
    edges = np.asarray(graph.edges)
    space_of = np.concatenate(
        [np.full(s.size, i) for i, s in enumerate(topology.spaces)]
    )
    is_hidden, is_signed = topology.mask("hidden"), wave[0] == "sign"
    receivers = topology.receivers
    if wave[0] == "scale":
        nodes, edges = nodes.copy(), edges.copy()
        for v in np.flatnonzero(is_hidden):
            into = receivers == v
            size = np.sqrt(nodes[v] ** 2 + np.sum(edges[into] ** 2))
            nodes[v] /= size
            edges[into] /= size
            edges[topology.senders == v] *= size
    block_of = np.concatenate(
        [np.full(s.stop - s.start, i) for i, s in enumerate(topology.edge_slices)]
    )
    size = [
        edges.shape[1] if b.kernel_shape else b.num_features for b in topology.blocks
    ]
    x = []
    for v, space in enumerate(space_of):
        q = p["embedding"][f"space_{space}"]
        row = nodes[v] * q["bias"][0]
        if "offset" in q:
            local = v - topology.node_slices[space].start
            row = row + q["offset"][0 if is_hidden[v] else local]
        x.append(row)
    for layer in range(encoder.num_layers):
        q, new = p[f"layer_{layer}"], []
        for v, space in enumerate(space_of):
            parts, s = [x[v]], q[f"space_{space}"]
            for way in ("forward", "backward")[: 1 + encoder.bidirectional]:
                ends = (topology.senders, receivers)
                others, own = ends if way == "forward" else ends[::-1]
                message, count = np.zeros(encoder.width), 0
                for e in np.flatnonzero(own == v):
                    block = block_of[e]
                    into = block_of[e] == block_of
                    fan_in = len(set(topology.senders[into])) * size[block]
                    factor = np.sqrt(fan_in) if wave[0] == "scale" else 1
                    for f in range(size[block]):
                        vectors = q.get(f"block_{block}", {}).get(way)
                        vector = 1 if vectors is None else vectors[f]
                        message += factor * edges[e, f] * x[others[e]] * vector
                    count += topology.blocks[block].num_features
                if count:
                    parts.append(message / np.sqrt(count))
            u, odd = np.concatenate(parts), bool(is_hidden[v] and is_signed)
            value, gate, phase = np.split(u @ s["V_G_S"], 3)
            gate = bent(gate / rms(u), s["gate_b"], odd) @ s["gate"] + s["gate_one"]
            phase = phase + s.get("wave_b", 0)
            row = x[v] @ s["K"] + 0.5 * value * gate + 1.5 * wave[1](phase) @ s["R"]
            new.append(row / rms(row))
        x = new
    q, parts, x = p["readout"], [], np.stack(x)
    for i, (space, where) in enumerate(
        zip(topology.spaces, topology.node_slices, strict=True)
    ):
        if space.role != "hidden":
            parts.append(x[where].reshape(-1))
            continue
        s = q[f"space_{i}"]
        rows = [bent(row @ s["w"], s["b"], is_signed) for row in x[where]]
        parts.append(np.mean(rows, axis=0))
    hidden = silu(np.concatenate(parts) @ q["hidden"]["w"] + q["hidden"]["b"])
    return hidden @ q["out"]["w"] + q["out"]["b"]


ORACLES = {
    "sine": ("sign", np.sin),
    "relu": ("scale", lambda x: np.maximum(x, 0)),
    "gelu": ("permutation", silu),
    "tanh_cnn": ("sign", np.sin),
    "relu_cnn": ("scale", lambda x: np.maximum(x, 0)),
}


@pytest.mark.parametrize("name", cases.LINEAR)
def test_values_are_those_of_a_loop_over_edges(name):
    with jax.enable_x64(True):
        _, encoder, params, variables = cases.make_linear(name)
        graph = cases.graph_of(encoder, params, jnp.float64)
        latents = jax.jit(encoder.apply)(variables, graph)
        expected = oracle(encoder, variables, graph, ORACLES[name])
    np.testing.assert_allclose(latents, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_batches_are_compiled_once_and_gradients_are_finite_at_zero():
    with jax.enable_x64(True):
        _, encoder, params, variables = cases.make_linear("relu_cnn")
        zeros = jax.tree.map(lambda x: jnp.zeros((3, *x.shape)), params)
        compiled = []

        @jax.jit
        def gradients(variables, nodes, edges):
            compiled.append(None)
            graph = cases.graph_of(encoder, zeros, jnp.float64)
            graph = graph._replace(nodes=nodes, edges=edges)
            loss = lambda *x: jnp.sum(encoder.apply(*x) ** 2)  # noqa: E731
            return jax.grad(loss)(variables, graph)

        for batch in (zeros, jax.tree.map(jnp.ones_like, zeros)):
            graph = cases.graph_of(encoder, batch, jnp.float64)
            grads = gradients(variables, graph.nodes, graph.edges)
            assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(grads))
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sine", {"messages": "none"}, r"messages must be one of \('mlp', 'linear'\)"),
        ("sine", {"io": "mlp"}, "io='mlp' is for messages='mlp'"),
        ("sine", {"ablate_symmetry": True}, "ablate_symmetry=True is for"),
        ("relu", {"symmetry": "hetero"}, "read networks of one group"),
        ("relu", {"unit_rows": False}, "scales of neurons by unit_rows=True"),
    ],
)
def test_options_without_meaning_are_refused(name, options, message):
    with jax.enable_x64(True):
        _, encoder, params, variables = cases.make_linear(name)
        encoder = dataclasses.replace(encoder, **options)
        with pytest.raises(ValueError, match=message):
            encoder.apply(variables, cases.graph_of(encoder, params, jnp.float64))
