"""Tables and figures of the latents of several encoders."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from experiments import harness
from experiments.harness import Number
from experiments.latents import _maps
from experiments.populations import families
from symmerge_jax import plots

NUM_DRAWN = 32
"""Twins of each network whose distances are drawn."""

_ORBIT_COLUMNS = {
    "spread": ("spread", ".1e"),
    "within": ("distance of twins", ".2e"),
    "between": ("of networks", ".3g"),
    "ratio": ("ratio", ".1e"),
    "found": ("twins next to their own %", ".1%"),
    "two_parts": ("two parts (silhouette)", ".2f"),
    "smaller_part": ("smaller part %", ".1%"),
}
"""Heading and format of each of `_numbers.orbit_numbers`."""


def tables(results: harness.Results) -> list[harness.Table]:
    """Return what is read from latents, and for each family how tight orbits are."""
    lines = results["encoders"] | results["baselines"]

    def table(caption: str, headings: Iterable[str], cells_of: Callable[[Any], Any]):
        rows = [(name, *cells_of(line)) for name, line in lines.items()]
        return harness.Table(caption, ("encoder", *headings), rows)

    error, unit, form = "MSE", "%", ".2%"
    if results["values"] == "accuracy":
        error, unit, form = "KL", "tau", ".4f"
    read = table(
        f"Read from latents of {results['num_networks']} held-out networks,"
        f" with {results['num_train']} others to learn from",
        (error, f"{results['num_neighbors']}-NN {unit}", f"linear {unit}"),
        lambda line: (
            Number(line.get("error")),
            *(Number(line[key], form) for key in ("neighbors", "linear")),
        ),
    )
    orbits = [
        table(
            f"{families.title(family)}s of {results['num_orbits']} networks,"
            f" {results['num_twins']} twins each",
            (heading for heading, _ in _ORBIT_COLUMNS.values()),
            lambda line, family=family: (
                Number(line["orbits"][family][key], form)
                for key, (_, form) in _ORBIT_COLUMNS.items()
            ),
        )
        for family in next(iter(lines.values()))["orbits"]
    ]
    return [read, *orbits]


def draw(results: harness.Results, arrays: harness.Arrays) -> dict[str, Any]:
    """Draw the maps without and with an orbit, and the distances of latents."""
    if not arrays:
        return {}
    encoders = results["encoders"]
    figures = {
        "distances": plots.distance_panels(
            {name: arrays[f"distances/{name}"] for name in encoders},
            min(NUM_DRAWN, results["num_twins"]),
            label="distance of latents (mean of networks: 1)",
        )
    }

    def of(part: str) -> dict[str, dict[str, np.ndarray]]:
        return {
            title: {name: arrays[f"{kind}/{name}/{part}"] for name in encoders}
            for kind, (title, _) in _maps.MAPS.items()
            if f"{kind}/{next(iter(encoders))}/{part}" in arrays
        }

    if of("points"):
        label = "test accuracy" if results["values"] == "accuracy" else None
        look: Any = {"values": arrays["values"], "values_label": label}
        figures["maps"] = plots.map_panels(of("points"), **look)
        family = next(iter(next(iter(encoders.values()))["orbits"]))
        figures["orbits"] = plots.map_panels(
            of("with_orbit"),
            orbits=of("orbit"),
            orbit_label=f"its {results['num_twins']} {family} twins",
            network=int(arrays["network"]),
            **look,
        )
    return figures
