"""A trained autoencoder: use, save and load it.

A saved canonicaliser is a folder with two files:

    canonicalizer.json    format, version, architecture, encoder, decoder, statistics,
                          and free metadata (such as held-out errors)
    weights.safetensors   the parameters of the autoencoder
"""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from symmerge_jax import metanets, networks, storage, symmetry
from symmerge_jax.autoencoders import _autoencoder
from symmerge_jax.typing import Array, Params

FORMAT = storage.ModelFormat(
    "canonicalizer",
    "canonicaliser",
    ("architecture", "encoder_options", "decoder_options"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Canonicalizer:
    """A trained autoencoder of one architecture.

    Attributes:
      architecture: see `networks.build`.
      encoder_options: of its encoder, see `metanets.build_encoder`.
      decoder_options: of its decoder, see `autoencoders.build`.
      statistics: of the population that it was trained on.
      variables: parameters of the autoencoder.
      metadata: JSON values, such as the error on held-out networks.
    """

    architecture: Mapping[str, Any]
    encoder_options: Mapping[str, Any]
    decoder_options: Mapping[str, Any]
    statistics: metanets.Statistics = dataclasses.field(repr=False)
    variables: metanets.Variables = dataclasses.field(repr=False)
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def autoencoder(self) -> _autoencoder.Autoencoder:
        """The autoencoder as pure functions."""
        return _autoencoder.build(
            self.architecture,
            self.encoder_options,
            self.decoder_options,
            self.statistics,
        )

    @property
    def spec(self) -> symmetry.SymmetrySpec:
        """Symmetry of the networks that it canonicalises."""
        return self.autoencoder.network.spec

    def encode(self, params: Params, *, batch_size: int = 64) -> Array:
        """Return latents `[*N, D]`, invariant to the symmetry of the networks.

        Args:
          params: one network, or a batch with one leading axis.
          batch_size: networks that are encoded at once, which bounds memory.

        Returns:
          `[D]` or `[N, D]`.

        Raises:
          ValueError: if the parameters are of another architecture or not finite.
        """
        return self._run(self._encode, params, batch_size)

    def reconstruct(self, params: Params, *, batch_size: int = 64) -> Params:
        """Return the representatives of networks: approximately the same function.

        Args:
          params: one network, or a batch with one leading axis.
          batch_size: see `encode`, as all errors.

        Returns:
          Parameters with the shapes of `params`.
        """
        return self._run(self._reconstruct, params, batch_size)

    @functools.cached_property
    def _encode(self):
        return jax.jit(self.autoencoder.encode)

    @functools.cached_property
    def _reconstruct(self):
        return jax.jit(self.autoencoder.reconstruct)

    def _run(self, function, params: Params, batch_size: int):
        is_batch = bool(check_fits(params, self.autoencoder))
        batch = params if is_batch else jax.tree.map(lambda x: x[None], params)
        run = functools.partial(function, self.variables)
        whole = networks.map_batches(run, batch, batch_size)
        return whole if is_batch else jax.tree.map(lambda x: x[0], whole)


def check_fits(
    params: Params, autoencoder: _autoencoder.Autoencoder
) -> tuple[int, ...]:
    """Return the batch axes of networks that fit an autoencoder.

    Raises:
      ValueError: if they have another architecture, other sizes, more than one batch
        axis, no networks at all, or values that are not finite.
    """
    spec = autoencoder.network.spec
    shape = spec.batch_shape(params)
    if len(shape) > 1:
        raise ValueError(f"Expected one network or one batch axis, got axes {shape}.")
    if 0 in shape:
        raise ValueError("There are zero networks in the batch.")
    sizes = spec.sizes(
        jax.tree.map(lambda x: np.empty(x.shape[len(shape) :], np.bool_), params)
    )
    expected = {space.name: space.size for space in autoencoder.topology.spaces}
    if sizes != expected:
        raise ValueError(
            f"The networks have layers {sizes}, the autoencoder was trained on"
            f" {expected}."
        )
    symmetry.check_finite(params)
    return shape


def save_canonicalizer(path: str | os.PathLike, canonicalizer: Canonicalizer) -> None:
    """Write a canonicaliser to the folder `path`, completely or not at all.

    Args:
      path: the folder; an older canonicaliser is replaced.
      canonicalizer: what to write.

    Raises:
      ValueError: if `path` holds anything but a canonicaliser, or a parameter is not
        finite.
    """
    storage.save_model(path, FORMAT, canonicalizer)


def read(path: str | os.PathLike) -> Canonicalizer:
    """Read a canonicaliser from its folder, or from the workdir of its training run."""
    return storage.load_model(
        path, FORMAT, Canonicalizer, lambda model: model.autoencoder.init
    )
