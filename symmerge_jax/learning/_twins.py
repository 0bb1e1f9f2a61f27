"""Copies of networks: twins of the same function, and copies that are nearly the same.

An encoder that is not invariant by construction is trained on random twins; a matcher
is trained to find what moves a changed copy back.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import deep_align, symmetry
from symmerge_jax.typing import Array, Key, Params

_FIRST = "dense_0"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Warp:
    """Largest random change of the coordinates that INRs read; zero for none.

    Each is the largest value of a uniform distribution around zero.

    Attributes:
      rotation: in degrees; of images only.
      scale: of the logarithm of the factor along each axis.
      shift: along each axis, in coordinates; an image or signal spans [-1, 1].
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0

    def __post_init__(self):
        given = dataclasses.asdict(self)
        if negative := sorted(name for name, value in given.items() if value < 0):
            raise ValueError(f"{', '.join(negative)} of a warp must be >= 0.")

    def __bool__(self) -> bool:
        return any(dataclasses.asdict(self).values())

    def check(self, architecture: Mapping[str, Any]) -> None:
        """Refuse networks that read no coordinates, and turned signals.

        Args:
          architecture: that of the networks.

        Raises:
          ValueError: names the options.
        """
        if not self:
            return
        changes = sorted(k for k, v in dataclasses.asdict(self).items() if v)
        if architecture["kind"] != "siren":
            raise ValueError(
                f"A warp ({', '.join(changes)}) changes the coordinates of images or"
                f" signals, which networks of kind {architecture['kind']!r} do not"
                " read."
            )
        _check_rotation(self, architecture["layer_sizes"][0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """How the copies differ that a matcher is to recognise.

    Attributes:
      noise: see `deep_align.perturb_weights`.
      dropout: see `deep_align.perturb_weights`.
      prune: see `deep_align.perturb_weights`.
      scale: largest relative change of a neuron that can be scaled, in [0, 1).
      warp: change of the coordinates of INRs.
    """

    noise: float = 0.01
    dropout: float = 0.05
    prune: float = 0.1
    scale: float = 0.1
    warp: Warp = Warp()

    def __post_init__(self):
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale must lie in [0, 1), got {self.scale}.")


def random_twins(key: Key, params_batch: Params, spec: symmetry.SymmetrySpec) -> Params:
    """Return a random twin of each of `[N]` networks: other weights, one function.

    Args:
      key: random key.
      params_batch: `[N]` networks.
      spec: their symmetry.
    """
    orbits = _sample_orbits(key, params_batch, spec, 1)
    return jax.tree.map(lambda x: x[:, 0], orbits)


def random_orbits(
    key: Key, params_batch: Params, spec: symmetry.SymmetrySpec, num_twins: int
) -> Params:
    """Return `num_twins` random twins of each of `[N]` networks.

    Args:
      key: random key.
      params_batch: `[N]` networks.
      spec: their symmetry.
      num_twins: twins per network.

    Returns:
      Numpy arrays `[N num_twins, ...]`, the twins of one network side by side.
    """
    orbits = _sample_orbits(key, params_batch, spec, num_twins)
    return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), orbits)


@functools.partial(jax.jit, static_argnames=("spec", "num_twins"))
def _sample_orbits(key, params_batch, spec, num_twins: int) -> Params:
    """Return twins `[N, num_twins]` of each of `[N]` networks."""
    keys = jax.random.split(key, symmetry.num_rows(params_batch))
    return jax.vmap(
        lambda key, params: symmetry.sample_orbit(key, params, spec, num_twins)
    )(keys, params_batch)


def orbit_spread(latents: np.ndarray) -> np.ndarray:
    """Return how far the latents of twins are apart, relative to their length.

    Args:
      latents: `[R, K, D]`, of `K` twins of each of `R` networks.

    Returns:
      `[R]`: the largest distance of a twin's latent from their mean, divided by the
      norm of that mean. Zero for an encoder that is invariant.
    """
    latents = np.asarray(latents, np.float64)
    centres = latents.mean(axis=1)
    within = np.linalg.norm(latents - centres[:, None], axis=-1).max(axis=1)
    return within / np.linalg.norm(centres, axis=-1)


