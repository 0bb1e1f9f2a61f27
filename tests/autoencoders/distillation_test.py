import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import autoencoders, networks

GOLDEN = pathlib.Path(
    os.environ.get("SYMMERGE_GOLDEN")
    or pathlib.Path(__file__).parents[1] / "golden" / "golden.json"
)


def test_value_of_the_public_code():
    golden = json.loads(GOLDEN.read_text())
    if (case := golden.get("knowledge_distillation_loss")) is None:
        pytest.skip(f"{GOLDEN} has no distillation loss")
    with jax.enable_x64(True):
        numbers = jnp.arange(30.0).reshape(3, 10)
        found = autoencoders.distillation_loss(
            jnp.sin(numbers), jnp.cos(numbers), temperature=case["T"]
        )
    assert float(found) == pytest.approx(case["value"], abs=1e-12)


def test_loss_is_zero_for_the_teacher_and_blind_to_an_offset():
    teacher = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    zero = autoencoders.distillation_loss(teacher + 3, teacher)
    np.testing.assert_allclose(zero, np.zeros(2), atol=1e-6)
    worse = autoencoders.distillation_loss(-teacher, teacher)
    assert worse.shape == (2,) and worse.min() > 0.1


@pytest.mark.parametrize("num_networks", [1, 2])
@pytest.mark.slow
def test_chunks_change_neither_logits_nor_gradients(key, num_networks):
    network = networks.cnn((5, 5, 1), (2,), 3)
    params = jax.jit(jax.vmap(network.init))(jax.random.split(key, 3))
    inputs = jax.random.normal(key, (7, 5, 5, 1))

    def total(params, **options):
        logits = autoencoders.population_logits(network, params, inputs, **options)
        return jnp.sum(logits**2), logits

    gradient = jax.value_and_grad(total, has_aux=True)
    options = {"num_networks": num_networks, "chunk_size": 3}
    found = jax.jit(lambda p: gradient(p, **options))(params)
    expected = jax.vmap(network.apply, (0, None))(params, inputs)
    np.testing.assert_allclose(found[0][1], expected, rtol=1e-5, atol=1e-6)
    plain = jax.grad(
        lambda p: jnp.sum(jax.vmap(network.apply, (0, None))(p, inputs) ** 2)
    )(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found[1],
        plain,
    )
