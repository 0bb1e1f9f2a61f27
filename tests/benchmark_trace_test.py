"""The benchmark of tracing: what it measures is the network that its name says."""

import jax
import numpy as np
import pytest

from benchmarks import trace, trace_cases
from symmerge_jax import plots, tracing

PARAMETERS = {
    "ResNet-50": 25_557_032 + 53_120,  # torchvision's, and the running statistics
    "ResNet-152": 60_192_808 + 151_424,
    "ViT-B/16": 86_567_656,
    "ViT-L/16": 304_326_632,
    "GPT-2": 124_439_808,
    "GPT-2 XL, 48 layers": 1_557_611_200,
    "the same, scanned": 1_557_611_200,
}


@pytest.mark.parametrize("name", trace.NETWORKS)
def test_networks_have_their_published_sizes(name):
    leaves = jax.tree.leaves(trace.NETWORKS[name]().params)
    assert sum(int(np.prod(leaf.shape)) for leaf in leaves) == PARAMETERS[name]


@pytest.mark.parametrize("scanned", [False, True])
def test_symmetries_of_a_gpt_are_complete(scanned):
    with jax.numpy_rank_promotion("allow"):
        case = trace_cases.gpt(3, 64, 4, scanned=scanned)
        traced = tracing.infer(case.apply, case.params, *case.inputs)
    free = [space for space in traced.spaces.values() if space.pinned is None]
    blocks = 1 if scanned else 3  # queries and keys, values, heads, hidden neurons
    assert len(free) == 1 + 4 * blocks  # and the stream
    assert not traced.unknown


@pytest.mark.slow
def test_the_scaling_is_drawn(monkeypatch):
    monkeypatch.setattr(trace, "NETWORKS", {"GPT": lambda: trace_cases.gpt(1, 64, 4)})
    monkeypatch.setattr(trace, "LAYERS", (1, 2))
    forgotten = []  # here programs are kept: to trace all of JAX again takes seconds
    monkeypatch.setattr(trace, "_forget", lambda: forgotten.append(1))
    with jax.numpy_rank_promotion("allow"):
        result = trace.run(repeats=1)
    assert len(forgotten) == 2 * 4  # before the program and before the inference
    assert result["table"][0]["seconds"] > 0
    plots.scaling(trace.panels(result["scaling"]), "seconds")
