"""ScaleGMN written plainly on flat lists of edges: the oracle of the dense code.

The message-passing of section 5 of Kalogeropoulos et al. 2024 (arXiv 2406.10685) as one
would first write it with jraph: features `[E, D]` gathered at senders and receivers,
`jraph.segment_sum` for aggregation, every branch evaluated for every node and edge and
blended by masks, maps of node features computed per edge. One network at a time; lift
with `jax.vmap`. Takes the parameters of `metanets.ScaleGMN`.
"""

import jax
import jax.numpy as jnp
import jraph


def linear(x, weight, bias=None):
    y = x @ weight
    return y if bias is None else y + bias[None]


def mlp(p, x):
    h = linear(x, p["w0"], p["b0"])
    mean = jnp.mean(h, axis=-1, keepdims=True)
    variance = jnp.mean((h - mean) ** 2, axis=-1, keepdims=True)
    h = (h - mean) / jnp.sqrt(variance + 1e-5) * p["ln_g"][None] + p["ln_b"][None]
    return linear(jax.nn.silu(h), p["w1"], p["b1"])


def canonical(encoder, symmetry, rho, x):
    if symmetry == "scale":
        square = jnp.sum(x**2, axis=-1, keepdims=True)
        norm = jnp.sqrt(jnp.where(square > 0, square, 1))
        return x / (norm + encoder.norm_epsilon)
    if encoder.ablate_symmetry:
        return mlp(rho, x)
    if encoder.symmetrize:
        return mlp(rho, x) + mlp(rho, -x)
    return jnp.abs(x)


def equivariant(encoder, symmetry, p, x, masks):
    """Return all branches for all rows, blended by the masks of the rows' roles."""
    is_input, is_output = (mask[:, None] for mask in masks)
    gate = linear(x, p["W"])
    value = gate * mlp(p["phi"], canonical(encoder, symmetry, p.get("rho"), x))
    name = "phi" if encoder.io == "gated" else "mlp"
    of_input = mlp(p[f"{name}_io"], x)
    of_output = mlp(p[f"{name}_out"], x) if encoder.num_io_mlps == 2 else of_input
    if encoder.io == "gated":
        of_input, of_output = gate * of_input, gate * of_output
    value = jnp.where(is_output, of_output, value)
    return jnp.where(is_input, of_input, value)


def aggregate(encoder, messages, receivers, num_nodes):
    total = jraph.segment_sum(messages, receivers, num_nodes)
    if encoder.aggregator == "sum":
        return total
    count = jraph.segment_sum(jnp.ones(len(receivers)), receivers, num_nodes)
    return total / jnp.maximum(count, 1)[:, None]


def encode(encoder, symmetry, variables, nodes, edges):
    """Return the latent `[D]` of one network.

    Args:
      encoder: the `metanets.ScaleGMN` that the parameters belong to.
      symmetry: "sign", "scale" or "permutation".
      variables: its parameters.
      nodes: `[V, 1]`.
      edges: `[E, F]`.
    """
    params, topology = variables["params"], encoder.topology
    senders, receivers = topology.senders, topology.receivers
    is_input, is_output = topology.mask("input"), topology.mask("output")
    is_hidden = topology.mask("hidden")
    plain = symmetry == "permutation"

    embedding = params["embedding"]
    x = linear(nodes, embedding["node_in"])
    e = linear(edges, embedding["edge_in"])
    if encoder.node_embedding:
        vector = embedding["node_pe"][topology.node_types]
        multiply = is_hidden[:, None] & (not plain)
        x = jnp.where(multiply, x * vector, x + vector)
    if encoder.edge_embedding:
        vector = embedding["edge_pe"][topology.edge_types]
        e = e + vector if plain else e * vector

    ways = [(senders, receivers, None)]
    if encoder.bidirectional:
        ways.append((receivers, senders, "backward"))
    for t in range(encoder.num_layers):
        p = params[f"layer_{t}"]
        parts = [x]
        for sender, receiver, name in ways:
            q = p if name is None else p[name]
            if plain:
                message = mlp(q["message"], jnp.concatenate([e, x[sender]], axis=-1))
            else:
                product = linear(x[sender], q["Wv"]) * linear(e, q["We"])
                masks = is_input[receiver], is_output[receiver]
                message = equivariant(encoder, symmetry, q["message"], product, masks)
            parts.append(aggregate(encoder, message, receiver, topology.num_nodes))
        features = jnp.concatenate(parts, axis=-1)
        if plain:
            updated = mlp(p["update"], features)
        else:
            masks = is_input, is_output
            updated = equivariant(encoder, symmetry, p["update"], features, masks)
        if "edge" in p and plain:
            e = mlp(p["edge"], jnp.concatenate([e, x[senders], x[receivers]], axis=-1))
        elif "edge" in p:
            ends = [
                canonical(encoder, symmetry, p["edge"].get("rho"), x[i])
                for i in (senders, receivers)
            ]
            phi = mlp(p["edge"]["phi"], jnp.concatenate(ends, axis=-1))
            e = linear(e, p["edge"]["W"]) * phi
        x = linear(x, p["skip"]) + updated if encoder.skip else updated

    p = params["readout"]
    outputs = x[is_output].reshape(-1)
    if encoder.readout == "last_layer":
        return mlp(p["out"], outputs[None])[0]
    if plain:
        return mlp(p["out"], jnp.sum(mlp(p["phi"], x), axis=0, keepdims=True))[0]
    pooled = mlp(p["phi"], canonical(encoder, symmetry, p.get("rho"), x))
    pooled = jnp.sum(jnp.where(is_hidden[:, None], pooled, 0), axis=0)
    features = jnp.concatenate([pooled, x[is_input].reshape(-1), outputs])
    return mlp(p["out"], features[None])[0]
