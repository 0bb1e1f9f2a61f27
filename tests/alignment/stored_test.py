"""Networks on disk: the search of weight matching, and means, read piece by piece."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, merge_stored, merging, symmetry
from symmerge_jax.alignment import AlignmentProblem, WeightMatching, _weight_matching
from tests import layouts_test
from tests.alignment import pairs

MEMORY = alignment.MIN_MEMORY
LAYOUTS = {build.__name__: build for build in layouts_test.CASES}
NAMES = ("tanh", "relu", *LAYOUTS)
COMPILED = ("tanh", "relu", "attention")


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    """Cut every array that can be cut: 64 bytes are eight numbers."""
    monkeypatch.setattr(_weight_matching, "COPIES", MEMORY // 64)


def make(name):
    """A network, a noisy twin of it, and their spec, in float64."""
    if name in LAYOUTS:
        spec, _, params, _ = layouts_test.make(LAYOUTS[name])
    else:
        spec, params = pairs.make_network(name).spec, pairs.make_params(name, 0)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    random = np.random.default_rng(5)
    noisy = jax.tree.map(lambda x: x + 0.3 * random.normal(size=x.shape), params)
    element = symmetry.sample(jax.random.key(1), spec, spec.sizes(params))
    act = pairs.compiled(symmetry.act, static_argnames="spec")
    return params, jax.tree.map(np.asarray, act(element, noisy, spec=spec)), spec


def on_disk(params, folder):
    """The same arrays, mapped from files."""
    leaves = {}
    for path, leaf in symmetry.flatten(params).items():
        file = folder / ("_".join(path) + ".npy")
        np.save(file, leaf)
        leaves[path] = np.load(file, mmap_mode="r")
    return symmetry.rebuild(params, leaves)


@pytest.mark.parametrize("name", NAMES)
def test_the_search_is_that_of_networks_in_memory(name, tmp_path, monkeypatch):
    with jax.enable_x64(True):
        a, b, spec = make(name)
        for folder in "ab":
            (tmp_path / folder).mkdir()
        stored = AlignmentProblem(
            params_a=on_disk(a, tmp_path / "a"),
            params_b=on_disk(b, tmp_path / "b"),
            spec=spec,
        )
        loaded = AlignmentProblem(
            params_a=jax.tree.map(jnp.asarray, a), params_b=b, spec=spec
        )
        aligner, key = WeightMatching(), jax.random.key(0)
        expected = aligner(key, loaded)
        with monkeypatch.context() as patch:
            patch.setattr(_weight_matching, "MAX_COPIED", 0)
            chex.assert_trees_all_close(expected, aligner(key, loaded), rtol=1e-9)
        if name in COMPILED:
            by_jax = pairs.compiled(aligner)(key, loaded)
            chex.assert_trees_all_close(expected, by_jax, rtol=1e-9)
        found = aligner.stream(key, stored, memory=MEMORY)
        chex.assert_trees_all_close(found, expected, rtol=1e-9)
        moved = pairs.compiled(symmetry.act, static_argnames="spec")(
            expected.element, b, spec=spec
        )
        both = jax.tree.map(lambda x, y: 0.25 * x + 0.75 * y, a, moved)
        elements, weights = [{}, found.element], np.array([0.25, 0.75])
        arrays = merging.average_stored([a, b], elements, spec, weights, memory=8 * 64)
        names = [symmetry.name(path) for path in symmetry.flatten(a)]
        mean = dict(arrays)
        assert list(mean) == names
        chex.assert_trees_all_close(
            mean,
            dict(zip(names, symmetry.flatten(both).values(), strict=True)),
            rtol=1e-9,
            atol=1e-12,
        )


@pytest.mark.parametrize(
    ("options", "stored", "message"),
    [
        ({}, {"memory": 3}, "memory must be >= 1048576, got 3"),
        ({"scales": "matched"}, {}, "scales='matched' needs both networks in memory"),
        ({"init": WeightMatching()}, {}, "init needs both networks in memory"),
    ],
)
def test_what_cannot_be_streamed_is_refused(options, stored, message):
    a, spec = pairs.make_params("relu", 0), pairs.make_network("relu").spec
    problem = AlignmentProblem(params_a=a, params_b=a, spec=spec)
    with pytest.raises(ValueError, match=message):
        WeightMatching(**options).stream(
            jax.random.key(0), problem, **{"memory": MEMORY, **stored}
        )


def test_a_network_with_nan_or_of_another_shape_is_refused_by_name():
    a, spec = pairs.make_params("tanh", 0), pairs.make_network("tanh").spec
    bad = jax.tree.map(np.copy, a)
    bad["dense_1"]["kernel"][2, 1] = np.nan
    with pytest.raises(ValueError, match="params_b: Parameter 'dense_1/kernel' is not"):
        merge_stored([a, bad], spec, memory=MEMORY)
    bad["dense_1"]["kernel"] = np.zeros((7, 6), np.float32)
    with pytest.raises(ValueError, match="'dense_1/kernel' has shape"):
        merge_stored([a, bad], spec, memory=MEMORY)
    with pytest.raises(ValueError, match="at least two networks, got 1"):
        merge_stored([a], spec, memory=MEMORY)


def test_a_twin_is_merged_bit_for_bit_whatever_its_type():
    """What is carried along comes back; float64 is not rounded, though JAX would."""
    a = dict(pairs.make_params("small", 0))
    spec = pairs.make_network("small").spec
    a["dense_0"] = {k: x.astype(np.float64) + 1e-12 for k, x in a["dense_0"].items()}
    a["dense_1"] = {k: x.astype(jnp.bfloat16) for k, x in a["dense_1"].items()}
    order = np.random.default_rng(0).permutation(6)
    sign = np.where(order % 2, -1.0, 1.0)
    b = {
        "dense_0": {
            "kernel": a["dense_0"]["kernel"][:, order] * sign,
            "bias": a["dense_0"]["bias"][order] * sign,
        },
        "dense_1": {
            "kernel": a["dense_1"]["kernel"][order]
            * sign[:, None].astype(jnp.bfloat16),
            "bias": a["dense_1"]["bias"],
        },
    }
    found = merge_stored([a, b], spec, memory=MEMORY)
    assert float(found.results[0].objective[-1]) < 1e-9
    for name, array in found.arrays:
        layer, kind = name.split("/")
        assert array.dtype == a[layer][kind].dtype
        np.testing.assert_array_equal(array, a[layer][kind])


def test_a_scale_that_overflows_is_refused_by_name():
    a, spec = pairs.make_params("small_relu", 0), pairs.make_network("small_relu").spec
    a = jax.tree.map(lambda x: x.astype(np.float16), a)
    huge = symmetry.Monomial(np.arange(6), np.full(6, 1e8, np.float32))
    arrays = merging.average_stored(
        [a, a], [{}, {"hidden_0": huge}], spec, np.full(2, 0.5), memory=MEMORY
    )
    with pytest.raises(ValueError, match=r"'dense_0/.*overflow in float16"):
        dict(arrays)
