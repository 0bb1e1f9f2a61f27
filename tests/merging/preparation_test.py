"""Parents that have seen other inputs are found by their running statistics."""

import logging
import re

import flax.linen as nn
import jax
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import merging

X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(not train, momentum=0.0)(nn.Dense(6)(x))
        return nn.Dense(3)(nn.relu(x))


def parent(seed, inputs):
    """Return a network whose running statistics are those of these inputs."""
    variables = Net().init(jax.random.key(seed), X)
    _, updated = Net().apply(variables, inputs, train=True, mutable=["batch_stats"])
    return {**variables, **updated}


@pytest.mark.parametrize(
    ("factor", "offset", "message"),
    [
        (1, 0, None),
        (1, 0.3, None),
        (1, 5, "parent 1 has seen other inputs: those given miss its running mean"),
        (10, 0, "parent 1 has seen other inputs: .* spread 0.1 times as much"),
    ],
)
def test_inputs_that_a_parent_has_not_seen_are_named(factor, offset, message, caplog):
    a, b = parent(0, X), parent(1, factor * X + offset)
    network = symmerge_jax.trace(Net().apply, a, X)
    both = jax.tree.map(lambda *x: np.stack(x), a, b)
    mean = jax.tree.map(lambda x: x.mean(0), both)
    with caplog.at_level(logging.WARNING):
        merging.repair(mean, both, network, ["statistics"], inputs=X)
    found = [record.getMessage() for record in caplog.records]
    if message is None:
        assert not found
    else:
        (line,) = found
        assert "'batch_stats/BatchNorm_0/mean'" in line
        assert re.search(message, line), line
