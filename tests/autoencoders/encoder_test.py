import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from symmerge_jax import autoencoders, graphs, metanets, testing
from tests.autoencoders.conftest import random_variables


class FreeSize(nn.Module):
    """An encoder that chooses its latent size: one number per node."""

    topology: graphs.Topology
    width: int
    latent_size: int | None = None

    @nn.compact
    def __call__(self, graph, *, deterministic=True):
        del deterministic
        size = graph.nodes.shape[-2] if self.latent_size is None else self.latent_size
        return nn.Dense(size)(graph.nodes[..., 0])


@pytest.mark.slow
def test_the_encoder_alone_is_that_of_the_autoencoder(describe, key):
    architecture, encoder, decoder, statistics = describe({"num_probes": 3})
    alone = metanets.build_encoder(architecture, encoder, statistics)
    whole = autoencoders.build(architecture, encoder, decoder, statistics)
    variables = jax.jit(whole.init)(key)
    decoder_variables = variables.pop("decoder")
    jax.tree.map(np.testing.assert_array_equal, jax.jit(alone.init)(key), variables)

    params = testing.random_params(key, alone.network)
    parts = jax.jit(alone.encode_parts)(variables, params)
    assert set(parts) == {"encoder", "probe"}
    latents = jax.jit(whole.encode)(variables | {"decoder": decoder_variables}, params)
    np.testing.assert_allclose(
        latents, parts["encoder"] + parts["probe"], rtol=1e-5, atol=1e-6
    )
    assert alone.latent_size == latents.shape[-1] == 4


def test_turned_phases_are_the_same_network_to_an_encoder_of_weights(describe, key):
    architecture, encoder, _, statistics = describe({"messages": "linear"})
    model = metanets.build_encoder(architecture, encoder, statistics)
    params = testing.random_params(key, model.network)
    half_turn = np.pi / 30.0  # the frequency that is left out of the architecture
    first, second = (params[f"dense_{i}"] for i in (0, 1))
    turned = {
        **params,
        "dense_0": {
            **first,
            "bias": first["bias"].at[:2].add([half_turn, 2 * half_turn]),
        },
        "dense_1": {**second, "kernel": second["kernel"].at[0].multiply(-1)},
    }
    variables = random_variables(model)
    encode = jax.jit(model.encode)
    np.testing.assert_allclose(
        encode(variables, turned), encode(variables, params), rtol=1e-4, atol=1e-5
    )
    flipped = {**turned, "dense_1": second}
    assert np.abs(encode(variables, flipped) - encode(variables, params)).max() > 0.1


@pytest.mark.parametrize(("latent_size", "expected"), [(None, 11), (6, 6)])
def test_probes_and_decoder_follow_the_latent_size_of_a_module(
    describe, monkeypatch, latent_size, expected
):
    monkeypatch.setitem(metanets.ENCODERS, "free", FreeSize)
    architecture, _, decoder, statistics = describe()
    encoder = {"kind": "free", "width": 3, "num_probes": 2, "latent_size": latent_size}
    model = autoencoders.build(architecture, encoder, decoder, statistics)
    assert model.encoder.latent_size == expected
    variables = jax.eval_shape(model.init, jax.random.key(0))
    assert variables["probe"]["params"]["Dense_1"]["kernel"].shape[-1] == expected
    latents = jax.ShapeDtypeStruct((5, expected), jnp.float32)
    decoded = jax.eval_shape(model.decode, variables, latents)
    assert decoded["dense_1"]["kernel"].shape == (5, 4, 4)
