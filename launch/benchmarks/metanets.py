"""Speed and memory of the encoders (SIREN 2-32-32-1, D = 128, float32).

Times are medians of several runs. `flops` are XLA's own count of the compiled program.
"""

import pathlib
import runpy
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from flax import linen as nn

from benchmarks import published, timing
from symmerge_jax import (
    autoencoders,
    graphs,
    metanets,
    networks,
    symmetry,
    training,
)

LAYER_SIZES = (2, 32, 32, 1)
WIDTH = 128
ENCODE_CHUNK = 4
TRAIN_CHUNK = 2
BATCHES = (8, 16, 32, 64)
LINEAR = {"messages": "linear", "dropout": 0.0}
ENCODERS = {
    "scale_gmn": {"kind": "scale_gmn"},
    "permutation": {"kind": "scale_gmn", "symmetry": "permutation"},
    "neural_graphs": {"kind": "neural_graphs"},
    "relational_transformer": {"kind": "relational_transformer"},
}


class _Decoder(nn.Module):
    """The published decoder, 128-256-512-1185."""

    sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for size in self.sizes[:-1]:
            x = nn.silu(nn.Dense(size)(x))
        return nn.Dense(self.sizes[-1])(x)


def encode(num_networks: int = 32, folder: str | None = None) -> dict:
    """Measure encoding, its memory, and its cost against the number of edges.

    With a `folder`, the published code in it takes turns, see `published`.
    """
    encoder, graph, variables, params = _setup(num_networks)
    theirs = None if folder is None else published.load(folder, params)

    def run(chunk):
        def fn(variables, nodes, edges):
            one = lambda x: encoder.apply(  # noqa: E731
                variables, graph._replace(nodes=x[0], edges=x[1])
            )
            return jax.lax.map(one, (_split(nodes, chunk), _split(edges, chunk)))

        return jax.jit(fn).lower(variables, graph.nodes, graph.edges).compile()

    program = run(ENCODE_CHUNK)
    seconds = timing.median(program, variables, graph.nodes, graph.edges)
    flops = _flops(
        lambda v, n, e: encoder.apply(v, graph._replace(nodes=n, edges=e)),
        variables,
        graph.nodes[:1],
        graph.edges[:1],
    )
    rate = num_networks / seconds
    result = {
        "networks_per_s": rate,
        "gflop_per_network": flops / 1e9,
        "gflops": rate * flops / 1e9,
        "chunk": ENCODE_CHUNK,
        "temporary_mib": _memory(program),
        "edges": [_edges(size) for size in (9, 30, 98, 315)],
    }
    if theirs is not None:
        linear = metanets.ScaleGMN(encoder.topology, width=WIDTH, **LINEAR)
        linear_variables = jax.jit(linear.init)(jax.random.key(2), graph)
        linear_program = jax.jit(linear.apply)
        ours = {
            "ours": lambda: program(variables, graph.nodes, graph.edges),
            "ours, linear messages": lambda: linear_program(linear_variables, graph),
        }
        result |= _compared(ours, num_networks, theirs.encode, theirs.version)
    return result


