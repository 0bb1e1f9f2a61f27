"""The page "Your own model", block by block, with the real libraries."""

import importlib
import pathlib
import warnings

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest
import safetensors.flax
from flax import nnx, traverse_util

import symmerge_jax
import symmerge_jax.tracing
from tests import pages

PAGE = pathlib.Path(symmerge_jax.tracing.__file__).with_name("README.md")
X = jax.random.normal(jax.random.key(0), (4, 6))


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Settings of JAX that other people's libraries do not keep to."""
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def blocks(title=""):
    return pages.blocks(pages.section(PAGE, title))


def run(code, **names):
    names = {"jax": jax, "jnp": jnp, "symmerge_jax": symmerge_jax, **names}
    exec(code, names)
    return names


def assert_same(y, z):
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-5)


def normal(seed, **shapes):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


@pytest.mark.slow
def test_plain_functions():
    shapes = {"image": (5, 8), "time": (2, 8), "head": (8, 3)}
    image, time = normal(2, image=(20, 5), time=(20, 2)).values()
    names = pages.run(
        pages.section(PAGE),
        params_a=normal(0, **shapes),
        params_b=normal(1, **shapes),
        image=image,
        time=time,
    )
    assert names["values"].shape == (20, 8)
    assert names["found"].certificate.passed.all()


def test_the_page_is_short():
    assert len(PAGE.read_text().splitlines()) <= 120
    longest = max(len(code.splitlines()) for code in blocks("Flax Linen"))
    assert longest <= 8


class Block(nn.Module):
    width: int
    stride: int

    @nn.compact
    def __call__(self, x, train=False):
        def norm(y):
            return nn.BatchNorm(use_running_average=not train)(y)

        y = nn.Conv(self.width, (3, 3), self.stride, use_bias=False)(x)
        y = norm(nn.Conv(self.width, (3, 3), use_bias=False)(nn.relu(norm(y))))
        if x.shape != y.shape:
            x = norm(nn.Conv(self.width, (1, 1), self.stride, use_bias=False)(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x))
        x = Block(6, 2)(nn.relu(x), train)
        return nn.Dense(3)(x.mean((1, 2)))


