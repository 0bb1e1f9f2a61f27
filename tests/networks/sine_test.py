import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks


@pytest.mark.parametrize("largest", [0.5, 40.0, 1e5])
def test_sine_and_cosine_are_within_1e_6_of_the_exact_values(largest):
    turns = np.linspace(-largest, largest, 100_001).astype(np.float32)
    sine, cosine = jax.jit(networks.sin_cos_turns)(turns)
    exact = 2 * np.pi * turns.astype(np.float64)
    np.testing.assert_allclose(sine, np.sin(exact), atol=1e-6, rtol=0)
    np.testing.assert_allclose(cosine, np.cos(exact), atol=1e-6, rtol=0)


def test_sine_agrees_with_jax_on_the_phases_of_a_siren():
    phase = jnp.linspace(-9.0, 9.0, 10_001)  # radians; rounding grows with the phase
    sine, cosine = networks.sin_cos_turns(phase / (2 * jnp.pi))
    np.testing.assert_allclose(sine, jnp.sin(phase), atol=2e-6, rtol=0)
    np.testing.assert_allclose(cosine, jnp.cos(phase), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 2e-6), (np.float64, 1e-15)])
def test_the_slope_of_the_sine_is_the_cosine(dtype, error):
    with jax.enable_x64():
        phase = jnp.linspace(-9.0, 9.0, 10_001, dtype=dtype)
        wave, slope = jax.jit(jax.vmap(jax.value_and_grad(networks.sine)))(phase)
        assert wave.dtype == slope.dtype == dtype
        exact = np.asarray(phase, np.float64)
        np.testing.assert_allclose(wave, np.sin(exact), atol=error, rtol=0)
        np.testing.assert_allclose(slope, np.cos(exact), atol=error, rtol=0)
        np.testing.assert_array_equal(networks.sine(phase), jnp.sin(phase))
