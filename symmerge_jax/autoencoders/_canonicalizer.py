"""A trained autoencoder as a value that can be used, saved and loaded.

A saved canonicaliser is a folder with two files:

    canonicalizer.json    format, version, architecture, encoder, decoder, statistics,
                          and free metadata (such as held-out errors)
    weights.safetensors   the parameters of the autoencoder
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.autoencoders import _autoencoder, _batches, _build, _encoder
from symmerge_jax.typing import Array, Params

FORMAT = "symmerge_jax.canonicalizer"
VERSION = 1
FILES = ("canonicalizer.json", "weights.safetensors")


@dataclasses.dataclass(frozen=True, eq=False)
class Canonicalizer:
    """A trained autoencoder of one architecture.

    Attributes:
      architecture: see `networks.build`.
      encoder: see `autoencoders.build`.
      decoder: see `autoencoders.build`.
      statistics: of the population that it was trained on.
      variables: parameters of the autoencoder.
      metadata: JSON values, such as the error on held-out networks.
    """

    architecture: Mapping[str, Any]
    encoder: Mapping[str, Any]
    decoder: Mapping[str, Any]
    statistics: _build.Statistics
    variables: _encoder.Variables
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def autoencoder(self) -> _autoencoder.Autoencoder:
        """The autoencoder as pure functions."""
        return _build.build(
            self.architecture, self.encoder, self.decoder, self.statistics
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
          batch_size: networks that are processed at once, which bounds memory.

        Returns:
          Parameters with the shapes of `params`.

        Raises:
          ValueError: if the parameters are of another architecture or not finite.
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
        whole = _batches.map_batches(run, batch, batch_size)
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
    one = jax.tree.map(lambda x: np.empty(x.shape[len(shape) :], np.bool_), params)
    sizes = spec.sizes(one)
    expected = {space.name: space.size for space in autoencoder.topology.spaces}
    if sizes != expected:
        raise ValueError(
            f"The networks have layers {sizes}, the autoencoder was trained on"
            f" {expected}."
        )
    symmetry.check_finite(params)
    return shape


def save_canonicalizer(path: str | os.PathLike, canonicalizer: Canonicalizer) -> None:
    """Write a canonicaliser to the folder `path`, replacing an older one.

    The folder appears complete or not at all: it is written under a temporary name.

    Args:
      path: the folder.
      canonicalizer: what to write.

    Raises:
      ValueError: if `path` holds anything but a canonicaliser: it would be lost.
    """
    import safetensors.numpy

    path = pathlib.Path(path)
    if path.exists() and not _is_replaceable(path):
        raise ValueError(
            f"'{path}' holds more than a canonicaliser, so it is not replaced. Choose"
            " another folder."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": dict(canonicalizer.architecture),
        "encoder": dict(canonicalizer.encoder),
        "decoder": dict(canonicalizer.decoder),
        "statistics": {
            "/".join(name): list(pair)
            for name, pair in canonicalizer.statistics.items()
        },
        "metadata": dict(canonicalizer.metadata),
    }
    leaves = {
        "/".join(name): np.asarray(leaf, order="C")
        for name, leaf in symmetry.flatten(canonicalizer.variables).items()
    }
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as temporary:
        folder = pathlib.Path(temporary) / "new"
        folder.mkdir()
        weights = safetensors.numpy.save(leaves)
        (folder / "weights.safetensors").write_bytes(weights)
        description["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        text = json.dumps(description, indent=2, sort_keys=True)
        (folder / "canonicalizer.json").write_text(text + "\n")
        if path.exists():
            path.rename(pathlib.Path(temporary) / "old")
        shutil.move(folder, path)


def load_canonicalizer(path: str | os.PathLike) -> Canonicalizer:
    """Read a canonicaliser that `save_canonicalizer` or a training run wrote.

    Args:
      path: its folder, or the workdir of the training run.

    Returns:
      The canonicaliser.

    Raises:
      FileNotFoundError: if there is none; says where training puts it.
      ValueError: if a file is damaged, of an unknown format, or does not fit the other.
    """
    import safetensors
    import safetensors.numpy

    path = pathlib.Path(path)
    folder = path if (path / "canonicalizer.json").exists() else path / "canonicalizer"
    for name in FILES:
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"No canonicaliser in '{path}': '{folder / name}' does not exist. Give"
                " the workdir of a finished launch/train.py run, or its"
                " 'canonicalizer' folder."
            )
    try:
        description = json.loads((folder / "canonicalizer.json").read_text())
        weights = (folder / "weights.safetensors").read_bytes()
        leaves = safetensors.numpy.load(weights)
        _check_description(description)
    except (ValueError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"The canonicaliser in '{folder}' is damaged ({error}); export it again by"
            " rerunning launch/train.py on its workdir, or copy it again."
        ) from error
    if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
        raise ValueError(
            f"'{folder / 'canonicalizer.json'}' has format"
            f" {description.get('format')!r} version {description.get('version')!r};"
            f" this release reads {FORMAT!r} version {VERSION}."
        )
    if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
        raise ValueError(
            f"'{folder / 'weights.safetensors'}' is damaged: it is not the file that"
            " canonicalizer.json was written with. Copy or export both again."
        )
    canonicalizer = Canonicalizer(
        architecture=description["architecture"],
        encoder=description["encoder"],
        decoder=description["decoder"],
        statistics={
            tuple(name.split("/")): (pair[0], pair[1])
            for name, pair in description["statistics"].items()
        },
        variables=symmetry.unflatten(
            {tuple(name.split("/")): leaf for name, leaf in leaves.items()}
        ),
        metadata=description["metadata"],
    )
    expected = jax.eval_shape(canonicalizer.autoencoder.init, jax.random.key(0))
    shapes = {"/".join(n): x.shape for n, x in symmetry.flatten(expected).items()}
    for name in sorted(shapes.keys() | leaves.keys()):
        got = leaves[name].shape if name in leaves else None
        if got != shapes.get(name):
            raise ValueError(
                f"'{folder / 'weights.safetensors'}': tensor '{name}' has shape {got},"
                f" canonicalizer.json describes {shapes.get(name)}."
            )
    return canonicalizer


def _check_description(description: Any) -> None:
    """Refuse a description of this version with parts missing or of another kind."""
    if not isinstance(description, dict):
        raise ValueError("canonicalizer.json holds no object")
    if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
        return
    for name in ("architecture", "encoder", "decoder", "statistics", "metadata"):
        if not isinstance(description.get(name), dict):
            raise ValueError(f"canonicalizer.json has no object {name!r}")
    if not isinstance(description.get("weights_sha256"), str):
        raise ValueError("canonicalizer.json has no string 'weights_sha256'")
    for name, pair in description["statistics"].items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"statistics of {name!r} are no pair but {pair!r}")


def _is_replaceable(path: pathlib.Path) -> bool:
    """Whether a path is a folder with nothing but a canonicaliser, damaged or not."""
    return path.is_dir() and {file.name for file in path.iterdir()} <= set(FILES)
