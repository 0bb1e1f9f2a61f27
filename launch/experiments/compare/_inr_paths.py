"""Paths between pairs of INRs: methods bring the ends together, losses are measured."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import harness, populations
from experiments.compare import _bring, _inr_losses, _methods, curves
from experiments.harness import Number
from experiments.populations import families
from symmerge_jax import autoencoders, networks, zoo
from symmerge_jax.typing import Params

METHODS = (
    *("naive", "matching_p", "matching_d", "matching", "matching_best"),
    *("closed_form", "template", "reconstruct", "latent"),
)
"""Names of the methods that experiments offer for INRs."""

COLUMNS = ("start", "middle", "end", "barrier", "barrier to a", "aligned exactly %")
"""Headings of `cells_of`."""

_NUM_CERTIFIED = 8
"""Pairs on which exact methods prove that they keep the functions."""


class Inrs(NamedTuple):
    """`R` held-out networks.

    Attributes:
      zoo: the networks.
      images: `[R, H, W]` in [0, 1] that they render, if known.
      size: height and width of the images in pixels.
    """

    zoo: zoo.Zoo
    images: np.ndarray | None
    size: tuple[int, int]


class Group(NamedTuple):
    """Pairs that every method brings together.

    Attributes:
      pairs: `N` pairs.
      images: `[N, H, W]` in [0, 1] that they render, if known.
      crowds: the pairs as crowds of two.
      latents: by encoder, the latents `[N, 2, D]` and the seconds of encoding; filled
        when first needed.
    """

    pairs: families.Pairs
    images: np.ndarray | None
    crowds: _bring.Crowds
    latents: dict[str | None, tuple[np.ndarray, float]]


class Path(NamedTuple):
    """The paths of one method.

    Attributes:
      a: `[N]` first ends: parameters, or latents `[N, D]`.
      b: `[N]` second ends.
      arrays: `[N, T]` losses by measure; `recovered` `[N]`, whether the second network
        was moved as its noise-free twin has to be to become the first (absent where
        that means nothing); `seconds` of the method for all pairs.
    """

    a: Any
    b: Any
    arrays: dict[str, np.ndarray]


def measurer(
    inrs: Inrs,
    canonicalizers: Mapping[Any, autoencoders.Canonicalizer],
    *,
    num_points: int,
    num_random_starts: int,
    chunk_size: int,
) -> Callable[[str, str | None, Group], Path]:
    """Return `measure(method, encoder, group)`, which compiles each method once.

    `canonicalizers` are autoencoders by name of the encoder, or by None. A path has
    `num_points`, and a call of a compiled program takes `chunk_size` pairs.
    """
    architecture = inrs.zoo.architecture
    network = networks.build(architecture)

    def context_of(encoder: str | None) -> _bring.Context:
        return _bring.Context(
            network=network,
            canonicalizer=canonicalizers.get(encoder),
            num_random_starts=num_random_starts,
            chunk_size=chunk_size,
            num_certified=_NUM_CERTIFIED,
        )

    @functools.cache
    def prepare(name: str, encoder: str | None) -> _bring.Bring:
        return _methods.prepare(name, context_of(encoder))

    def measure(name: str, encoder: str | None, group: Group) -> Path:
        pairs, method = group.pairs, _methods.METHODS[name]
        crowds, seconds = group.crowds, 0.0
        if reads_latents(name):
            if encoder not in group.latents:
                context = context_of(encoder)
                group.latents[encoder] = _bring.encode(context, crowds.params)
            latents, seconds = group.latents[encoder]
            crowds = crowds._replace(latents=latents)
        brought = prepare(name, encoder if method.needs else None)(crowds)
        a, b = _bring.ends(brought.params)
        decoder = {}
        if method.in_latents:
            decoder["decode"] = canonicalizers[encoder].autoencoder.decode
            decoder["variables"] = canonicalizers[encoder].variables
        arrays: dict[str, Any] = _inr_losses.loss_curves(
            architecture,
            (a, b),
            pairs.params_a,
            num_points,
            inrs.size,
            group.images,
            chunk_size=chunk_size,
            **decoder,
        )
        arrays["seconds"] = np.float64(seconds + brought.seconds)
        if method.is_exact and (clean := pairs.clean_b) is not None:
            if brought.elements is not None:
                element = jax.tree.map(lambda x: x[:, -1], brought.elements)
                options = {"fold": brought.fold, "chunk_size": chunk_size}
                clean = _bring.move(clean, element, network.spec, **options)
            arrays["recovered"] = _are_equal(a, clean)
        return Path(a, b, arrays)

    return measure


def held_out(
    config: harness.Config,
    defaults: harness.Config,
    inrs: zoo.Zoo,
    rows: np.ndarray,
    size: tuple[int, int],
    source: pathlib.Path,
) -> Inrs:
    """Draw `config.num_networks` of the `rows` that the run in `source` has held out.

    Raises:
      ValueError: there are fewer, or networks that are no INRs of images.
      FileNotFoundError: no such images.
    """
    _inr_losses.renderer(inrs.architecture, *size)  # or raises
    num = config.num_networks
    if num > len(rows):
        raise ValueError(
            f"config.num_networks is {num}, but '{source}' holds out {len(rows)}."
        )
    drawn = np.random.default_rng(config.seed).choice(rows, num, replace=False)
    inrs = zoo.select(inrs, drawn)
    return Inrs(inrs, populations.find_images(config, defaults, inrs, size), size)


def options_of(config: harness.Config) -> dict[str, int]:
    """Return the options of `measurer` in a config, after checking them."""
    least = {"num_points": 3, "num_random_starts": 0, "chunk_size": 1}
    harness.at_least(config, **least)
    return {name: config[name] for name in least}


def group_of(pairs: families.Pairs, images: np.ndarray | None, seed: int) -> Group:
    """Return pairs as methods take them; the seed is that of what methods draw."""
    both = jax.tree.map(
        lambda a, b: np.stack([a, b], axis=1), pairs.params_a, pairs.params_b
    )
    keys = jax.random.split(jax.random.key(seed), len(pairs.row))
    return Group(pairs, images, _bring.Crowds(both, keys), {})


def reads_latents(name: str) -> bool:
    """Whether a method starts from the latents of an autoencoder."""
    method = _methods.METHODS[name]
    return method.needs == "canonicalizer" and not method.is_exact


def measures_of(
    arrays: Mapping[str, np.ndarray], row: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """Return the numbers of `curves.summarize` by measure."""
    return {
        measure: curves.summarize(arrays[measure], row)
        for measure in _inr_losses.MEASURES
        if measure in arrays
    }


def mean_recovered(arrays: Mapping[str, np.ndarray]) -> float | None:
    """Return the share of pairs that were aligned exactly, None if it means nothing."""
    return float(arrays["recovered"].mean()) if "recovered" in arrays else None


def cells_of(numbers: Mapping[str, Any]) -> tuple[harness.Cell, ...]:
    """Return the cells of a method below `COLUMNS`.

    The loss is that to the image if there is one, else to network a.
    """
    main = numbers.get("image", numbers["own"])
    return (
        *(Number(main[key]) for key in ("start", "middle", "end")),
        Number(main["barrier"], error=main["barrier_se"]),
        Number(numbers["own"]["barrier"], ".2g"),
        Number(numbers["recovered"], ".1%"),
    )


def _are_equal(params_a: Params, params_b: Params) -> np.ndarray:
    """Whether networks `[N]` agree in every parameter, to a rounding of their size."""

    def far(a, b):
        a, b = (np.asarray(x).reshape(len(x), -1) for x in (a, b))
        return np.abs(a - b).max(axis=1) > 1e-5 * np.abs(a).max(axis=1)

    differ = jax.tree.map(far, dict(params_a), dict(params_b))
    return ~np.any(jax.tree.leaves(differ), axis=0)
