"""What the jobs that train an autoencoder of networks share."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax import autoencoders, metanets, zoo
from symmerge_jax.learning import _twins
from symmerge_jax.typing import Key, Params

Parts = Mapping[str, np.ndarray]
"""Rows of a zoo by the name of the part: "train" and "val"."""


class Untrained(NamedTuple):
    """An autoencoder to train, and the networks that it is trained on.

    Attributes:
      model: the autoencoder.
      train: training networks.
      val: validation networks.
      statistics: mean and standard deviation per tensor over the training networks.
      augment: whether it reads a new random twin of every network in every step.
      description: what it is, as JSON values.
      make: `make(variables, metadata)` returns the canonicaliser.
    """

    model: autoencoders.Autoencoder
    train: zoo.Zoo
    val: zoo.Zoo
    statistics: metanets.Statistics
    augment: bool
    description: dict[str, Any]
    make: Any

    def decode(
        self, variables: Any, params_batch: Params, *, twin_key: Key, dropout_key: Key
    ) -> Params:
        """Return decoded networks, as they are in training."""
        spec = self.model.network.spec
        if self.augment:
            params_batch = _twins.random_twins(twin_key, params_batch, spec)
        latents = self.model.encode(variables, params_batch, dropout_key)
        return self.model.decode(variables, latents)


def untrained(
    networks_zoo: zoo.Zoo,
    parts: Parts,
    encoder: Mapping[str, Any],
    decoder: Mapping[str, Any],
    augment: bool,
) -> Untrained:
    """Return the autoencoder that descriptions name, see `autoencoders.build`."""
    train, val = (zoo.select(networks_zoo, parts[name]) for name in ("train", "val"))
    statistics, architecture = zoo.statistics(train), networks_zoo.architecture
    described = {
        "architecture": dict(architecture),
        "encoder_options": dict(encoder),
        "decoder_options": dict(decoder),
    }
    return Untrained(
        model=autoencoders.build(architecture, encoder, decoder, statistics),
        train=train,
        val=val,
        statistics=statistics,
        augment=augment,
        description={
            **described,
            "augment": augment,
            "num_train": len(train),
            "statistics": {"/".join(k): list(v) for k, v in statistics.items()},
        },
        make=functools.partial(_canonicalizer, described, statistics),
    )


def rows_of(examples: Any, seed: int, batch_size: int):
    """Return `batch_fn(step)`: the rows of examples `[N, ...]` of each step."""
    num_examples = len(jax.tree.leaves(examples)[0])

    def batch_fn(step: int):
        rows = zoo.batch_indices(seed, step, batch_size, num_examples)
        return jax.tree.map(lambda x: x[rows], examples)

    return batch_fn


def _canonicalizer(described, statistics, variables, metadata):
    return autoencoders.Canonicalizer(
        **described, statistics=statistics, variables=variables, metadata=metadata
    )
