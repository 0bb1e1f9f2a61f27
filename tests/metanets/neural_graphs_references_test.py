"""Neural Graphs against published values and plain loops over edges."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks
from tests.metanets import golden_test
from tests.metanets.neural_graphs_test import make, random_params

CASE = golden_test.GOLDEN.get("neural_graphs")


def norm(params, x):
    y = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return y * params["gain"] + params["shift"]


def flat_features(variables, topology, graph):
    """Return node features `[V, D]` and edge features `[E, D]` before the layers."""
    tree = jax.tree.map(np.asarray, variables)
    p, b = tree["params"]["projections"], tree["constants"]["frequencies"]

    def embed(name, values):
        phases = 2 * np.pi * values @ b[f"{name}s"].T
        x = np.concatenate([np.cos(phases), np.sin(phases)], axis=-1)
        for i in range(2):
            x = x @ p[f"{name}_{i}"]["w"] + p[f"{name}_{i}"]["b"]
        return x

    nodes = embed("node", np.asarray(graph.nodes)[0])
    return nodes + p["node_pe"][topology.node_types], embed("edge", graph.edges[0])


@pytest.mark.skipif(CASE is None, reason="the golden file has no Neural Graphs")
class TestGolden:
    """The published model of principal neighbourhood aggregation."""

    PLACES = {  # noqa: RUF012
        "w_emb": "edge_0",
        "b_emb": "node_0",
        "edge_in": "edge_1",
        "node_in": "node_1",
        "rff_w": "edges",
        "rff_b": "nodes",
        "lin": "out",
        "lin_e": "edge",
        "lin_s": "source",
        "lin_t": "target",
        "lin1": "out",
        "eupd": "edge_update",
    }

    def place(self, name):
        head, *tail = name.split(".")
        stem = head.rstrip("0123456789") or head
        if head in self.PLACES or head == "node_pe":
            where = [self.PLACES.get(head, head), *tail]
            root = (
                ["constants", "frequencies"]
                if head.startswith("rff")
                else ["params", "projections"]
            )
        else:
            root = ["params", f"layer_{head[len(stem) :]}"]
            where = [] if stem == "conv" else [self.PLACES.get(stem, stem)]
            where += [self.PLACES.get(part, part) for part in tail]
        last = {"weight": "w", "bias": "b"}
        if stem == "norm":
            last = {"weight": "gain", "bias": "shift"}
        return (*root, *(last.get(part, part) for part in where))

    def fill(self, name, shape):
        h = sum(name.encode()) % 97
        s = np.sin(0.37 * np.arange(1, math.prod(shape) + 1) + 0.11 * h).reshape(shape)
        if name == "node_pe" or name.startswith("rff"):
            return s
        if name.endswith(".bias"):
            return 0.1 * s
        if name.startswith("norm"):
            return 1 + 0.1 * s
        return (s / np.sqrt(shape[-1])).T

    def inputs(self):
        layout, params = CASE["layout"], {}
        for i, (size, next_size) in enumerate(itertools.pairwise(layout)):
            s = np.arange(CASE["batch"])[:, None]
            n = np.arange(1, size * next_size + 1)[None]
            kernel = 0.05 * np.cos(0.61 * n + 0.29 * i + 1.3 * s)
            n = np.arange(1, next_size + 1)[None]
            params[f"dense_{i}"] = {
                "kernel": jnp.asarray(kernel.reshape(-1, size, next_size)),
                "bias": jnp.asarray(0.03 * np.sin(0.83 * n + 0.17 * i + 0.7 * s)),
            }
        return params

    def statistics(self):
        means = (
            (-3.5504377592587844e-05, -4.8822840881257434e-08, 7.772364187985659e-05),
            (1.1538306353031658e-05, -1.386660102298265e-07, -0.012366106733679771),
        )
        stds = (
            (0.06279996037483215, 0.01826673373579979, 0.11789341270923615),
            (0.02133277803659439, 0.011006370186805725, 0.09987874329090118),
        )
        return {
            (f"dense_{i}", name): (means[k][i], stds[k][i])
            for i in range(3)
            for k, name in enumerate(("kernel", "bias"))
        }

    def test_outputs_of_the_decoder(self):
        with jax.enable_x64(True):
            network = networks.siren(CASE["layout"])
            shapes = jax.eval_shape(network.init, jax.random.key(0))
            topology = graphs.topology(network.spec, shapes, linear_as_conv=True)
            encoder = metanets.NeuralGraphs(
                topology,
                width=CASE["d"],
                num_frequencies=CASE["sin_emb_dim"],
                norm="batch",
                input_moments=metanets.input_moments(topology, self.statistics()),
            )
            graph = graphs.params_to_graph(self.inputs(), topology, input_value=0.0)
            filled, decoder = {}, {}
            for name, shape in CASE["param_shapes"].items():
                value = jnp.asarray(self.fill(name, shape))
                if name.startswith("dec"):
                    decoder[name] = value
                else:
                    filled[self.place(name)] = value
            variables = jax.eval_shape(encoder.init, jax.random.key(0), graph)
            shapes = {
                tuple(key.key for key in path): leaf.shape
                for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]
            }
            assert {path: x.shape for path, x in filled.items()} == shapes
            variables = jax.tree_util.tree_map_with_path(
                lambda path, _: filled[tuple(key.key for key in path)], variables
            )
            x = np.asarray(jax.jit(encoder.apply)(variables, graph))
        for i in range(3):
            weight, bias = (
                np.asarray(decoder[f"dec{i}.{n}"]) for n in ("weight", "bias")
            )
            x = x @ weight + bias
            x = x / (1 + np.exp(-x)) if i < 2 else x
        # The file gives 12 digits.
        np.testing.assert_allclose(x, CASE["output"], rtol=0, atol=1e-10)

    @pytest.mark.parametrize(
        ("network", "width", "layers", "constructor"),
        [
            (networks.siren((2, 32, 32, 1)), 128, 1_118_976, 99_456),
            # 1,792 less than published: a table of activations that nothing reads.
            (
                networks.cnn((32, 32, 1), (16, 16, 16), 10, "relu"),
                256,
                4_466_176,
                266_752,
            ),
        ],
        ids=["inr", "cnn"],
    )
    def test_numbers_of_parameters(self, network, width, layers, constructor):
        params = jax.eval_shape(network.init, jax.random.key(0))
        topology = graphs.topology(network.spec, params, linear_as_conv=True)
        encoder = metanets.NeuralGraphs(topology, width=width)

        def init(key):
            graph = graphs.params_to_graph(network.init(key), topology)
            return encoder.init_with_output(key, graph)

        latent, variables = jax.eval_shape(init, jax.random.key(0))
        tree = dict(variables["params"])
        count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))  # noqa: E731
        assert count(tree.pop("projections")) == constructor
        assert count(tree) == layers
        assert latent.shape == (width * network.spec.sizes(params)["out"],)


class TestAgainstLoops:
    """The blocks against loops over edges, on a graph with skip connections."""

    NETWORK = networks.residual_mlp((3, 4, 2), 5)

    def edges(self, topology):
        return list(zip(topology.senders, topology.receivers, strict=True))

    def test_aggregation(self):
        with jax.enable_x64(True):
            params = random_params(self.NETWORK, 1)
            encoder, graph, variables = make("pna", self.NETWORK, params, num_layers=1)
            actual = np.asarray(jax.jit(encoder.apply)(variables, graph))[0]
            topology = encoder.topology
            x, e = flat_features(variables, topology, graph)
        p = jax.tree.map(np.asarray, variables["params"]["layer_0"])
        affine = lambda name, v: v @ p[name]["w"] + p[name]["b"]  # noqa: E731
        degrees = np.bincount(topology.receivers, minlength=topology.num_nodes)
        delta = np.log(degrees + 1).mean()
        rows = []
        for i in np.flatnonzero(topology.mask("output")):
            messages = []
            for k, (s, t) in enumerate(self.edges(topology)):
                if t == i:
                    scale, shift = np.split(affine("edge_encoder", e[k]), 2)
                    pair = np.concatenate([x[i], x[s]])
                    messages.append(scale * affine("pre", pair) + shift)
            m = np.array(messages)
            a = np.concatenate([m.mean(0), m.min(0), m.max(0), m.std(0)])
            amplified = a * np.log(len(m) + 1) / delta
            post = affine("post", np.concatenate([x[i], a, amplified]))
            rows.append(affine("out", post))
        np.testing.assert_allclose(actual, np.concatenate(rows), rtol=1e-10)

    def test_attention(self):
        with jax.enable_x64(True):
            params = random_params(self.NETWORK, 1)
            encoder, graph, variables = make(
                "attention", self.NETWORK, params, num_layers=1, num_heads=4
            )
            actual = np.asarray(jax.jit(encoder.apply)(variables, graph))[0]
            topology = encoder.topology
            x, e = flat_features(variables, topology, graph)
        tree = jax.tree.map(np.asarray, variables["params"])
        first, second = tree["projections"]["edge_0"], tree["projections"]["edge_1"]
        zero = np.concatenate([np.ones(5), np.zeros(5)])
        absent = (zero @ first["w"] + first["b"]) @ second["w"] + second["b"]
        p = tree["layer_0"]
        affine = lambda name, v: v @ p[name]["w"] + p[name]["b"]  # noqa: E731
        rows = []
        for i in np.flatnonzero(topology.mask("output")):
            scores, values = [], []
            for k, (s, t) in enumerate(self.edges(topology)):
                if i not in (s, t):
                    continue
                j, feature = (t, e[k]) if i == s else (s, absent)
                query, key, value = np.split(
                    affine("node", np.stack([x[i], x[j]])), 3, 1
                )
                q, kk, times, plus = np.split(affine("edge", feature), 4)
                product = (query[0] + q) * (key[1] + kk) / math.sqrt(len(q))
                scores.append(product.reshape(4, -1).sum(1))
                values.append((value[1] * times + plus).reshape(4, -1))
            weights = np.exp(scores) / np.exp(scores).sum(0)
            attended = (weights[:, :, None] * np.array(values)).sum(0).reshape(-1)
            y = norm(p["node_norm_0"], x[i] + affine("out", attended))
            hidden = np.asarray(jax.nn.gelu(affine("node_mlp_0", y)))
            rows.append(norm(p["node_norm_1"], y + affine("node_mlp_1", hidden)))
        np.testing.assert_allclose(actual, np.concatenate(rows), rtol=1e-5)
