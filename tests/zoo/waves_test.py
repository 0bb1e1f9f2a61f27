import numpy as np
import pytest

from symmerge_jax import zoo


def frequency(wave):
    """Return `a` of a wave, from its slope at `x = 0`."""
    middle = len(wave) // 2
    step = 2 * np.pi / (len(wave) - 1)
    return np.arcsin(2 * wave[middle + 1] - 1) / step


def test_waves_are_sines_of_all_frequencies_around_one_half():
    waves, labels, *_ = zoo.load_images("waves", "all", size=101)
    assert waves.shape == (10_000, 1, 101) and waves.dtype == np.float32
    assert 0 <= waves.min() < 0.001 and 0.999 < waves.max() <= 1
    x = np.linspace(-np.pi, np.pi, 101)
    found = np.array([frequency(wave) for wave in waves[:, 0]])
    assert 0.5 <= found.min() < 0.51 and 9.99 < found.max() <= 10.0001
    np.testing.assert_allclose(found.mean(), 5.25, atol=0.1)
    for wave, a, label in zip(waves[:20, 0], found, labels, strict=False):
        # float32 steepens the error of `a` by 50 steps
        np.testing.assert_allclose(wave, (1 + np.sin(a * x)) / 2, atol=1e-4)
        assert label == int(a)


def test_waves_are_always_the_same_whatever_their_number():
    few = zoo.load_images("waves", "all", num_images=3, size=64)
    more = zoo.load_images("waves", "all", num_images=5, size=64)
    assert few.images.shape == (3, 1, 64) and few.name == "waves/all"
    np.testing.assert_array_equal(few.images, more.images[:3])
    assert zoo.load_images("waves", num_images=1).images.shape == (1, 1, 256)


def test_too_few_samples_are_refused():
    for size in (20, 0):
        with pytest.raises(ValueError, match=f"at least 21 samples, got {size}"):
            zoo.load_images("waves", "all", size=size)
