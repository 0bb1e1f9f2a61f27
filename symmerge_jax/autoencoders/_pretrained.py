"""Canonicalisers that come with the library, by name.

Each is a folder of `pretrained/` with a saved canonicaliser, its weights in float16,
and a card: what it was trained on, how well it does, and by which commands.
"""

import dataclasses
import os
import pathlib

import jax
import numpy as np

from symmerge_jax.autoencoders import _canonicalizer

_FOLDER = pathlib.Path(__file__).parent / "pretrained"

CARD = "README.md"
"""Name of the card in the folder of a canonicaliser."""


def pretrained() -> tuple[str, ...]:
    """Return the names that `load_canonicalizer` knows."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/*.json")))


def load_canonicalizer(path: str | os.PathLike) -> _canonicalizer.Canonicalizer:
    """Read a canonicaliser: one of ours, or one that a training run wrote.

    Args:
      path: a name of `pretrained()`; or the folder that `save_canonicalizer` wrote, or
        the workdir of the training run. A folder of that name is preferred.

    Returns:
      The canonicaliser.

    Raises:
      FileNotFoundError: if there is none; says where training puts it.
      ValueError: if a file is damaged, of an unknown format, or does not fit the other,
        or a parameter is not finite.

    Example:
      >>> from symmerge_jax import symmetry
      >>> canonicalizer = load_canonicalizer("mnist-siren-32")
      >>> network = canonicalizer.autoencoder.network
      >>> params = network.init(jax.random.key(0))
      >>> twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, 4)
      >>> float(np.ptp(canonicalizer.encode(twins), axis=0).max()) < 1e-3
      True
    """
    ours = pretrained()
    if os.fspath(path) not in ours or pathlib.Path(path).exists():
        try:
            return _canonicalizer.read(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} Ours are {', '.join(ours)}.") from None
    found = _canonicalizer.read(_FOLDER / path)
    wide = jax.tree.map(lambda x: np.asarray(x, np.float32), found.variables)
    return dataclasses.replace(found, variables=wide)
