"""Matchers from plain descriptions, as configs and files have them."""

from collections.abc import Mapping
from typing import Any

import jax

from symmerge_jax import metanets, networks, symmetry
from symmerge_jax.deep_align import _matcher, _probe_features, _refine
from symmerge_jax.typing import Array, Key, Params

FEATURES = (
    "probes",
    "deep_weight_space",
    "scale_gmn",
    "neural_graphs",
    "relational_transformer",
)
"""Kinds of encoders of neurons."""


def build(
    architecture: Mapping[str, Any],
    features: Mapping[str, Any],
    statistics: metanets.Statistics,
) -> _matcher.Matcher:
    """Return the matcher that plain descriptions name.

    Args:
      architecture: of the networks, see `networks.build`.
      features: `kind`, one of `FEATURES`; `num_rounds` of learned matching that follow,
        see `refined`, 0 for none; for "probes" the options of `ProbeFeatures`, for the
        others those of `metanets.build_node_encoder`.
      statistics: of the population that the matcher is trained on.
    """
    options = dict(features)
    num_rounds = options.pop("num_rounds", 0)
    read = _read(architecture, options, statistics)
    return _refine.refined(read, num_rounds) if num_rounds else read


def _read(architecture, options, statistics) -> _matcher.Matcher:
    """Return the matcher without rounds."""
    if options.get("kind") not in FEATURES:
        raise ValueError(
            f"Unknown kind of features {options.get('kind')!r}; known are {FEATURES}."
        )
    network = networks.build(architecture)
    if options["kind"] == "probes":
        del options["kind"]
        try:
            module = _probe_features.ProbeFeatures(network, **options)
        except TypeError as error:
            raise ValueError(f"Features of kind 'probes': {error}") from error
        return _matcher.matcher(
            network,
            _from_module(network, module),
            signed=_has_signs(network.spec),
            any_width=True,
        )
    encoder = metanets.build_node_encoder(architecture, options, statistics)
    signed = options["kind"] == "scale_gmn" and _has_signs(network.spec)
    signed &= options.get("symmetry") != "permutation"
    signed &= not options.get("ablate_symmetry", False)
    return _matcher.matcher(network, encoder, signed=signed)


def _from_module(
    network: networks.Network, module: _probe_features.ProbeFeatures
) -> metanets.NodeEncoder:
    def init(key: Key) -> _matcher.Variables:
        return module.init(key, jax.tree.map(lambda x: x[None], network.init(key)))

    def features(
        variables: _matcher.Variables, params_batch: Params
    ) -> dict[str, Array]:
        found: Any = module.apply(variables, params_batch)
        return found

    return metanets.NodeEncoder(init, features)


def _has_signs(spec: symmetry.SymmetrySpec) -> bool:
    return any(space.group is symmetry.Group.SIGN for space in spec.spaces)
