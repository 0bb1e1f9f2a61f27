"""Sine waves of random frequency: the simplest signals to fit networks to.

The waves are those of Navon et al. 2024 (Deep-Align, arXiv 2310.13397): `sin(a x)` with
`a` uniform in [0.5, 10]. They publish no code for them; the interval of `x` is that of
their earlier waves (Navon et al. 2023, arXiv 2301.12780).
"""

import numpy as np

NUM_WAVES = 10_000


def sine_waves(num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return waves as images of one row, always the same ones.

    A wave is `(1 + sin(a x)) / 2` for `x` from -pi to pi. It lies in [0, 1] as pixels
    do: the squared error of a network is a quarter of that for the wave `sin(a x)`.

    Args:
      num_samples: samples of each wave, equally spaced, both ends included. The fastest
        wave has 10 periods.

    Returns:
      `[10000, 1, num_samples]` float32 in [0, 1], and `[10000]` int32 labels: the whole
      part of `a`, 0 to 9.

    Raises:
      ValueError: fewer than 21 samples, too few for 10 periods.
    """
    if num_samples < 21:
        raise ValueError(
            f"A wave of up to 10 periods needs at least 21 samples, got {num_samples}."
        )
    generator = np.random.Generator(np.random.PCG64(0))
    frequencies = generator.uniform(0.5, 10, NUM_WAVES)
    x = np.linspace(-np.pi, np.pi, num_samples)
    waves = 0.5 + 0.5 * np.sin(frequencies[:, None, None] * x[None, None])
    return waves.astype(np.float32), frequencies.astype(np.int32)