def train(
    batch_size: int = 64, with_oracle: bool = True, folder: str | None = None
) -> dict:
    """Measure a training step, the batch axis, and steps on plain flat edges.

    Ours and the flat edges are measured in micro-batches and with all networks at once.
    With a `folder`, the published code in it takes turns with whole steps.
    """
    encoder, graph, variables, params = _setup(batch_size)
    theirs = None if folder is None else published.load(folder, params)
    decoder = _Decoder((2 * WIDTH, 4 * WIDTH, 1185))
    head = decoder.init(jax.random.key(5), jnp.zeros((1, WIDTH)))
    network = networks.siren(LAYER_SIZES)
    template = jax.tree.map(lambda x: x[0], params)
    unravel = jax.flatten_util.ravel_pytree(template)[1]
    grid = networks.coordinate_grid(28, 28)
    render = jax.vmap(lambda p: network.apply(p, grid))
    targets = jax.jit(render)(params)
    state = (variables, head)

    def loss_from(latents_fn):
        def loss(state, nodes, edges, targets):
            latents = latents_fn(state[0], nodes, edges)
            decoded = render(jax.vmap(unravel)(_apply(decoder, state[1], latents)))
            return jnp.sum((decoded - targets) ** 2) / 784

        return loss

    def dense(variables, nodes, edges):
        return encoder.apply(
            variables,
            graph._replace(nodes=nodes, edges=edges),
            deterministic=False,
            rngs={"dropout": jax.random.key(0)},
        )

    def step(loss, chunk):
        def fn(state, *batch):
            def body(total, part):
                gradient = jax.grad(loss)(state, *part)
                return jax.tree.map(jnp.add, total, gradient), None

            zeros = jax.tree.map(jnp.zeros_like, state)
            parts = tuple(_split(x, chunk) for x in batch)
            total, _ = jax.lax.scan(body, zeros, parts)
            return jax.tree.map(lambda p, g: p - 1e-4 * g, state, total)

        return jax.jit(fn)

    batch = (graph.nodes, graph.edges, targets)
    program = step(loss_from(dense), TRAIN_CHUNK).lower(state, *batch).compile()
    seconds = timing.median(program, state, *batch)
    flops = _flops(jax.grad(loss_from(dense)), state, *(x[:TRAIN_CHUNK] for x in batch))
    flops /= TRAIN_CHUNK
    rate = batch_size / seconds
    result: dict[str, Any] = {
        "networks_per_s": rate,
        "gflop_per_network": flops / 1e9,
        "gflops": rate * flops / 1e9,
        "batch_size": batch_size,
        "chunk": TRAIN_CHUNK,
        "temporary_mib": _memory(program),
        "batches": [
            _batch(step(loss_from(dense), TRAIN_CHUNK), state, batch, n)
            for n in BATCHES
        ],
    }
    whole_step = _whole_step(params, targets, {"kind": "scale_gmn", "width": WIDTH})
    seconds = timing.median(whole_step)
    result["whole_step_networks_per_s"] = batch_size / seconds
    if theirs is not None:
        linear = {"kind": "scale_gmn", "width": WIDTH, **LINEAR}
        ours = {
            "ours": whole_step,
            "ours, linear messages": _whole_step(params, targets, linear, chunk=32),
        }
        result |= _compared(ours, batch_size, theirs.train, theirs.version)
    if with_oracle:
        oracle = _oracle()

        def flat(variables, nodes, edges):
            one = lambda n, e: oracle(encoder, "sign", variables, n, e)  # noqa: E731
            return jax.vmap(one)(nodes, edges)

        result["chunks"] = [
            {
                "implementation": name,
                "networks_at_once": chunk,
                **_batch(step(loss_from(fn), chunk), state, batch, batch_size),
            }
            for name, fn in (("ours", dense), ("flat edges", flat))
            for chunk in (TRAIN_CHUNK, batch_size)
        ]
    return result


def encoders(batch_size: int = 32) -> dict:
    """Measure the training step of the autoencoder with every encoder, side by side."""
    network = networks.siren(LAYER_SIZES)
    params = jax.vmap(network.init)(jax.random.split(jax.random.key(1), batch_size))
    grid = networks.coordinate_grid(28, 28)
    targets = jax.jit(jax.vmap(lambda p: network.apply(p, grid)))(params)
    steps = {
        name: _whole_step(params, targets, {"width": WIDTH, **encoder})
        for name, encoder in ENCODERS.items()
    }
    seconds = timing.side_by_side(steps)
    return {
        "batch_size": batch_size,
        "width": WIDTH,
        "table": [
            {
                "encoder": name,
                "networks/s": batch_size / seconds[name],
                "x scale_gmn": seconds[name] / seconds["scale_gmn"],
            }
            for name in steps
        ],
    }


