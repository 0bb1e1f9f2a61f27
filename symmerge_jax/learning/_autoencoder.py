"""What the jobs that train an autoencoder of networks share."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from symmerge_jax import autoencoders, symmetry, training, zoo
from symmerge_jax.learning import _twins
from symmerge_jax.typing import Key, Params

Parts = Mapping[str, np.ndarray]
"""Rows of a zoo by the name of the part: "train" and "val"."""


def select(networks_zoo: zoo.Zoo, parts: Parts) -> tuple[zoo.Zoo, zoo.Zoo]:
    """Return the networks to train and to validate on."""
    train, val = (zoo.select(networks_zoo, parts[name]) for name in ("train", "val"))
    return train, val


def untrained(
    train: zoo.Zoo, encoder: Mapping[str, Any], decoder: Mapping[str, Any]
) -> autoencoders.Canonicalizer:
    """Return a canonicaliser of such networks without variables."""
    return autoencoders.Canonicalizer(
        architecture=dict(train.architecture),
        encoder_options=dict(encoder),
        decoder_options=dict(decoder),
        statistics=zoo.statistics(train),
        variables=None,
    )


def decode(
    model: autoencoders.Autoencoder,
    variables: Any,
    params_batch: Params,
    key: Key,
    dropout_key: Key,
    *,
    augment: bool,
) -> Params:
    """Return decoded networks as in training, where the encoder may read twins."""
    if augment:
        twin_key = jax.random.fold_in(key, 2)
        params_batch = _twins.random_twins(twin_key, params_batch, model.network.spec)
    return model.decode(variables, model.encode(variables, params_batch, dropout_key))


def rows_of(examples: Any, seed: int, batch_size: int):
    """Return `batch_fn(step)`: the own rows of examples `[N, ...]` of each step."""
    num_examples = symmetry.num_rows(examples)

    def batch_fn(step: int):
        rows = zoo.batch_indices(seed, step, batch_size, num_examples)
        return symmetry.rows(examples, training.own_rows(rows))

    return batch_fn
