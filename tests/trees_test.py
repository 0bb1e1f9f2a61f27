"""Every verb takes parameters in any pytree, and gives the caller's own tree back."""

import collections
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.core import freeze

import symmerge_jax
from symmerge_jax import symmetry
from symmerge_jax.symmetry import Axis, Space, SymmetrySpec

SPACES = [Space("in", "trivial"), Space("h", "scale"), Space("out", "trivial")]
FIRST = ((Axis("in", -1), Axis("h")), (Axis("h"),))
LAST = ((Axis("h", -1), Axis("out")), (Axis("out"),))


class Layer(typing.NamedTuple):
    w: typing.Any
    b: typing.Any


@jax.tree_util.register_pytree_with_keys_class
class Module:
    """A module as equinox makes them: a pytree whose fields are its children."""

    def __init__(self, first, last, activation, rate):
        self.children = first, last, activation, rate

    def tree_flatten_with_keys(self):
        names = ("first", "last", "activation", "rate")
        keys = [jax.tree_util.GetAttrKey(name) for name in names]
        return list(zip(keys, self.children, strict=True)), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def as_state(first, last):
    state = lambda w, b: nnx.State({"w": nnx.Param(w), "b": nnx.Param(b)})  # noqa: E731
    return nnx.State({0: state(*first), 1: state(*last)})


# Containers of two layers, each made of (w, b), and how to read the layers again.
TREES = {
    "dict": (lambda f, g: {"f": {"w": f[0], "b": f[1]}, "l": {"w": g[0], "b": g[1]}},
             lambda t: [(t[k]["w"], t[k]["b"]) for k in "fl"]),
    "list of tuples": (lambda f, g: [tuple(f), tuple(g)], list),
    "tuple of dicts": (lambda f, g: ({"w": f[0], "b": f[1]}, {"w": g[0], "b": g[1]}),
                       lambda t: [(x["w"], x["b"]) for x in t]),
    "NamedTuples": (lambda f, g: {"f": Layer(*f), "l": Layer(*g)},
                    lambda t: [t["f"], t["l"]]),
    "int keys": (lambda f, g: {10: Layer(*f), 2: Layer(*g)}, lambda t: [t[10], t[2]]),
    "OrderedDict": (lambda f, g: collections.OrderedDict(z=Layer(*f), a=Layer(*g)),
                    lambda t: [t["z"], t["a"]]),
    "FrozenDict": (lambda f, g: freeze({"f": list(f), "l": list(g)}),
                   lambda t: [t["f"], t["l"]]),
    "empty sub-trees": (
        lambda f, g: {"drop": {}, "f": Layer(*f), "none": None, "l": Layer(*g), 
                      "e": ()},
        lambda t: [t["f"], t["l"]]),
    "nnx.State": (as_state,
                  lambda t: [(t[i]["w"][...], t[i]["b"][...]) for i in (0, 1)]),
    "module": (lambda f, g: Module(Layer(*f), Layer(*g), jax.nn.relu, 0.5),
               lambda t: t.children[:2]),
}  # fmt: skip
CARRIED = {
    "count": np.int64(2**40 + 3),
    "ids": np.arange(5),
    "mask": np.ones(3, bool),
    "rng": jax.random.key(7),
    "old rng": np.asarray([1, 2], np.uint32),
    "name": "resnet",
    "none": None,
    "function": jax.nn.relu,
}


def layers(seed):
    r = np.random.default_rng(seed)
    draw = lambda *shape: r.normal(size=shape).astype(np.float32)  # noqa: E731
    return (draw(3, 6), draw(6)), (draw(6, 2), draw(2))


def spec_of(make):
    axes = make(FIRST, LAST)
    if isinstance(axes, nnx.State):
        axes = {i: Layer(*x) for i, x in enumerate((FIRST, LAST))}
    if isinstance(axes, Module):
        axes = {"first": Layer(*FIRST), "last": Layer(*LAST)}
    if isinstance(axes, dict) and "drop" in axes:
        axes = {"f": Layer(*FIRST), "l": Layer(*LAST)}
    return SymmetrySpec.create(axes, SPACES)


def apply_of(read):
    def apply(params, x):
        (w0, b0), (w1, b1) = read(params)
        return jax.nn.relu(x @ w0 + b0[None]) @ w1 + b1[None]

    return apply


def align(a, b, spec, apply):
    found = symmerge_jax.align(a, b, spec, apply=apply)
    assert found.certificate.passed
    return found.params


def merge(a, b, spec, apply):
    found = symmerge_jax.merge([b, a], spec, apply=apply)
    assert jax.tree.structure(found.aligned) == jax.tree.structure(b)
    return found.params


VERBS = {
    "align": align,
    "merge": merge,
    "canonicalize": lambda a, b, spec, apply: symmerge_jax.canonicalize(b, spec).params,
    "interpolate": lambda a, b, spec, apply: symmerge_jax.interpolate(b, a, 0.5),
    "act": lambda a, b, spec, apply: symmetry.act({}, b, spec),
    "balanced": lambda a, b, spec, apply: symmetry.act(
        symmetry.balance_scales(b, spec), b, spec
    ),
    "canonical_form": lambda a, b, spec, apply: symmetry.canonical_form(b, spec),
}


@functools.cache
def expected_of(verb):
    """Return what a verb makes of networks in nested dicts."""
    make, read = TREES["dict"]
    a, b = (make(*layers(seed)) for seed in range(2))
    return VERBS[verb](a, b, spec_of(make), apply_of(read))


CASES = [
    pytest.param(kind, verb, marks=[pytest.mark.slow] * (verb in ("align", "merge")))
    for verb in VERBS
    for kind in TREES
    # Verbs that compile much see the trees that differ the most.
    if verb in ("act", "interpolate") or kind in ("empty sub-trees", "nnx.State")
]


