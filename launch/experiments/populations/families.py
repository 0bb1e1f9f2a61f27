"""Families of INRs with one task: twins of a network, or separate fits of an image.

Boufalis et al. 2025, arXiv 2511.12601: members of an orbit are paired by a cyclic
shift, and the second of each pair is perturbed. What is drawn depends on the seed only,
so that families, noise levels and methods are compared on the same networks: the PD
orbit has the permutations of the P orbit and the signs of the D orbit, and noise of
another standard deviation is the same noise, multiplied.
"""

from typing import NamedTuple

import jax
import numpy as np

from symmerge_jax import symmetry, zoo
from symmerge_jax.typing import Params

TWINS = ("P", "D", "PD")
"""Random twins by permutations, by signs, by both."""

FAMILIES = (*TWINS, "fits")
"""Twins, or separate fits of one image."""


class Pairs(NamedTuple):
    """Networks to be merged two by two.

    Attributes:
      params_a: `[N]` networks that stay.
      params_b: `[N]` networks that move; perturbed.
      clean_b: `[N]` the same without noise, twins of `params_a`; None for separate
        fits, which are not twins.
      row: `[N]` number of the image that both render.
    """

    params_a: Params
    params_b: Params
    clean_b: Params | None
    row: np.ndarray


def title(family: str) -> str:
    """Return what tables and figures call a family."""
    return "separate fits" if family == "fits" else f"{family} orbit"


def make_members(
    family: str, inrs: zoo.Zoo, spec: symmetry.SymmetrySpec, num: int, seed: int
) -> Params:
    """Return the family `[R, num]` of each of `R` INRs.

    Separate fits are made of their images by their recipe; a zoo that does not tell it
    is refused.
    """
    if family == "fits":
        return _fits(inrs, spec, num, seed)
    rescale, permute = family in ("D", "PD"), family in ("P", "PD")

    def orbit(key, params):
        return symmetry.sample_orbit(
            key, params, spec, num, permute=permute, rescale=rescale
        )

    keys = jax.random.split(jax.random.key(seed), len(inrs))
    return jax.device_get(jax.jit(jax.vmap(orbit))(keys, inrs.params))


def shifted_pairs(
    members: Params, sigma: float, seed: int, *, are_twins: bool
) -> Pairs:
    """Pair each member with the next one of its family, the last with the first.

    Args:
      members: `[R, K]` networks.
      sigma: standard deviation of the noise on the second network of a pair, in units
        of the weights.
      seed: of the noise.
      are_twins: whether the members of a family are one function.
    """
    num_rows, num = jax.tree.leaves(members)[0].shape[:2]

    def flat(leaf):
        return np.asarray(leaf).reshape(num_rows * num, *leaf.shape[2:])

    def shifted(params):
        return jax.tree.map(lambda leaf: flat(np.roll(leaf, -1, axis=1)), params)

    return Pairs(
        params_a=jax.tree.map(flat, members),
        params_b=shifted(_perturb(members, sigma, seed)),
        clean_b=shifted(members) if are_twins else None,
        row=np.repeat(np.arange(num_rows), num),
    )


def chosen_pairs(twins: Params, numbers: np.ndarray, sigma: float, seed: int) -> Pairs:
    """Return one pair of twins of each network: of `[R, K]` the two `[R, 2]` numbers.

    `sigma` is the standard deviation of the noise on the second.
    """
    row = np.arange(len(numbers))
    a, b = (jax.tree.map(lambda x, e=e: x[row, numbers[:, e]], twins) for e in (0, 1))
    return Pairs(a, _perturb(b, sigma, seed), b, row)


def check_sigma(key: str, sigma: float) -> None:
    """Raise ValueError for an invalid standard deviation; `key` is that of a config."""
    if not 0 <= sigma < np.inf:
        raise ValueError(f"config.{key} must be >= 0, got {sigma}.")


def check_source(families: tuple[str, ...], inrs: zoo.Zoo) -> None:
    """Refuse separate fits of networks that were not fitted here."""
    made_by = inrs.provenance.get("made_by")
    if "fits" in families and (inrs.images is None or made_by != "generate_siren_zoo"):
        raise ValueError(
            "config.families has 'fits', but the networks of the canonicalizer were"
            " imported, so that it is not known how to fit others like them. Train it"
            " on a zoo that launch/make_zoo.py or launch/train.py made."
        )


def _perturb(params: Params, sigma: float, seed: int) -> Params:
    """Return networks with Gaussian noise on every parameter."""
    random = np.random.default_rng([seed, 1])

    def noisy(leaf):
        noise = random.standard_normal(leaf.shape, np.float32)
        return leaf + np.float32(sigma) * noise

    return jax.tree.map(noisy, params)


def _fits(inrs, spec, num, seed) -> Params:
    """Fit every image `num` times, from other starts than the zoo's own networks."""
    images = np.asarray(inrs.images)[inrs.image_row]
    fitted = zoo.generate_siren_zoo(
        zoo.ImageSet(images, inrs.labels, "chosen"),
        seed=inrs.provenance["seed"] + 1 + seed,
        architecture=inrs.architecture,
        options=zoo.SirenOptions(**inrs.provenance["options"]),
        fits_per_image=num,
    )
    return jax.tree.map(
        lambda x: np.asarray(x).reshape(len(inrs), num, *x.shape[1:]),
        symmetry.fold_phases(dict(fitted.params), spec),
    )