@pytest.mark.slow
def test_linen():
    model, x = ResNet(), jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    a, b = (model.init(jax.random.key(seed), x) for seed in (1, 2))
    _, updated = model.apply(b, x, train=True, mutable=["batch_stats"])
    b |= updated
    [code] = blocks("Flax Linen")
    names = run(code, model=model, x=x, variables_a=a, variables_b=b)
    spec = names["network"].spec
    assert all("batch_stats" in path for path in spec.statistics)
    assert len(spec.statistics) == 8
    assert [s.group.value for s in spec.matched_spaces] == ["scale"] * 3
    assert_same(model.apply(names["found"].params, x), model.apply(b, x))
    assert jax.tree.structure(names["merged"]) == jax.tree.structure(a)
    assert np.isfinite(model.apply(names["merged"], x)).all()


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(7, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            2, 8, decode=False, dropout_rate=0.1, rngs=rngs
        )
        self.up = nnx.Linear(8, 12, rngs=rngs)
        self.down = nnx.Linear(12, 8, rngs=rngs)
        self.head = nnx.Linear(8, 7, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        x = x + self.attention(self.norm(x))
        return self.head(x + self.down(nnx.gelu(self.up(x))))


@pytest.mark.slow
def test_nnx_transformer():
    tokens = jax.random.randint(jax.random.key(0), (4, 5), 0, 7)
    a, b = (Transformer(nnx.Rngs(seed)) for seed in (1, 2))
    a.eval()
    b.eval()
    module, _ = blocks("Flax NNX")
    names = run(module, model_a=a, model_b=b, x=tokens)
    assert isinstance(names["aligned"], Transformer)
    assert_same(names["aligned"](tokens), b(tokens))
    assert names["merged"](tokens).shape == (4, 5, 7)
    kinds = {s.name: s.over for s in names["network"].spec.matched_spaces}
    assert sum(map(bool, kinds.values())) == 2, kinds  # within every head


class Normalised(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List(
            [nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)]
        )
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        first, last = self.layers
        return last(self.dropout(nnx.relu(self.norm(first(x)))))


@pytest.mark.slow
def test_nnx_states_go_back_into_the_module():
    a, b = (Normalised(nnx.Rngs(seed)) for seed in (1, 2))
    b(X)  # its running statistics are no longer those of a
    a.eval()
    b.eval()
    before = b(X)
    _, state = blocks("Flax NNX")
    names = run(state, nnx=nnx, model_a=a, model_b=b, x=X)
    assert names["network"].spec.statistics == (("norm", "mean"), ("norm", "var"))
    assert_same(b(X), before)


@pytest.mark.slow
def test_equinox():
    eqx = importlib.import_module("equinox")
    a, b = (eqx.nn.MLP(6, 3, 8, 2, key=jax.random.key(seed)) for seed in (1, 2))
    [code] = blocks("Equinox")
    names = run(code, model_a=a, model_b=b, x=X)
    assert len(names["network"].spec.matched_spaces) == 2
    assert isinstance(names["merged"], eqx.nn.MLP)
    assert jax.vmap(names["merged"])(X).shape == (4, 3)


@pytest.mark.slow
def test_haiku():
    hk = importlib.import_module("haiku")

    def forward(x, train=False):
        x = hk.BatchNorm(True, True, 0.9)(hk.Linear(8)(x), train)
        return hk.Linear(3)(jax.nn.relu(x))

    model = hk.without_apply_rng(hk.transform_with_state(forward))
    a, b = (model.init(jax.random.key(seed), X, True) for seed in (1, 2))
    [code] = blocks("Haiku")
    names = run(code, model=model, x=X, params_and_state_a=a, params_and_state_b=b)
    assert [s.group.value for s in names["network"].spec.matched_spaces] == ["scale"]
    assert jax.tree.structure(names["merged"]) == jax.tree.structure(a)


@pytest.mark.slow
def test_keras():
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("KERAS_BACKEND", "jax")
        warnings.simplefilter("ignore")
        keras = importlib.import_module("keras")

    def make(seed):
        keras.utils.set_random_seed(seed)
        layers = [
            keras.Input((6,)),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dense(3),
        ]
        return keras.Sequential(layers)

    a, b = make(1), make(2)
    [code] = blocks("Keras 3 on JAX")
    names = run(code, model_a=a, model_b=b, x=X)
    assert [s.group.value for s in names["network"].spec.matched_spaces] == ["scale"]
    assert len(names["network"].spec.statistics) == 2
    y, _ = a.stateless_call(*names["merged"], X)
    assert_same(a(X), y)


def through_msgpack(tree, folder):
    return flax.serialization.msgpack_restore(flax.serialization.to_bytes(tree))


def through_safetensors(tree, folder):
    flat = traverse_util.flatten_dict(tree, sep=".")
    file = folder / "model.safetensors"
    safetensors.flax.save_file(flat, file)
    return traverse_util.unflatten_dict(safetensors.flax.load_file(file), sep=".")


def through_orbax(tree, folder):
    with orbax.checkpoint.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "checkpoint", tree)
        warnings.simplefilter("ignore")  # that it was saved on devices like these
        return checkpointer.restore(folder / "checkpoint")


@pytest.mark.parametrize(
    "through", [through_msgpack, through_safetensors, through_orbax]
)
def test_restored_checkpoints_fit(through, tmp_path):
    """The network of a model takes what comes back, whatever dicts and arrays it is."""

    class Small(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(nn.tanh(nn.Dense(8)(x)))

    model = Small()
    a, b = (model.init(jax.random.key(seed), X) for seed in (1, 2))
    network = symmerge_jax.trace(model.apply, a, X)
    restored = through(b, tmp_path)
    found = symmerge_jax.align(a, restored, network)
    assert jax.tree.structure(found.params) == jax.tree.structure(restored)
    assert_same(model.apply(found.params, X), model.apply(b, X))
    again = symmerge_jax.trace(model.apply, restored, X)
    assert again.spec == network.spec


def test_lists_come_back_as_dicts_of_their_numbers():
    """As flax.serialization writes them: names stay, and the network fits."""

    def apply(params, x):
        first, last = params["layers"]
        return jnp.tanh(x @ first) @ last

    a, b = ({"layers": list(normal(s, a=(6, 8), b=(8, 3)).values())} for s in (0, 1))
    network = symmerge_jax.trace(apply, a, X)
    state = flax.serialization.to_state_dict(b)
    restored = through_msgpack(state, None)
    assert restored["layers"].keys() == {"0", "1"}
    back = flax.serialization.from_state_dict(a, restored)
    moved = symmerge_jax.align(a, back, network).params
    assert_same(apply(moved, X), apply(b, X))
