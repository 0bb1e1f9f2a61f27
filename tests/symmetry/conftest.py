"""Architectures that every law of symmetry must hold for, and real orbit INRs."""

import functools
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, symmetry
from symmerge_jax.symmetry import Axis, Group, Space

NUM_TWINS = 5


class Case:
    """One architecture: generic parameters, inputs, twins and their canonical forms."""

    def __init__(self, spec, apply, template, x_shape):
        self.spec = spec
        self.exact = all(s.group is not Group.SCALE for s in spec.spaces)
        self.sizes = spec.sizes(template)
        generator = np.random.default_rng(0)
        self.x = generator.normal(size=x_shape)
        self.params = jax.tree.map(
            lambda leaf: np.float32(leaf + generator.normal(size=leaf.shape) / 10),
            template,
        )
        self._apply = jax.jit(jax.vmap(apply, (0, None)))
        self._orbit = jax.jit(
            lambda params: symmetry.sample_orbit(
                jax.random.key(3), params, spec, NUM_TWINS - 1
            )
        )
        self.canonical_batch = jax.jit(
            jax.vmap(lambda params: symmetry.canonical_form(params, spec))
        )

    def outputs(self, params_batch):
        """Outputs of a batch of networks, in double precision."""
        with jax.enable_x64(True):
            params_batch = jax.tree.map(lambda a: np.asarray(a, float), params_batch)
            return np.asarray(self._apply(params_batch, self.x))

    def make_orbit(self, params):
        """The network itself and its twins, on a leading axis."""
        twins = self._orbit(params)
        return jax.tree.map(
            lambda own, leaf: np.concatenate([own[None], leaf]), params, twins
        )

    @functools.cached_property
    def orbit(self):
        return self.make_orbit(self.params)

    @functools.cached_property
    def canonical_orbit(self):
        return self.canonical_batch(self.orbit)


def of_network(network, x_shape):
    template = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
    return Case(network.spec, network.apply, template, x_shape)


def conv_network():
    """Convolution (tanh), flattened into a dense layer (ReLU), linear output."""
    spec = symmetry.SymmetrySpec.create(
        {
            "conv": {
                "kernel": (None, None, Axis("in", -1), Axis("maps")),
                "bias": (Axis("maps"),),
            },
            "flat": {
                "kernel": (Axis("maps", -1, repeat=4), Axis("hidden")),
                "bias": (Axis("hidden"),),
            },
            "last": {
                "kernel": (Axis("hidden", -1), Axis("out")),
                "bias": (Axis("out"),),
            },
        },
        [
            Space("in", Group.TRIVIAL),
            Space("maps", Group.SIGN),
            Space("hidden", Group.SCALE),
            Space("out", Group.TRIVIAL),
        ],
    )

    def apply(params, x):
        dimensions = ("NHWC", "HWIO", "NHWC")
        h = jax.lax.conv_general_dilated(
            x, params["conv"]["kernel"], (2, 2), "VALID", dimension_numbers=dimensions
        )
        h = jnp.tanh(h + params["conv"]["bias"][None, None, None])
        h = h.reshape(len(h), -1)
        h = jax.nn.relu(h @ params["flat"]["kernel"] + params["flat"]["bias"][None])
        return h @ params["last"]["kernel"] + params["last"]["bias"][None]

    template = {
        "conv": {"kernel": np.zeros((3, 3, 1, 3)), "bias": np.zeros(3)},
        "flat": {"kernel": np.zeros((12, 4)), "bias": np.zeros(4)},
        "last": {"kernel": np.zeros((4, 2)), "bias": np.zeros(2)},
    }
    return Case(spec, apply, template, (5, 5, 5, 1))


def residual_network():
    """Two branches that are added, and therefore share a space (ReLU)."""
    spec = symmetry.SymmetrySpec.create(
        {
            "branch_0": {"kernel": (Axis("in", -1), Axis("inner"))},
            "branch_1": {"kernel": (Axis("inner", -1), Axis("sum"))},
            "skip": {
                "kernel": (Axis("in", -1), Axis("sum")),
                "bias": (Axis("sum"),),
            },
            "last": {"kernel": (Axis("sum", -1), Axis("out"))},
        },
        [
            Space("in", Group.TRIVIAL),
            Space("inner", Group.SCALE),
            Space("sum", Group.SCALE),
            Space("out", Group.TRIVIAL),
        ],
    )

    def apply(params, x):
        h = jax.nn.relu(x @ params["branch_0"]["kernel"]) @ params["branch_1"]["kernel"]
        h = h + x @ params["skip"]["kernel"] + params["skip"]["bias"][None]
        return jax.nn.relu(h) @ params["last"]["kernel"]

    template = {
        "branch_0": {"kernel": np.zeros((3, 5))},
        "branch_1": {"kernel": np.zeros((5, 4))},
        "skip": {"kernel": np.zeros((3, 4)), "bias": np.zeros(4)},
        "last": {"kernel": np.zeros((4, 2))},
    }
    return Case(spec, apply, template, (7, 3))


CASES = {
    "siren": lambda: of_network(networks.siren((3, 6, 5, 2)), (7, 3)),
    "siren_first_w0": lambda: of_network(
        networks.siren((3, 6, 5, 2), w0=5.0, first_w0=20.0), (7, 3)
    ),
    "mlp_relu": lambda: of_network(networks.mlp((3, 6, 5, 2), "relu"), (7, 3)),
    "mlp_tanh": lambda: of_network(networks.mlp((3, 6, 5, 2), "tanh"), (7, 3)),
    "mlp_gelu": lambda: of_network(networks.mlp((3, 6, 5, 2), "gelu"), (7, 3)),
    "mlp_sine": lambda: of_network(networks.mlp((3, 6, 5, 2), "sine"), (7, 3)),
    "residual_stream": lambda: of_network(
        networks.residual_mlp((3, 5, 2), 4, num_blocks=2, activation="tanh"), (7, 3)
    ),
    "conv": conv_network,
    "residual": residual_network,
}


@functools.cache
def make_case(name):
    return CASES[name]()


@pytest.fixture(params=list(CASES))
def case(request):
    return make_case(request.param)


@pytest.fixture
def get_case():
    return make_case


@pytest.fixture(scope="session")
def max_deviation():
    """Largest absolute difference of two trees of arrays."""

    def function(tree_a, tree_b):
        return max(
            float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0))
            for a, b in zip(
                jax.tree.leaves(tree_a), jax.tree.leaves(tree_b), strict=True
            )
        )

    return function


@pytest.fixture
def real_orbit(data_dir):
    """32 twins of one real INR (2-32-32-1), stacked; as in DWSNets files."""
    shapes = [(32, 2), (32,), (32, 32), (32,), (1, 32), (1,)]

    def read(path):
        with zipfile.ZipFile(path) as file:
            names = [n for n in file.namelist() if re.search(r"/data/\d+$", n)]
            names.sort(key=lambda name: int(name.rsplit("/", 1)[1]))
            arrays = [
                np.frombuffer(file.read(name), "<f4").reshape(shape)
                for name, shape in zip(names, shapes, strict=True)
            ]
        return {
            f"dense_{i}": {"kernel": arrays[2 * i].T, "bias": arrays[2 * i + 1]}
            for i in range(3)
        }

    files = sorted((data_dir / "mnist_inrs").glob("*/checkpoints/model_final.pth"))
    assert len(files) == 32
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(read, files))
