"""Numbers of curves along paths, and means with their errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def summarize(losses: np.ndarray, row: np.ndarray | None = None) -> dict[str, Any]:
    """Return the numbers of one method and one measure.

    `psi(lam) = L(lam) - ((1 - lam) L(0) + lam L(1))` of each pair gives its barrier
    `max psi` and its AUC, the integral of `psi` by the trapezoidal rule (Navon et al.
    2024, arXiv 2310.13397); in float64, as `merging.loss_barrier` in float32.

    Args:
      losses: `[N, T]` losses of the pairs.
      row: `[N]` group of each pair; None if every pair is one of its own.

    Returns:
      Means over pairs of `start`, `middle` (linear between the points next to 1/2),
      `end`, `barrier` and `auc`, each with its standard error `..._se` (None for a
      single group); `largest`, the largest loss of any pair anywhere. Pairs of one
      group are not independent: errors are those of the means of the groups.
    """
    losses = np.asarray(losses, np.float64)
    num_points = losses.shape[1]
    lams = np.linspace(0, 1, num_points)
    psi = losses - ((1 - lams) * losses[:, :1] + lams * losses[:, -1:])
    psi[:, [0, -1]] = 0  # exactly, whatever the rounding of the line
    numbers = {
        "start": losses[:, 0],
        "middle": (losses[:, (num_points - 1) // 2] + losses[:, num_points // 2]) / 2,
        "end": losses[:, -1],
        "barrier": psi.max(axis=1),
        "auc": np.trapezoid(psi, lams, axis=1),
    }
    summary: dict[str, Any] = {}
    for name, values in numbers.items():
        found = number(values, row)
        summary |= {name: found["mean"], f"{name}_se": found["se"]}
    return {**summary, "largest": float(losses.max())}


def number(values: Any, row: np.ndarray | None = None) -> dict[str, float | None]:
    """Return the `mean` of `[N]` values and its standard error `se`, None for one."""
    mean, error = mean_and_error(values, row)
    return {"mean": float(mean), "se": None if np.isnan(error) else float(error)}


def mean_and_error(values: Any, row: np.ndarray | None = None) -> tuple[Any, Any]:
    """Return the mean of `[N, ...]` values of pairs, and its standard error.

    The error is over groups of equal size, those of `row` `[N]` or each pair of its
    own; NaN for a single group.
    """
    means = np.asarray(values, np.float64)
    if row is not None:
        means = np.stack([means[row == group].mean(axis=0) for group in np.unique(row)])
    mean = means.mean(axis=0)
    if len(means) == 1:
        return mean, np.full_like(mean, np.nan)
    return mean, means.std(axis=0, ddof=1) / len(means) ** 0.5


def of_methods(
    methods: Mapping[str, Mapping[str, Any]], arrays: Mapping[str, Any], measure: str
) -> dict[str, tuple[Any, Any, Any]]:
    """Return the mean curves of `METHOD/MEASURE` `[N, T]` over `lams`, by label."""
    return {
        method["label"]: (
            arrays["lams"],
            *mean_and_error(arrays[f"{name}/{measure}"]),
        )
        for name, method in methods.items()
    }


def over_seeds(numbers: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Return means over seeds, and standard deviations `..._std`, None for one seed."""
    found: dict[str, float | None] = {}
    for key in numbers[0]:
        values = np.array([one[key] for one in numbers])
        found[key] = float(values.mean())
        found[f"{key}_std"] = float(values.std(ddof=1)) if len(values) > 1 else None
    return found