def _compared(ours, num_networks: int, theirs, version: str) -> dict[str, Any]:
    """Return networks per second of all, taking turns, and of ours over theirs."""
    name = f"published (torch {version})"
    seconds = timing.side_by_side({**ours, name: theirs}, repeats=7)
    counts = {**dict.fromkeys(ours, num_networks), name: published.BATCH_SIZE}
    rates = {name: counts[name] / seconds[name] for name in seconds}
    return {
        "table": [
            {
                "implementation": implementation,
                "networks at once": counts[implementation],
                "networks/s": rate,
                "x published": rate / rates[name],
            }
            for implementation, rate in rates.items()
        ]
    }


def _setup(num_networks, layer_sizes=LAYER_SIZES):
    network = networks.siren(layer_sizes)
    params = jax.vmap(network.init)(jax.random.split(jax.random.key(1), num_networks))
    topology = graphs.topology(network.spec, jax.tree.map(lambda x: x[0], params))
    graph = graphs.params_to_graph(params, topology)
    encoder = metanets.ScaleGMN(topology, width=WIDTH)
    variables = jax.jit(encoder.init)(jax.random.key(2), graph)
    arrays: Any = graph
    return encoder, arrays, variables, params


def _edges(size):
    """Return the seconds to encode one network with about `size**2` edges."""
    num_networks = max(1, 4000 // size**2)
    encoder, graph, variables, _ = _setup(num_networks, (2, size, size, 1))
    seconds = (
        timing.median(jax.jit(encoder.apply), variables, graph, repeats=3)
        / num_networks
    )
    num_edges = encoder.topology.num_edges
    return {
        "num_edges": num_edges,
        "ms_per_network": 1e3 * seconds,
        "us_per_edge": 1e6 * seconds / num_edges,
    }


def _whole_step(params, targets, encoder, chunk=TRAIN_CHUNK):
    """Return a function that takes one training step of a run.

    That is `training.make_train_step` with AdamW and clipping, on the autoencoder with
    the published decoder, in micro-batches of `chunk` networks.
    """
    architecture = {"kind": "siren", "layer_sizes": LAYER_SIZES}
    statistics = dict.fromkeys(symmetry.flatten(params), (0.0, 1.0))
    model = autoencoders.build(architecture, encoder, {}, statistics)
    grid = networks.coordinate_grid(28, 28)

    def loss_fn(variables, batch, key):
        latents = model.encode(variables, batch["params"], key)
        decoded = model.decode(variables, latents)
        outputs = networks.render(model.network, decoded, grid)
        losses = autoencoders.functional_loss(outputs, batch["targets"])
        return jnp.mean(losses), {}

    optimizer, _ = training.make_optimizer(1e-3, 100, 10, clip_norm=10.0)
    step = training.make_train_step(
        loss_fn, optimizer, num_microbatches=len(targets) // chunk
    )
    variables = jax.jit(model.init)(jax.random.key(0))
    state = training.init_state(jax.random.key(1), variables, optimizer)
    batch = {"params": params, "targets": targets}

    def take_step() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return take_step


def _batch(step, state, batch, size):
    """Return the seconds and temporaries of a step on the first `size` networks."""
    part = tuple(x[:size] for x in batch)
    program = step.lower(state, *part).compile()
    return {
        "batch_size": size,
        "seconds": timing.median(program, state, *part, repeats=3),
        "temporary_mib": _memory(program),
    }


def _apply(decoder, variables, latents) -> Any:
    return decoder.apply(variables, latents)


def _flops(fn, *args):
    analysis: Any = jax.jit(fn).lower(*args).compile().cost_analysis()
    return analysis["flops"]


def _memory(program):
    return program.memory_analysis().temp_size_in_bytes / 2**20


def _split(x, chunk):
    return x.reshape(-1, chunk, *x.shape[1:])


def _oracle():
    """Return the flat-edge implementation that the tests compare with."""
    path = pathlib.Path(__file__).parents[2] / "tests" / "metanets" / "flat_edges.py"
    return runpy.run_path(str(path))["encode"]
