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


DECISIVE = {
    "cnn": {
        "image_shape": [28, 28, 1],
        "activation": "relu",
        "stride": 2,
        "readout": "mean",
    },
    "mlp": {"activation": "relu"},
    "residual_mlp": {"activation": "relu"},
    "siren": {"w0": 30.0, "first_w0": None, "output_offset": 0.0},
}
"""Arguments that decide the function and leave no trace in the weights, by kind, with
an example of each; all others follow from the shapes of the weights."""


def undecided(architecture: Mapping[str, Any]) -> list[str]:
    """Return the decisive arguments that a description leaves to the defaults.

    Args:
      architecture: as for `build`.

    Returns:
      Keys of `DECISIVE` of its kind. Nothing can be proved about the function of
      weights that came with such a description: nobody said what it is.

    Raises:
      ValueError: unknown kind.
    """
    _check_kind(architecture.get("kind"))
    return [name for name in DECISIVE[architecture["kind"]] if name not in architecture]


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
    _check_kind(kind)
    try:
        return KINDS[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"Architecture of kind {kind!r}: {error}") from error


def _check_kind(kind: Any) -> None:
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"Unknown network kind {kind!r}; known are {sorted(KINDS)}.")
