"""Small changes of INRs that leave the class of their image as it is.

An INR whose first layer reads transformed coordinates draws the transformed image:
`f(A x + t)` has the kernel `A^T W` and the bias `b + t W` there, exactly. So an image
can be turned, scaled and moved without fitting it again, as in the public code of
Navon et al. 2023, arXiv 2301.12780. Outside of the square [-1, 1]^2 an INR draws what
it was never fitted to.
"""

from typing import Any

import jax
import jax.numpy as jnp

from symmerge_jax.experiments import _config
from symmerge_jax.typing import Array, Key, Params

_FIRST = "dense_0"


def default_options() -> dict[str, Any]:
    """Return the keys of `config.distort`, all zero: no change.

    Each is the largest value of a uniform distribution around zero: `rotation` in
    degrees, `scale` of the logarithm of the factor along each axis, `shift` along each
    axis in coordinates, of which the image has 2.
    """
    return {"rotation": 0.0, "scale": 0.0, "shift": 0.0}


def check_options(config: _config.Config, architecture: Any) -> None:
    """Refuse negative values, and coordinates where networks read none.

    Raises:
      ValueError: names the keys.
    """
    given = config.distort.to_dict()
    if negative := sorted(name for name, value in given.items() if value < 0):
        raise ValueError(f"config.distort: {', '.join(negative)} must be >= 0.")
    of_image = sorted(name for name, value in given.items() if value)
    if of_image and (
        architecture["kind"] != "siren" or architecture["layer_sizes"][0] != 2
    ):
        raise ValueError(
            f"config.distort: {', '.join(of_image)} change the coordinates of images,"
            f" which networks of kind {architecture['kind']!r} do not read."
        )


def distort(key: Key, params_batch: Params, config: _config.Config) -> Params:
    """Return `[N]` networks, each changed by its own random amount.

    Args:
      key: random key.
      params_batch: `[N]` networks.
      config: `distort` as in `default_options`.
    """
    options = config.distort
    if not (options.rotation or options.scale or options.shift):
        return params_batch
    num_networks = len(jax.tree.leaves(params_batch)[0])
    return transform_coordinates(
        params_batch, *_random_affine(key, num_networks, options)
    )


def transform_coordinates(params_batch: Params, matrix: Array, offset: Array) -> Params:
    """Return INRs that draw at `x` what the given ones draw at `A x + t`.

    Args:
      params_batch: `[N]` networks whose first layer is "dense_0".
      matrix: `[N, 2, 2]`, `A`.
      offset: `[N, 2]`, `t`.
    """
    kernel, bias = params_batch[_FIRST]["kernel"], params_batch[_FIRST]["bias"]
    first = {
        "kernel": jnp.einsum("nji,njo->nio", matrix, kernel),
        "bias": bias + jnp.einsum("ni,nio->no", offset, kernel),
    }
    return {**params_batch, _FIRST: first}


def _random_affine(key: Key, num_networks: int, options) -> tuple[Array, Array]:
    """Return `A`, a rotation after a scale along each axis, and `t`."""
    keys = jax.random.split(key, 3)

    def uniform(key, largest, *shape):
        shape = (num_networks, *shape)
        return jax.random.uniform(key, shape, minval=-largest, maxval=largest)

    angle = uniform(keys[0], jnp.deg2rad(options.rotation))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.stack([cosine, -sine, sine, cosine], axis=-1).reshape(-1, 2, 2)
    scale = jnp.exp(uniform(keys[1], options.scale, 2))
    return rotation * scale[:, None, :], uniform(keys[2], options.shift, 2)
