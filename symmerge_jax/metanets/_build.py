"""Encoders from plain descriptions, as configs and files have them."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from symmerge_jax import graphs, networks, symmetry
from symmerge_jax.metanets import (
    _deep_weight_space,
    _encoder,
    _inputs,
    _neural_graphs,
    _scale_gmn,
)
from symmerge_jax.typing import Path

ENCODERS: dict[str, Any] = {
    "scale_gmn": _scale_gmn.ScaleGMN,
    "neural_graphs": _neural_graphs.NeuralGraphs,
    "relational_transformer": _neural_graphs.RelationalTransformer,
    "deep_weight_space": _deep_weight_space.DeepWeightSpace,
    "probe": None,
}
"""Module of every kind of encoder that reads weights; "probe" reads none."""

_OWN_KEYS = ("kind", "width", "latent_size", "num_probes")
_INPUT_KEYS = ("scale_inputs", "input_value")
_FILLED_IN = ("topology", "input_scale", "input_moments", "parent", "name")

WIDTH = 128
"""Width of an encoder whose description has none."""

Statistics = Mapping[Path, tuple[float, float]]
"""Mean and standard deviation of every tensor over a population, by its path:
`{("dense_0", "bias"): (0.1, 0.8), ...}`, as `zoo.statistics(zoo)` returns them."""


def build_encoder(
    architecture: Mapping[str, Any],
    options: Mapping[str, Any],
    statistics: Statistics,
) -> _encoder.Encoder:
    """Return the encoder that a description names.

    Args:
      architecture: of the networks to be encoded, see `networks.build`.
      options: `kind` (a key of `ENCODERS`); `width`; `latent_size`, by default what
        the module chooses, and the width for a probe alone; `num_probes`, points at
        which the network is evaluated besides (0 for none); `input_value`, the node
        feature of input neurons; `scale_inputs`, whether every tensor is divided by its
        root mean square over the population (encoders other than ScaleGMN: minus its
        mean, divided by its standard deviation); everything else goes to the module.
      statistics: of the population that the encoder is trained on.

    Returns:
      The encoder.

    Raises:
      ValueError: unknown kind or option, or statistics of another architecture.
    """
    read = _read(architecture, options, statistics)
    join = functools.partial(
        _encoder.make_encoder, read.network, read.topology, input_value=read.input_value
    )
    if not read.num_probes:
        return join(read.module, None)
    latent_size = read.latent_size
    if not latent_size:
        alone = read.module is None
        latent_size = read.width if alone else join(read.module, None).latent_size
    shape = read.network.input_shape
    probe = _encoder.ProbeEncoder(read.num_probes, shape, latent_size)
    return join(read.module, probe)


def build_node_encoder(
    architecture: Mapping[str, Any],
    options: Mapping[str, Any],
    statistics: Statistics,
) -> _encoder.NodeEncoder:
    """Return the encoder of neurons that a description names.

    Args:
      architecture: of the networks to be encoded, see `networks.build`.
      options: as for `build_encoder`, without `latent_size` and `num_probes`; of a kind
        that has features of neurons.
      statistics: of the population that the encoder is trained on.

    Returns:
      The encoder.

    Raises:
      ValueError: unknown kind or option, or statistics of another architecture.
    """
    for key in ("latent_size", "num_probes"):
        if options.get(key):
            raise ValueError(f"{key}={options[key]!r} means nothing to features.")
    read = _read(architecture, options, statistics)
    if not hasattr(read.module, "node_features"):
        raise ValueError(
            f"Encoder of kind {options.get('kind')!r} has no features of neurons."
        )
    return _encoder.make_node_encoder(
        read.network, read.topology, read.module, input_value=read.input_value
    )


def encoder_keys(kind: str) -> tuple[str, ...]:
    """Return the keys that the description of an encoder may have.

    Args:
      kind: a key of `ENCODERS`.

    Returns:
      The names: those of `build_encoder`, and the options of the kind's module.

    Raises:
      ValueError: for an unknown kind.
    """
    module = _module_class(kind)
    if module is None:
        return _OWN_KEYS
    options = [field.name for field in dataclasses.fields(module)]
    keys = dict.fromkeys((*_OWN_KEYS, *_INPUT_KEYS, *options))
    return tuple(key for key in keys if key not in _FILLED_IN)


class _Read(NamedTuple):
    """What the description of an encoder says."""

    network: networks.Network
    topology: graphs.Topology
    module: Any
    width: int
    latent_size: int | None
    num_probes: int
    input_value: float


def _read(
    architecture: Mapping[str, Any], options: Mapping[str, Any], statistics: Statistics
) -> _Read:
    network = networks.build(architecture)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    _check_statistics(statistics, [path for path, _ in symmetry.tensor_shapes(shapes)])
    options = dict(options)
    kind = options.pop("kind", None)
    module_class, module = _module_class(kind), None
    is_scale_gmn = issubclass(module_class or object, _scale_gmn.ScaleGMN)
    topology = graphs.topology(network.spec, shapes, linear_as_conv=not is_scale_gmn)
    width = options.pop("width", WIDTH)
    latent_size = options.pop("latent_size", None)
    num_probes = options.pop("num_probes", 0)
    input_value = options.pop("input_value", 1.0)
    if module_class is not None:
        if options.pop("scale_inputs", False):
            if is_scale_gmn:
                options["input_scale"] = _inputs.input_scale(topology, statistics)
            else:
                options["input_moments"] = _inputs.input_moments(topology, statistics)
        options |= {"topology": topology, "width": width, "latent_size": latent_size}
        try:
            module = module_class(**options)
        except TypeError as error:
            raise ValueError(f"Encoder of kind {kind!r}: {error}") from error
    elif options:
        raise ValueError(f"Encoder of kind {kind!r} takes no {sorted(options)}.")
    return _Read(network, topology, module, width, latent_size, num_probes, input_value)


def _module_class(kind: str | None) -> Any:
    if kind not in ENCODERS:
        raise ValueError(
            f"Unknown encoder kind {kind!r}; known are {sorted(ENCODERS)}."
        )
    return ENCODERS[kind]


def _check_statistics(statistics: Statistics, paths: list[Path]) -> None:
    if set(statistics) != set(paths):
        found, expected = (
            sorted(map(symmetry.name, some)) for some in (statistics, paths)
        )
        raise ValueError(
            f"Statistics are for the tensors {found}, the architecture has {expected}."
        )
