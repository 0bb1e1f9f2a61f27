"""Measures of latents: how tight orbits are, and what can be read from them.

Distances are computed in float64 from differences: the expanded square would show
rounding where twins agree.
"""

from typing import Any

import numpy as np
from scipy.spatial import distance

from experiments.train import linear_probe
from symmerge_jax import learning

ROUNDING = 1e-5
"""Relative spread below which an orbit is one point, up to the rounding of float32."""

_MAX_ROWS = 4096
"""More networks than that add nothing to a mean distance."""


def orbit_numbers(
    orbits: np.ndarray, networks: np.ndarray, row: np.ndarray
) -> dict[str, Any]:
    """Measure how close twins are, seen from other networks.

    Args:
      orbits: `[R, K, D]` latents of `K` twins each of `R` networks.
      networks: `[N, D]` latents of networks, which those are among.
      row: `[R]` their numbers.

    Returns:
      Means over the orbits, except for `spread`, the worst:
      - `spread`: see `learning.orbit_spread`;
      - `within`: mean distance between two twins; `between`: between two networks;
        `ratio` of the two;
      - `found`: the share of twins whose nearest network is their own;
      - `two_parts`: the silhouette of the twins when two-means divides them, 1 for two
        points and little for one cloud, and `smaller_part`, the share of the smaller;
        None where twins differ by rounding only.
    """
    orbits, networks = orbits.astype(np.float64), networks.astype(np.float64)
    spreads = learning.orbit_spread(orbits)
    within = np.mean([mean_distance(orbit) for orbit in orbits])
    between = mean_distance(networks)
    found = [
        _nearest(orbit, networks) == own for orbit, own in zip(orbits, row, strict=True)
    ]
    divided = [
        _two_parts(orbit)
        for orbit, spread in zip(orbits, spreads, strict=True)
        if spread > ROUNDING
    ]
    silhouette, smaller = np.mean(divided, axis=0) if divided else (None, None)
    return {
        "spread": float(max(spreads)),
        "within": float(within),
        "between": float(between),
        "ratio": float(within / between) if between else None,
        "found": float(np.mean(found)),
        "two_parts": None if silhouette is None else float(silhouette),
        "smaller_part": None if smaller is None else float(smaller),
    }


def distances(orbits: np.ndarray, networks: np.ndarray) -> np.ndarray:
    """Return distances `[R K, R K]` between the latents of twins `[R, K, D]`.

    The unit is the mean distance between two of the networks `[N, D]`.
    """
    flat = np.asarray(orbits, np.float64).reshape(-1, orbits.shape[-1])
    return distance.cdist(flat, flat) / (mean_distance(networks) or 1.0)


def mean_distance(x: np.ndarray) -> float:
    """Return the mean Euclidean distance between two of `[N, D]` different rows."""
    return float(distance.pdist(np.asarray(x[:_MAX_ROWS], np.float64)).mean())


def farthest_pair(latents: np.ndarray) -> tuple[int, int, float]:
    """Return the two rows of `[K, D]` latents with the largest cosine distance.

    Returns:
      Their numbers, the lower one first, and `1 - cos` of their angle, computed as half
      the squared distance of the unit vectors, which is exact for small angles too.
    """
    latents = np.asarray(latents, np.float64)
    norms = np.linalg.norm(latents, axis=1, keepdims=True)
    far = distance.pdist(latents / np.maximum(norms, np.finfo(float).tiny))
    place = int(np.argmax(far))
    first, second = (row[place] for row in np.triu_indices(len(latents), 1))
    return int(first), int(second), float(far[place] ** 2 / 2)


def read_labels(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    num_neighbors: int,
) -> dict[str, float]:
    """Predict values of networks from their latents, fitted to other networks.

    Features are standardised. `neighbors`: by the nearest of them, Euclidean; `linear`:
    by logistic or ridge regression.

    Args:
      train: latents `[N, D]` and values `[N]`: integer classes, or numbers.
      test: those that it is measured on.
      num_neighbors: how many neighbours vote.

    Returns:
      The accuracy of classes; of numbers Kendall's rank correlation.
    """
    from scipy import stats
    from sklearn import linear_model, neighbors, pipeline, preprocessing

    (x, y), (test_x, test_y) = train, test
    is_class = np.issubdtype(y.dtype, np.integer)
    kind = neighbors.KNeighborsClassifier if is_class else neighbors.KNeighborsRegressor
    voters = kind(min(num_neighbors, len(x)), algorithm="brute")
    near = pipeline.make_pipeline(preprocessing.StandardScaler(), voters).fit(x, y)
    if is_class:
        linear = linear_probe(x, y, test_x, test_y)
        return {"neighbors": float(near.score(test_x, test_y)), "linear": linear}
    ridge = linear_model.RidgeCV(np.logspace(-2, 4, 13))
    line = pipeline.make_pipeline(preprocessing.StandardScaler(), ridge).fit(x, y)
    found: list[Any] = [
        stats.kendalltau(model.predict(test_x), test_y) for model in (near, line)
    ]
    return {"neighbors": float(found[0].statistic), "linear": float(found[1].statistic)}


def _nearest(x: np.ndarray, networks: np.ndarray) -> np.ndarray:
    """Return the number of the nearest network of each row."""
    parts = np.array_split(x, -(-len(x) // 512))
    return np.concatenate(
        [distance.cdist(part, networks).argmin(axis=1) for part in parts]
    )


def _two_parts(orbit: np.ndarray) -> tuple[float, float]:
    """Return the silhouette of the division by two-means, and the smaller share."""
    from sklearn import cluster, metrics

    centred = orbit - orbit.mean(axis=0)
    options: Any = {"n_init": 4, "random_state": 0}
    part = cluster.KMeans(2, **options).fit_predict(centred)
    share = part.mean()
    return float(metrics.silhouette_score(centred, part)), min(share, 1 - share)
