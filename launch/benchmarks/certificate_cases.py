"""Networks with true specs, for the benchmark of certificates."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import networks
from symmerge_jax.symmetry import Axis, Group, Space, SymmetrySpec


class Case(NamedTuple):
    """A network, its true spec, and inputs as a user would pass them.

    Attributes:
      name: name of the network.
      apply: see `certificates.certify`.
      draw: `draw(random) -> params`, as trained: no zeros, float32.
      spec: the true spec.
      inputs: `inputs(random)`, as in use.
      dummy: as handed to `model.init`.
      input_shape: of the random inputs, None where `apply` takes none such.
    """

    name: str
    apply: Callable[[Any, Any], Any]
    draw: Callable[[np.random.Generator], Any]
    spec: SymmetrySpec
    inputs: Callable[[np.random.Generator], Any]
    dummy: Any
    input_shape: tuple[int, ...] | None


def cases() -> dict[str, Case]:
    """Return all networks by name."""
    sizes = (4, 5, 5, 4)
    found = [
        *(_library(f"mlp {a}", networks.mlp(sizes, a)) for a in ("relu", "tanh")),
        _library("mlp gelu", networks.mlp(sizes, "gelu")),
        _library("siren", networks.siren((2, 5, 5, 2))),
        _library("residual", networks.residual_mlp((4, 5, 4), 5, 2)),
        _library(
            "cnn",
            networks.cnn((11, 11, 2), (4, 4), 3, kernel_size=3, readout="flatten"),
        ),
        _library("cnn mean", networks.cnn((8, 8, 2), (4, 4), 3, "gelu")),
        _batch_norm(),
        _layer_norm(),
        _tied(),
        _two_outputs(),
        _embedding(),
        _attention(),
        _trained_batch_norm(),
    ]
    return {case.name: case for case in found}


def transposed_flatten() -> Case:
    """Return the CNN whose dense layer reads channels slowly, with the spec of fast."""
    right = cases()["cnn"]

    def apply(params, x):
        n = params["conv_1"]["kernel"].shape[-1]
        kernel = params["dense"]["kernel"]
        slow = kernel.reshape(n, -1, kernel.shape[-1]).swapaxes(0, 1)
        dense = {**params["dense"], "kernel": slow.reshape(kernel.shape)}
        return right.apply({**params, "dense": dense}, x)

    return right._replace(name="cnn, flattened otherwise", apply=apply)


def _library(name, network) -> Case:
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    shape = network.input_shape

    def draw(random):
        return jax.tree.map(
            lambda x: _normal(random, *x.shape, wide=6 / 30 if name == "siren" else 1),
            shapes,
        )

    return Case(
        name,
        network.apply,
        draw,
        network.spec,
        lambda random: random.normal(size=(12, *shape)).astype(np.float32),
        np.zeros((1, *shape), np.float32),
        (16, *shape),
    )


def _normal(random, *shape, wide=1.0):
    fan = np.prod(shape[:-1]) if len(shape) > 1 else 4
    return (wide * random.normal(size=shape) / np.sqrt(fan)).astype(np.float32)


def _positive(random, *shape):
    return random.uniform(0.5, 2, shape).astype(np.float32)


def _hand_written(name, apply, shapes, axes, spaces, width=4, inputs=None, dummy=None):
    """Return a network whose parameters are given by shape, positive ones by "+"."""

    def draw(random):
        return {
            key: _positive(random, *s[1:]) if s[0] == "+" else _normal(random, *s)
            for key, s in shapes.items()
        }

    spaces = [Space("in", Group.TRIVIAL), *spaces, Space("out", Group.TRIVIAL)]
    plain = inputs is None
    normal = lambda r: r.normal(size=(12, width)).astype(np.float32)  # noqa: E731
    return Case(
        name,
        apply,
        draw,
        SymmetrySpec.create(axes, spaces),
        inputs or normal,
        np.zeros((1, width), np.float32) if plain else dummy,
        (16, width) if plain else None,
    )


READ, WRITTEN, KEPT, OUT = Axis("h", -1), Axis("h"), Axis("h", 0), Axis("out")


def _batch_norm():
    def apply(p, x):
        y = (x @ p["w0"] - p["mean"]) / jnp.sqrt(p["var"] + 1e-5)
        return jax.nn.relu(y * p["gamma"] + p["beta"]) @ p["w1"] + p["b1"]

    shapes = {
        "w0": (4, 6), "mean": (6,), "var": ("+", 6), "gamma": ("+", 6), "beta": (6,),
        "w1": (6, 3), "b1": (3,), "ema": (6,),
    }  # fmt: skip
    axes = {
        "w0": (Axis("in", -1), KEPT), "mean": (KEPT,), "var": (KEPT,),
        "gamma": (WRITTEN,), "beta": (WRITTEN,), "w1": (READ, OUT), "b1": (OUT,),
        "ema": (KEPT,),
    }  # fmt: skip
    return _hand_written("batch norm", apply, shapes, axes, [Space("h", Group.SCALE)])


def _trained_batch_norm():
    def apply(p, x):
        y = x @ p["w0"] + p["b0"]
        y = (y - y.mean(0)) / jnp.sqrt(y.var(0) + 1e-5)
        return jax.nn.relu(y * p["gamma"] + p["beta"]) @ p["w1"] + p["b1"]

    shapes = {
        "w0": (4, 6), "b0": (6,), "gamma": ("+", 6), "beta": (6,), "w1": (6, 3),
        "b1": (3,), "mean": (6,),
    }  # fmt: skip
    axes = {
        "w0": (Axis("in", -1), KEPT), "b0": (KEPT,), "gamma": (WRITTEN,),
        "beta": (WRITTEN,), "w1": (READ, OUT), "b1": (OUT,), "mean": (KEPT,),
    }  # fmt: skip
    case = _hand_written(
        "batch statistics", apply, shapes, axes, [Space("h", Group.SCALE)]
    )
    return case._replace(dummy=np.zeros((3, 4), np.float32))


def _layer_norm():
    def apply(p, x):
        y = x @ p["w0"] + p["b0"]
        y = (y - y.mean(-1, keepdims=True)) / jnp.sqrt(y.var(-1, keepdims=True) + 1e-6)
        return jax.nn.relu(y * p["gamma"] + p["beta"]) @ p["w1"] + p["b1"]

    shapes = {
        "w0": (4, 6), "b0": (6,), "gamma": ("+", 6), "beta": (6,), "w1": (6, 3),
        "b1": (3,),
    }  # fmt: skip
    axes = {
        "w0": (Axis("in", -1), WRITTEN), "b0": (WRITTEN,), "gamma": (KEPT,),
        "beta": (KEPT,), "w1": (READ, OUT), "b1": (OUT,),
    }  # fmt: skip
    return _hand_written(
        "layer norm", apply, shapes, axes, [Space("h", Group.PERMUTATION)]
    )


def _tied():
    def apply(p, x):
        return jnp.tanh(x @ p["w"] + p["b"]) @ p["w"].T + p["c"]

    axes = {"w": (Axis("in", -1), WRITTEN), "b": (WRITTEN,), "c": (OUT,)}
    shapes = {"w": (4, 5), "b": (5,), "c": (4,)}
    return _hand_written("tied", apply, shapes, axes, [Space("h", Group.SIGN)])


def _two_outputs():
    def apply(p, x):
        h = jax.nn.relu(x @ p["w0"] + p["b0"])
        g = jnp.tanh(x @ p["v0"] + p["d0"])
        return {"value": 1e9 * (h @ p["w1"] + 1), "logits": g @ p["v1"] + p["d1"]}

    shapes = {
        "w0": (4, 5), "b0": (5,), "w1": (5, 1), "v0": (4, 5), "d0": (5,), "v1": (5, 3),
        "d1": (3,),
    }  # fmt: skip
    axes = {
        "w0": (Axis("in", -1), WRITTEN), "b0": (WRITTEN,), "w1": (READ, None),
        "v0": (Axis("in", -1), Axis("g")), "d0": (Axis("g"),),
        "v1": (Axis("g", -1), OUT), "d1": (OUT,),
    }  # fmt: skip
    spaces = [Space("h", Group.SCALE), Space("g", Group.SIGN)]
    return _hand_written("two outputs", apply, shapes, axes, spaces)


def _embedding():
    def apply(p, ids):
        x = p["table"][ids]
        h = jax.nn.gelu(x @ p["w0"] + p["b0"])
        return (x + h @ p["w1"]).mean(-2) @ p["w2"] + p["b2"]

    shapes = {
        "table": (7, 5), "w0": (5, 6), "b0": (6,), "w1": (6, 5), "w2": (5, 3),
        "b2": (3,),
    }  # fmt: skip
    axes = {
        "table": (Axis("in", -1), WRITTEN), "w0": (READ, Axis("g")),
        "b0": (Axis("g"),), "w1": (Axis("g", -1), WRITTEN), "w2": (READ, OUT),
        "b2": (OUT,),
    }  # fmt: skip
    spaces = [Space("h", Group.PERMUTATION), Space("g", Group.PERMUTATION)]
    ids = lambda random: random.integers(0, 7, (12, 4))  # noqa: E731
    dummy = np.zeros((1, 4), np.int32)
    return _hand_written(
        "embedding", apply, shapes, axes, spaces, inputs=ids, dummy=dummy
    )


def _attention():
    def apply(p, x):
        q, k, v = (x @ p[n] + p[f"{n}_bias"] for n in ("query", "key", "value"))
        weights = jax.nn.softmax(q @ k.swapaxes(-1, -2))
        return weights @ v @ p["out"]

    v = Axis("v")
    shapes = {
        "query": (4, 5), "query_bias": (5,), "key": (4, 5), "key_bias": (5,),
        "value": (4, 6), "value_bias": (6,), "out": (6, 3),
    }  # fmt: skip
    axes = {
        "query": (Axis("in", -1), Axis("qk", 0)), "query_bias": (Axis("qk", 0),),
        "key": (Axis("in", -1), Axis("qk", 0)), "key_bias": (Axis("qk", 0),),
        "value": (Axis("in", -1), v), "value_bias": (v,), "out": (Axis("v", -1), OUT),
    }  # fmt: skip
    spaces = [Space("qk", Group.PERMUTATION), Space("v", Group.SCALE)]
    inputs = lambda r: r.normal(size=(3, 6, 4)).astype(np.float32)  # noqa: E731
    case = _hand_written("attention", apply, shapes, axes, spaces, inputs=inputs)
    return case._replace(dummy=np.zeros((1, 6, 4), np.float32), input_shape=(3, 6, 4))
