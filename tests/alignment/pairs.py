"""Pairs of small networks with data: the problems that aligners are tested on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import networks, symmetry, testing
from symmerge_jax.alignment import AlignmentProblem

NETWORKS = {
    "relu": lambda: networks.mlp((3, 7, 5, 2), "relu"),
    "tanh": lambda: networks.mlp((3, 7, 5, 2), "tanh"),
    "siren": lambda: networks.siren((2, 7, 5, 1)),
    "gelu": lambda: networks.mlp((3, 7, 5, 2), "gelu"),
    "one_neuron": lambda: networks.mlp((3, 1, 2), "tanh"),
    "no_hidden": lambda: networks.mlp((3, 2), "relu"),
}
NUM_SAMPLES = 40


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

    return features_fn, loss_fn


@functools.cache
def make_params(name, seed):
    return testing.random_params(jax.random.key(seed), make_network(name))


def make_problem(name, params_a, params_b):
    """A problem whose task is to compute what `a` computes."""
    network = make_network(name)
    features_fn, loss_fn = make_functions(name)
    num_inputs = network.spec.sizes(params_a)[network.spec.spaces[0].name]
    shape = (NUM_SAMPLES, num_inputs)
    inputs = jax.random.uniform(jax.random.key(99), shape, minval=-1, maxval=1)
    return AlignmentProblem(
        params_a=params_a,
        params_b=params_b,
        data={"inputs": inputs, "targets": network.apply(params_a, inputs)},
        spec=network.spec,
        features_fn=features_fn,
        loss_fn=loss_fn,
    )


def make_twins(name, params=None, seed=0, **options):
    """A network and a twin of it, and the element that leads back."""
    spec = make_network(name).spec
    params = make_params(name, seed) if params is None else params
    key = jax.random.key(seed + 100)
    element = symmetry.sample(key, spec, spec.sizes(params), **options)
    problem = make_problem(name, params, symmetry.act(element, params, spec))
    return problem, symmetry.inverse(element)


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
    return jax.tree.map(jnp.asarray, params)
