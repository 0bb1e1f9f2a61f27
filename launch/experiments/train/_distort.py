"""Small changes of INRs: their images, or signals, are turned, scaled and moved.

An INR whose first layer reads transformed coordinates draws the transformed image:
`f(A x + t)` has the kernel `A^T W` and the bias `b + t W` there, exactly. So nothing is
fitted again, as in the public code of Navon et al. 2023, arXiv 2301.12780. A small
change leaves the class of an image as it is. Outside of [-1, 1] along each axis an INR
draws what it was never fitted to.
"""

from typing import Any

import jax
import jax.numpy as jnp

from experiments import harness
from symmerge_jax.typing import Array, Key, Params

_FIRST = "dense_0"


def default_options() -> dict[str, Any]:
    """Return the keys of `config.distort`, all zero: no change.

    Each is the largest value of a uniform distribution around zero: `rotation` in
    degrees, for images alone, `scale` of the logarithm of the factor along each axis,
    `shift` along each axis in coordinates, of which an image or signal is 2 long.
    """
    return {"rotation": 0.0, "scale": 0.0, "shift": 0.0}


def check_options(config: harness.Config, architecture: Any) -> None:
    """Refuse negative values, coordinates where networks read none, turned signals.

    Args:
      config: `distort` as in `default_options`.
      architecture: that of the networks.

    Raises:
      ValueError: names the keys.
    """
    given = config.distort.to_dict()
    if negative := sorted(name for name, value in given.items() if value < 0):
        raise ValueError(f"config.distort: {', '.join(negative)} must be >= 0.")
    changes = sorted(name for name, value in given.items() if value)
    if not changes:
        return
    if architecture["kind"] != "siren":
        raise ValueError(
            f"config.distort: {', '.join(changes)} change the coordinates of images or"
            f" signals, which networks of kind {architecture['kind']!r} do not read."
        )
    _check_rotation(config.distort, architecture["layer_sizes"][0])


def distort(key: Key, params_batch: Params, config: harness.Config) -> Params:
    """Return `[N]` networks, each changed by its own random amount.

    Args:
      key: random key.
      params_batch: `[N]` networks.
      config: `distort` as in `default_options`.

    Raises:
      ValueError: a rotation of networks that do not read two coordinates.
    """
    options = config.distort
    if not (options.rotation or options.scale or options.shift):
        return params_batch
    num_networks, num_inputs, _ = params_batch[_FIRST]["kernel"].shape
    _check_rotation(options, num_inputs)
    return transform_coordinates(
        params_batch, *_random_affine(key, num_networks, num_inputs, options)
    )


def transform_coordinates(params_batch: Params, matrix: Array, offset: Array) -> Params:
    """Return INRs that draw at `x` what the given ones draw at `A x + t`.

    Args:
      params_batch: `[N]` networks whose first layer is "dense_0".
      matrix: `[N, I, I]`, `A`.
      offset: `[N, I]`, `t`.
    """
    kernel, bias = params_batch[_FIRST]["kernel"], params_batch[_FIRST]["bias"]
    first = {
        "kernel": jnp.einsum("nji,njo->nio", matrix, kernel),
        "bias": bias + jnp.einsum("ni,nio->no", offset, kernel),
    }
    return {**params_batch, _FIRST: first}


def _check_rotation(options, num_inputs: int) -> None:
    if options.rotation and num_inputs != 2:
        raise ValueError(
            "config.distort: rotation turns images, whose networks read 2 coordinates;"
            f" these read {num_inputs}. Set rotation=0."
        )


def _random_affine(
    key: Key, num_networks: int, num_inputs: int, options
) -> tuple[Array, Array]:
    """Return `A`, a rotation after a scale along each axis, and `t`."""
    keys = jax.random.split(key, 3)

    def uniform(key, largest, *shape):
        shape = (num_networks, *shape)
        return jax.random.uniform(key, shape, minval=-largest, maxval=largest)

    rotation = jnp.eye(num_inputs)[None]
    if options.rotation:
        angle = uniform(keys[0], jnp.deg2rad(options.rotation))
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        rotation = jnp.stack([cosine, -sine, sine, cosine], axis=-1).reshape(-1, 2, 2)
    scale = jnp.exp(uniform(keys[1], options.scale, num_inputs))
    return rotation * scale[:, None, :], uniform(keys[2], options.shift, num_inputs)
