"""A network that is read array by array keeps its function when it is moved, or not."""

import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import merging, symmetry
from symmerge_jax.symmetry import Axis, Group, Space

MEMORY = 2**20


def mlp(params, x):
    x = jax.nn.relu(x @ params["w"].T + params["b"][None])
    return x @ params["out"]


@pytest.fixture
def case(tmp_path):
    """A network mapped from files, its inputs, and its symmetry."""
    random = np.random.default_rng(0)
    shapes = {"w": (6, 4), "b": (6,), "out": (6, 3)}
    params = {}
    for name, shape in shapes.items():
        np.save(tmp_path / name, random.normal(size=shape).astype(np.float32))
        params[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    x = random.normal(size=(5, 4)).astype(np.float32)
    return params, x, symmerge_jax.trace(mlp, params, x).spec


def test_a_moved_network_keeps_its_function_to_rounding(case):
    params, x, spec = case
    element = symmetry.sample(jax.random.key(0), spec, spec.sizes(params))
    change = merging.function_change(mlp, params, element, spec, x, memory=MEMORY)
    assert change < 1e-13


def test_what_is_no_symmetry_is_seen_and_not_merged(case):
    params, x, spec = case
    axes = {"w": (Axis("h"), None), "b": (Axis("h"),), "out": (None, None)}
    wrong = symmetry.SymmetrySpec.create(axes, [Space("h", Group.PERMUTATION)])
    element = symmetry.sample(jax.random.key(0), wrong, wrong.sizes(params))
    change = merging.function_change(mlp, params, element, wrong, x, memory=MEMORY)
    assert change > 0.1
    other = jax.tree.map(lambda x: np.asarray(x)[::-1].copy(), params)
    with pytest.raises(ValueError, match="network 1, when it is moved, is another fun"):
        symmerge_jax.merge_stored(
            [params, other], wrong, memory=MEMORY, apply=mlp, inputs=x
        )
    found = symmerge_jax.merge_stored(
        [params, other], spec, memory=MEMORY, apply=mlp, inputs=x
    )
    assert len(found.function_changes) == 1 and found.function_changes[0] < 1e-13
    with pytest.raises(ValueError, match="apply and inputs go together"):
        symmerge_jax.merge_stored([params, other], spec, memory=MEMORY, apply=mlp)
