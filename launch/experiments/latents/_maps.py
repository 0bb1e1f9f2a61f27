"""Maps of latents in the plane, with the options of Boufalis et al. 2025."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments import harness
from experiments.latents import _numbers
from symmerge_jax import learning


class Map(NamedTuple):
    """A map in the plane.

    Attributes:
      points: `[N, 2]` where the networks lie.
      with_orbit: `[N, 2]` where they lie in the map that shows the orbit.
      orbit: `[K, 2]` where the twins of one network lie in it.
    """

    points: np.ndarray
    with_orbit: np.ndarray
    orbit: np.ndarray


def check_maps(names: tuple[str, ...]) -> None:
    """Refuse maps that are unknown, or whose package is not installed."""
    if names:
        harness.each_once("maps", names, MAPS)
    if "umap" in names and importlib.util.find_spec("umap") is None:
        raise ValueError(
            "config.maps has 'umap', but umap-learn is not installed: pip install"
            " 'symmerge_jax[umap]'"
        )


def lay_out(
    name: str, latents: np.ndarray, orbit: np.ndarray, network: int, seed: int
) -> Map:
    """Lay out latents `[N, D]` in the plane, with the orbit `[K, D]` of one `network`.

    UMAP places the twins in the map of the networks. t-SNE places no further points: it
    is fitted to networks and twins together. Where twins differ by rounding only, both
    would enlarge it, so all twins are placed on their network.
    """
    latents, orbit = latents.astype(np.float64), orbit.astype(np.float64)
    is_point = learning.orbit_spread(orbit[None])[0] < _numbers.ROUNDING
    place = MAPS[name][1]
    points, with_orbit, twins = place(latents, None if is_point else orbit, seed)
    if twins is None:
        twins = np.repeat(points[[network]], len(orbit), axis=0)
    return Map(points, with_orbit, twins)


def _tsne(latents, orbit, seed):
    """Perplexity 10, started from principal components."""
    points = _fit_tsne(latents, seed)
    if orbit is None:
        return points, points, None
    both = _fit_tsne(np.concatenate([latents, orbit]), seed)
    return points, both[: len(latents)], both[len(latents) :]


def _fit_tsne(x: np.ndarray, seed: int) -> np.ndarray:
    from sklearn import manifold

    perplexity = min(10.0, (len(x) - 1) / 3)
    return manifold.TSNE(
        perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed
    ).fit_transform(x)


def _umap(latents, orbit, seed):
    """10 neighbours, least distance 0.1, cosine."""
    with warnings.catch_warnings():
        # It misses tensorflow, which only its parametric variant needs.
        warnings.filterwarnings("ignore", ".*[Tt]ensorflow", ImportWarning)
        umap: Any = importlib.import_module("umap")  # an extra
        reducer = umap.UMAP(
            n_neighbors=min(10, len(latents) - 1),
            min_dist=0.1,
            metric="cosine",
            random_state=seed,
            n_jobs=1,  # what a seed needs
        )
        points = reducer.fit_transform(latents)
        return points, points, None if orbit is None else reducer.transform(orbit)


MAPS: dict[str, tuple[str, Callable[..., tuple[Any, Any, Any]]]] = {
    "tsne": ("t-SNE", _tsne),
    "umap": ("UMAP", _umap),
}
"""Title of each kind of map, and the function `(latents, orbit or None, seed) -> points
of the networks, the same in the map with the orbit, and of the orbit`."""
