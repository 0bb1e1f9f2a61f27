"""Pairs of small networks with data: the problems that aligners are tested on.

Made in numpy, because the time of these tests is compilation.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import networks, symmetry
from symmerge_jax.alignment import AlignmentProblem
from symmerge_jax.typing import Task

NETWORKS = {
    "relu": lambda: networks.mlp((3, 7, 5, 2), "relu"),
    "tanh": lambda: networks.mlp((3, 7, 5, 2), "tanh"),
    "siren": lambda: networks.siren((2, 7, 1)),
    "gelu": lambda: networks.mlp((3, 7, 2), "gelu"),
    "small": lambda: networks.mlp((3, 6, 2), "tanh"),
    "small_relu": lambda: networks.mlp((3, 6, 2), "relu"),
    "one_neuron": lambda: networks.mlp((3, 1, 2), "tanh"),
    "no_hidden": lambda: networks.mlp((3, 2), "relu"),
}
NUM_SAMPLES = 40

# Optimising the code takes longer than running it.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)
act = compiled(symmetry.act, static_argnames="spec")


@functools.cache
def make_network(name):
    return NETWORKS[name]()


@functools.cache
def make_functions(name):
    """Features and loss, one object per network: they are static in a problem."""
    network = make_network(name)

    def features_fn(params, data):
        return network.features(params, data["inputs"])

    def loss_fn(params, data):
        difference = network.apply(params, data["inputs"]) - data["targets"]
        return jnp.mean(difference**2)

    return features_fn, loss_fn, compiled(network.apply)


@functools.cache
def make_params(name, seed):
    """Generic weights: normal, of size `1 / sqrt(inputs)`, 30 times less for SIRENs."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(make_network(name).init, jax.random.key(0))
    size = 1 / 30 if name == "siren" else 1.0

    def draw(leaf):
        std = size / leaf.shape[0] ** 0.5 if leaf.ndim == 2 else size / 3
        return generator.normal(scale=std, size=leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)


def make_problem(name, params_a, params_b):
    """A problem whose task is to compute what `a` computes."""
    features_fn, loss_fn, apply = make_functions(name)
    num_inputs = params_a["dense_0"]["kernel"].shape[0]
    generator = np.random.default_rng(99)
    inputs = generator.uniform(-1, 1, (NUM_SAMPLES, num_inputs)).astype(np.float32)
    return AlignmentProblem(
        params_a=params_a,
        params_b=params_b,
        task=Task(
            {"inputs": inputs, "targets": np.asarray(apply(params_a, inputs))},
            loss_fn,
            features_fn,
        ),
        spec=make_network(name).spec,
    )


def with_task(problem, **changes):
    """The same problem with another task."""
    task = dataclasses.replace(problem.task, **changes)
    return dataclasses.replace(problem, task=task)


def draw_element(spec, sizes, generator, *, permute=True, rescale=True, scale_std=1.0):
    element = {}
    for space in spec.spaces:
        if space.group is symmetry.Group.TRIVIAL:
            continue
        perm = np.arange(sizes[space.name])
        scale = np.ones(len(perm), np.float32)
        if permute:
            perm = generator.permutation(perm)
        if rescale and space.group is symmetry.Group.SIGN:
            scale = generator.choice([-1, 1], len(perm)).astype(np.float32)
        if rescale and space.group is symmetry.Group.SCALE:
            scale = generator.normal(scale=scale_std, size=len(perm))
            scale = np.exp(scale).astype(np.float32)
        element[space.name] = symmetry.Monomial(perm, scale)
    return element


def make_twins(name, params=None, seed=0, **options):
    """A network and a twin of it, and the element that leads from twin to network."""
    spec = make_network(name).spec
    params = make_params(name, seed) if params is None else params
    generator = np.random.default_rng(seed + 100)
    element = draw_element(spec, spec.sizes(params), generator, **options)
    twin = jax.tree.map(np.asarray, act(element, params, spec=spec))
    back = jax.tree.map(np.asarray, symmetry.inverse(element))
    return make_problem(name, params, twin), back


def make_strangers(name, seed=0):
    """Two networks that have nothing to do with each other."""
    return make_problem(name, make_params(name, seed), make_params(name, seed + 1))


def spoil(params):
    """Make two hidden neurons equal, and two others dead."""
    params = jax.tree.map(np.array, params)
    incoming, outgoing = params["dense_0"], params["dense_1"]
    incoming["kernel"][:, 1] = incoming["kernel"][:, 0]
    incoming["bias"][1] = incoming["bias"][0]
    outgoing["kernel"][1] = outgoing["kernel"][0]
    incoming["kernel"][:, 3:5] = 0
    incoming["bias"][3:5] = 0
    outgoing["kernel"][3:5] = 0
    return params
