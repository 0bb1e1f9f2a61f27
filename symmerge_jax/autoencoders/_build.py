"""Encoders and autoencoders from plain descriptions, as configs and files have them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax

from symmerge_jax import graphs, metanets, networks
from symmerge_jax.autoencoders import _autoencoder, _decoder, _encoder, _probe
from symmerge_jax.typing import Path

ENCODERS: dict[str, Any] = {"scale_gmn": metanets.ScaleGMN, "probe": None}
"""Module of every kind of encoder that reads weights; "probe" reads none."""

WIDTH = 128
"""Width of an encoder whose description has none."""

Statistics = Mapping[Path, tuple[float, float]]
"""Mean and standard deviation of every tensor over a population."""


def build(
    architecture: Mapping[str, Any],
    encoder: Mapping[str, Any],
    decoder: Mapping[str, Any],
    statistics: Statistics,
) -> _autoencoder.Autoencoder:
    """Return the autoencoder that three descriptions name.

    Args:
      architecture: of the networks to be encoded, see `networks.build`.
      encoder: see `build_encoder`.
      decoder: `hidden_multipliers` of the encoder's width, and `head`.
      statistics: of the population that the autoencoder is trained on.

    Returns:
      The autoencoder.

    Raises:
      ValueError: unknown kind or option, or statistics of another architecture.
    """
    built = build_encoder(architecture, encoder, statistics)
    shapes = jax.eval_shape(built.network.init, jax.random.key(0))
    tensors = _decoder.tensor_shapes(shapes)
    options = dict(decoder)
    multipliers = options.pop("hidden_multipliers", (2, 4))
    width = encoder.get("width", WIDTH)
    options |= {
        "shapes": tensors,
        "hidden_sizes": tuple(int(m * width) for m in multipliers),
        "moments": _decoder.moments_of(statistics, tensors),
    }
    module = _construct("Decoder", _decoder.MLPDecoder, options)
    return _autoencoder.autoencoder(built, module)


def build_encoder(
    architecture: Mapping[str, Any],
    encoder: Mapping[str, Any],
    statistics: Statistics,
) -> _encoder.Encoder:
    """Return the encoder that a description names.

    Args:
      architecture: of the networks to be encoded, see `networks.build`.
      encoder: `kind` (a key of `ENCODERS`); `width`; `latent_size`, by default what
        the module chooses, and the width for a probe alone; `num_probes`, points at
        which the network is evaluated besides (0 for none); `input_value`, the node
        feature of input neurons; `scale_inputs`, whether every tensor is divided by its
        root mean square over the population; everything else goes to the module.
      statistics: of the population that the encoder is trained on.

    Returns:
      The encoder.

    Raises:
      ValueError: unknown kind or option, or statistics of another architecture.
    """
    network = networks.build(architecture)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    topology = graphs.topology(network.spec, shapes)
    _check_statistics(statistics, [path for path, _ in _decoder.tensor_shapes(shapes)])

    options = dict(encoder)
    kind = options.pop("kind", None)
    if kind not in ENCODERS:
        raise ValueError(
            f"Unknown encoder kind {kind!r}; known are {sorted(ENCODERS)}."
        )
    width = options.pop("width", WIDTH)
    latent_size = options.pop("latent_size", None)
    num_probes = options.pop("num_probes", 0)
    join = functools.partial(
        _encoder.encoder,
        network,
        topology,
        input_value=options.pop("input_value", 1.0),
    )
    module = probe = None
    if ENCODERS[kind] is not None:
        if options.pop("scale_inputs", False):
            options["input_scale"] = metanets.input_scale(topology, statistics)
        options |= {"topology": topology, "width": width, "latent_size": latent_size}
        module = _construct(f"Encoder of kind {kind!r}", ENCODERS[kind], options)
    elif options:
        raise ValueError(f"Encoder of kind {kind!r} takes no {sorted(options)}.")
    if num_probes:
        if not latent_size:
            latent_size = width if module is None else join(module, None).latent_size
        probe = _probe.ProbeEncoder(num_probes, network.input_shape, latent_size)
    return join(module, probe)


def _construct(name: str, module, options: Mapping[str, Any]):
    try:
        return module(**options)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def _check_statistics(statistics: Statistics, paths: list[Path]) -> None:
    if set(statistics) != set(paths):
        show = lambda paths: sorted("/".join(p) for p in paths)  # noqa: E731
        raise ValueError(
            f"Statistics are for the tensors {show(statistics)}, the architecture has"
            f" {show(paths)}."
        )
