"""Architectures whose weight graphs are tested."""

import jax
import numpy as np
import pytest

from symmerge_jax import networks, symmetry
from symmerge_jax.symmetry import Axis, Group, Space


def fill(shapes):
    """Distinct numbers in every leaf, so that any wrong entry shows."""
    leaves, first = {}, 1
    for path, shape in symmetry.flatten(shapes).items():
        size = int(np.prod(shape))
        leaves[path] = np.arange(first, first + size, dtype=np.float32).reshape(shape)
        first += size
    return symmetry.unflatten(leaves)


def chain(*layer_sizes):
    network = networks.siren(layer_sizes)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return network.spec, fill(jax.tree.map(lambda leaf: leaf.shape, shapes))


def conv_chain(channels, kernels, num_outputs, repeat=1):
    """Convolutions [height, width, in, out], then a dense layer."""
    names = ["in", *(f"maps_{i}" for i in range(len(kernels)))]
    axes, shapes = {}, {}
    for i, size in enumerate(kernels):
        read, written = names[i : i + 2]
        axes[f"conv_{i}"] = {
            "kernel": (None, None, Axis(read, -1), Axis(written)),
            "bias": (Axis(written),),
        }
        shapes[f"conv_{i}"] = {
            "kernel": (size, size, *channels[i : i + 2]),
            "bias": (channels[i + 1],),
        }
    axes["dense"] = {
        "kernel": (Axis(names[-1], -1, repeat), Axis("out")),
        "bias": (Axis("out"),),
    }
    shapes["dense"] = {
        "kernel": (repeat * channels[-1], num_outputs),
        "bias": (num_outputs,),
    }
    spaces = [
        Space("in", Group.TRIVIAL),
        *(Space(name, Group.SCALE) for name in names[1:]),
        Space("out", Group.TRIVIAL),
    ]
    return symmetry.SymmetrySpec.create(axes, spaces), fill(shapes)


def residual():
    axes = {
        "branch_0": (Axis("in", -1), Axis("inner")),
        "branch_1": (Axis("inner", -1), Axis("sum")),
        "skip": (Axis("sum"), Axis("in", -1)),  # stored [out, in]
        "bias": (Axis("sum"),),
        "last": (Axis("sum", -1), Axis("out")),
    }
    shapes = {
        "branch_0": (2, 3),
        "branch_1": (3, 4),
        "skip": (4, 2),
        "bias": (4,),
        "last": (4, 2),
    }
    spaces = [
        Space("in", Group.TRIVIAL),
        Space("inner", Group.SCALE),
        Space("sum", Group.SCALE),
        Space("out", Group.TRIVIAL),
    ]
    return symmetry.SymmetrySpec.create(axes, spaces), fill(shapes)


CASES = {
    "inr": lambda: chain(2, 5, 4, 1),
    "two_outputs": lambda: chain(2, 3, 2),
    "conv": lambda: conv_chain((1, 3, 2), (3, 1), 2),
    "flattened": lambda: conv_chain((2, 3), (2,), 2, repeat=6),
    "residual": residual,
}


@pytest.fixture(params=list(CASES))
def case(request):
    """Spec and parameters."""
    return CASES[request.param]()


@pytest.fixture
def get_case():
    return lambda name: CASES[name]()


@pytest.fixture
def make_chain():
    return chain


@pytest.fixture
def make_conv_chain():
    return conv_chain