def moved_copies(
    key: Key,
    params_batch: Params,
    spec: symmetry.SymmetrySpec,
    options: CopyOptions,
    *,
    signed: bool,
) -> tuple[Params, symmetry.GroupElement]:
    """Return changed copies of networks, moved, and what moves them back.

    Navon et al. 2024 (arXiv 2310.13397), section 4: known permutations of copies with
    noise are what the supervised loss is computed on.

    Args:
      key: random key.
      params_batch: `[N]` networks.
      spec: their symmetry.
      options: how copies differ.
      signed: whether signs of neurons are changed too.

    Returns:
      The copies, and elements that move them back onto the networks.
    """
    warp_key, copy_key = jax.random.split(key, 2)
    changed = warp_coordinates(warp_key, params_batch, options.warp)

    def copy(key, params):
        draw_key, move_key, scale_key = jax.random.split(key, 3)
        element = symmetry.sample(move_key, spec, spec.sizes(params), rescale=signed)
        for index, space in enumerate(spec.spaces):
            if space.group is symmetry.Group.SCALE and options.scale:
                perm, scale = element[space.name]
                factor = jax.random.uniform(
                    jax.random.fold_in(scale_key, index),
                    scale.shape,
                    minval=1 - options.scale,
                    maxval=1 + options.scale,
                )
                element[space.name] = symmetry.Monomial(perm, factor)
        perturbed = deep_align.perturb_weights(
            draw_key,
            params,
            noise=options.noise,
            dropout=options.dropout,
            prune=options.prune,
        )
        return symmetry.act(element, perturbed, spec), symmetry.inverse(element, spec)

    keys = jax.random.split(copy_key, symmetry.num_rows(params_batch))
    return jax.vmap(copy)(keys, changed)


def warp_coordinates(key: Key, params_batch: Params, warp: Warp) -> Params:
    """Turn, scale and move the image of each INR by its own random amount.

    An INR whose first layer reads transformed coordinates draws the transformed image,
    exactly (see `transform_coordinates`): nothing is fitted again, as in the public
    code of Navon et al. 2023, arXiv 2301.12780. A small change leaves the class of an
    image as it is. Outside of [-1, 1] an INR draws what it was never fitted to.

    Args:
      key: random key.
      params_batch: `[N]` networks.
      warp: the largest changes.

    Returns:
      `[N]` networks.

    Raises:
      ValueError: a rotation of networks that do not read two coordinates.
    """
    if not warp:
        return params_batch
    num_networks, num_inputs, _ = params_batch[_FIRST]["kernel"].shape
    _check_rotation(warp, num_inputs)
    return transform_coordinates(
        params_batch, *_random_affine(key, num_networks, num_inputs, warp)
    )


def transform_coordinates(params_batch: Params, matrix: Array, offset: Array) -> Params:
    """Return INRs that draw at `x` what the given ones draw at `A x + t`.

    `f(A x + t)` has the kernel `A^T W` and the bias `b + t W` in its first layer.

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


def _check_rotation(warp: Warp, num_inputs: int) -> None:
    if warp.rotation and num_inputs != 2:
        raise ValueError(
            "A warp with rotation turns images, whose networks read 2 coordinates;"
            f" these read {num_inputs}. Set rotation=0."
        )


def _random_affine(
    key: Key, num_networks: int, num_inputs: int, warp: Warp
) -> tuple[Array, Array]:
    """Return `A`, a rotation after a scale along each axis, and `t`."""
    keys = jax.random.split(key, 3)

    def uniform(key, largest, *shape):
        shape = (num_networks, *shape)
        return jax.random.uniform(key, shape, minval=-largest, maxval=largest)

    rotation = jnp.eye(num_inputs)[None]
    if warp.rotation:
        angle = uniform(keys[0], jnp.deg2rad(warp.rotation))
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        rotation = jnp.stack([cosine, -sine, sine, cosine], axis=-1).reshape(-1, 2, 2)
    scale = jnp.exp(uniform(keys[1], warp.scale, num_inputs))
    return rotation * scale[:, None, :], uniform(keys[2], warp.shift, num_inputs)