@pytest.mark.parametrize(("kind", "verb"), [*CASES, ("module", "align")])
def test_the_tree_of_the_caller_comes_back(kind, verb):
    make, read = TREES[kind]
    a, b = (make(*layers(seed)) for seed in range(2))
    expected = expected_of(verb)
    found = VERBS[verb](a, b, spec_of(make), apply_of(read))
    assert jax.tree.structure(found) == jax.tree.structure(b)
    if isinstance(b, dict):
        assert list(found) == list(b), "the order of the keys"
        assert [type(key) for key in found] == [type(key) for key in b]
    for got, wanted in zip(read(found), TREES["dict"][1](expected), strict=True):
        for x, y in zip(got, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_parameter_is_carried_along(verb):
    make, read = TREES["dict"]
    a, b = ({**make(*layers(seed)), **CARRIED} for seed in range(2))
    b["count"] = a["count"] + 1
    found = VERBS[verb](a, b, spec_of(make), apply_of(read))
    for name, leaf in CARRIED.items():
        leaf = b["count"] if name == "count" else leaf
        if symmetry.is_array(leaf):
            assert found[name].dtype == leaf.dtype
            data = jax.random.key_data if name == "rng" else np.asarray
            np.testing.assert_array_equal(data(found[name]), data(leaf))
        else:
            assert found[name] is leaf


@pytest.mark.parametrize("compiled", [True, False])
def test_a_barrier_of_networks_with_more_than_weights(compiled):
    make, read = TREES["dict"]
    a, b = ({**make(*layers(seed)), **CARRIED} for seed in range(2))
    x = np.ones((4, 3), np.float32)

    def loss(params):
        assert params["name"] == "resnet" and params["function"] is jax.nn.relu
        return jnp.mean(apply_of(read)(params, x) ** 2)

    found = symmerge_jax.loss_barrier(a, b, loss, num_points=3, compiled=compiled)
    middle = symmerge_jax.interpolate(a, b, 0.5)
    np.testing.assert_allclose(found.losses[1], loss(middle), rtol=1e-5)


def test_integers_move_with_the_neurons_they_belong_to():
    axes = {
        "w": (Axis("in", -1), Axis("h")),
        "v": (Axis("h", -1), Axis("out")),
        "tag": (Axis("h", 0),),
    }
    spec = SymmetrySpec.create(axes, SPACES)
    (w, _), (v, _) = layers(0)
    a = {"w": w, "v": v, "tag": np.arange(6)}
    perm = np.array([3, 1, 0, 5, 4, 2])
    twin = symmetry.act({"h": symmetry.Monomial(perm, np.ones(6))}, a, spec)
    np.testing.assert_array_equal(twin["tag"], perm)
    for found in (
        symmerge_jax.align(a, twin, spec).params,
        jax.tree.map(lambda x: x[1], symmerge_jax.merge([a, twin], spec).aligned),
    ):
        np.testing.assert_array_equal(found["tag"], a["tag"])
        assert found["tag"].dtype == a["tag"].dtype
    one, two = (symmerge_jax.canonicalize(x, spec).params for x in (a, twin))
    np.testing.assert_array_equal(one["tag"], two["tag"])
    scaled = SymmetrySpec.create({**axes, "tag": (Axis("h"),)}, SPACES)
    with pytest.raises(ValueError, match="'tag' of params_a is of type int"):
        symmerge_jax.align(a, twin, scaled)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (1.5, TypeError, "'x' of .* must be an array, got float"),
        (np.ones(2, complex), ValueError, "'x' of .* is of type complex128"),
        ([1.0, 2.0], ValueError, "'x' is not an array but a container"),
    ],
)
@pytest.mark.parametrize("verb", ["align", "merge", "canonicalize"])
def test_what_stands_in_the_place_of_a_parameter_is_named(bad, error, message, verb):
    make, read = TREES["dict"]
    axes = {**make(FIRST, LAST), "x": (None,) * np.ndim(bad)}
    spec = SymmetrySpec.create(axes, SPACES)
    a = {**make(*layers(0)), "x": bad}
    with pytest.raises(error, match=message):
        VERBS[verb](a, a, spec, apply_of(read))


@pytest.mark.parametrize("verb", ["align", "merge", "canonicalize"])
def test_what_is_no_network_is_refused_in_one_line(verb):
    make, _ = TREES["dict"]
    a, spec = make(*layers(0)), spec_of(make)
    found = symmerge_jax.align(a, a, spec)
    for params, message in [
        (found, "got Alignment: pass its .params"),
        (np.ones(3), "must be a tree of arrays .*, got ndarray"),
    ]:
        with pytest.raises(TypeError, match=message):
            VERBS[verb](params, params, spec, None)


def test_two_leaves_of_one_name_are_refused():
    tree = collections.OrderedDict([(1, np.ones(2)), ("1", np.ones(2))])
    with pytest.raises(ValueError, match="Two parameters are called '1'"):
        symmetry.flatten(tree)


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype", [np.float16, jnp.bfloat16, jnp.float8_e4m3fn, np.dtype(">f4")], ids=str
)
def test_small_and_foreign_types_are_kept(dtype):
    make, _ = TREES["dict"]
    spec = spec_of(make)
    a, b = (
        jax.tree.map(lambda x: np.asarray(x, dtype), make(*layers(seed)))
        for seed in range(2)
    )
    for params in (
        symmerge_jax.align(a, b, spec).params,
        symmerge_jax.merge([a, b], spec).params,
        symmerge_jax.canonicalize(a, spec).params,
        symmerge_jax.interpolate(a, b, 0.5),
    ):
        native = np.dtype(dtype).newbyteorder("=")
        assert {x.dtype for x in jax.tree.leaves(params)} == {native}
