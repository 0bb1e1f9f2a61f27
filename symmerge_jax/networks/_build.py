"""Networks from plain descriptions, as zoo files and configurations store them."""

from collections.abc import Mapping
from typing import Any

from symmerge_jax.networks import _cnn, _mlp, _network, _residual_mlp, _siren

KINDS = {
    "cnn": _cnn.cnn,
    "mlp": _mlp.mlp,
    "residual_mlp": _residual_mlp.residual_mlp,
    "siren": _siren.siren,
}
"""Constructor of every kind of network."""


def build(architecture: Mapping[str, Any]) -> _network.Network:
    """Return the network that a description names.

    Args:
      architecture: the kind and the arguments of its constructor, for example
        `{"kind": "siren", "layer_sizes": [2, 32, 32, 1], "w0": 30.0}`.

    Returns:
      The network.

    Raises:
      ValueError: unknown kind, or arguments that the kind does not take.

    Example:
      >>> build({"kind": "mlp", "layer_sizes": [8, 4, 2]}).spec.spaces[1].name
      'hidden_0'
    """
    arguments = dict(architecture)
    kind = arguments.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"Unknown network kind {kind!r}; known are {sorted(KINDS)}.")
    try:
        return KINDS[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"Architecture of kind {kind!r}: {error}") from error
