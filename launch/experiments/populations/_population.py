"""A population: networks of one architecture, divided, and their task."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax import metanets, networks, zoo as zoos
from symmerge_jax.typing import Params

TEST_SUBSETS = ("test", "testing")
"""Subsets that are held out as a whole where a zoo has others too. The name may follow
that of a source, as in "mnist/test"."""


class Examples(NamedTuple):
    """Inputs, and what networks are to answer.

    Attributes:
      inputs: `[S, *input_shape]`; of INRs the coordinates `[S, I]` of a grid.
      targets: `[S]` classes, the same for all networks; of INRs `[N, S, O]`, the values
        that each network was fitted to; None where they are unknown or not needed.
    """

    inputs: np.ndarray
    targets: Any = None


class Task(NamedTuple):
    """What the networks of a population do.

    Attributes:
      train: examples that methods may see.
      test: examples that all are measured on; of INRs the same.
      size: height and width of the image of an INR, in pixels; None for classifiers.
    """

    train: Examples
    test: Examples
    size: Any = None


class Population(NamedTuple):
    """Networks of one architecture, divided, and their task.

    Attributes:
      zoo: all networks.
      network: their architecture.
      parts: rows of the networks in "train", "val" and "test".
      statistics: mean and standard deviation per tensor over the training networks.
      task: what the networks do.
    """

    zoo: zoos.Zoo
    network: networks.Network
    parts: dict[str, np.ndarray]
    statistics: metanets.Statistics
    task: Task

    @property
    def params(self) -> Params:
        """Stacked parameters of all networks."""
        return self.zoo.params

    def part(self, name: str, most: int | None = None) -> zoos.Zoo:
        """Return the networks of a part, or the first `most` of them."""
        return zoos.select(self.zoo, self.parts[name][:most])


def population(
    networks_zoo: zoos.Zoo, parts: dict[str, np.ndarray], task: Task
) -> Population:
    """Return a population; refuses weights that are not finite.

    `parts` are rows of the zoo; one of them is "train".
    """
    zoos.check_finite(networks_zoo)
    return Population(
        zoo=networks_zoo,
        network=networks.build(networks_zoo.architecture),
        parts=parts,
        statistics=zoos.statistics(zoos.select(networks_zoo, parts["train"])),
        task=task,
    )


def split(
    networks_zoo: zoos.Zoo, *, val_fraction: float, test_fraction: float, seed: int
) -> dict[str, np.ndarray]:
    """Divide networks by image, or by training run.

    A zoo with one of `TEST_SUBSETS` beside others holds that out; then `test_fraction`
    is not used.

    Returns:
      Rows of the networks in "train", "val" and "test".

    Raises:
      ValueError: fractions out of range, or a part that would be empty.
    """
    fractions = {"val": val_fraction, "test": test_fraction}
    held_out = in_test_subset(networks_zoo)
    if held_out.any() and not held_out.all():
        rest = np.flatnonzero(~held_out)
        fractions.pop("test")
        fractions["train"] = 1 - sum(fractions.values())
        inner = zoos.split(zoos.select(networks_zoo, rest), fractions, seed=seed)
        parts = {name: rest[rows] for name, rows in inner.items()}
        return parts | {"test": np.flatnonzero(held_out)}
    fractions["train"] = 1 - sum(fractions.values())
    return zoos.split(networks_zoo, fractions, seed=seed)


def in_test_subset(networks_zoo: zoos.Zoo) -> np.ndarray:
    """Return which networks belong to one of `TEST_SUBSETS`, `[N]`."""
    names = [name.rpartition("/")[2] in TEST_SUBSETS for name in networks_zoo.subsets]
    return np.array(names)[networks_zoo.subset_index]


def planned_params(architecture: Mapping[str, Any], num_networks: int) -> Params:
    """Return zeros with the shapes of stacked parameters; they take no memory."""
    network = networks.build(architecture)
    return jax.tree.map(
        lambda x: np.broadcast_to(np.float32(0), (num_networks, *x.shape)),
        jax.eval_shape(network.init, jax.random.key(0)),
    )
