"""Checks of the options of a metanet, before any work starts."""

from typing import Any

import jraph

from symmerge_jax import graphs
from symmerge_jax.metanets import _equivariant
from symmerge_jax.typing import Array

_CHOICES: dict[str, tuple[Any, ...]] = {
    "symmetry": (None, "sign", "scale", "hetero", "permutation"),
    "io": ("gated", "mlp"),
    "num_io_mlps": (1, 2),
    "aggregator": ("sum", "mean"),
    "readout": ("full_graph", "last_layer"),
}


def check_choices(options: Any) -> None:
    """Raise ValueError if an option of `options` is none of its choices."""
    for name, choices in _CHOICES.items():
        if (value := getattr(options, name)) not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
    check_sizes(options)


def check_sizes(options: Any) -> None:
    """Raise ValueError if a size, or the dropout, of `options` is out of range."""
    for name in ("width", "num_layers", "num_heads", "num_frequencies"):
        if getattr(options, name, 1) < 1:
            raise ValueError(f"{name} must be >= 1, got {getattr(options, name)}.")
    if getattr(options, "frequency_scale", 1.0) <= 0:
        raise ValueError(
            f"frequency_scale must be positive, got {options.frequency_scale}."
        )
    if options.latent_size is not None and options.latent_size < 1:
        raise ValueError(f"latent_size must be >= 1, got {options.latent_size}.")
    if not 0 <= options.dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {options.dropout}.")


def features(
    topology: graphs.Topology, graph: jraph.GraphsTuple
) -> tuple[Array, Array]:
    """Return nodes `[*N, V, 1]` and edges `[*N, E, F]` of a graph of this topology.

    Raises:
      ValueError: if they have other shapes.
    """
    # jraph types them as any nest of arrays.
    arrays: Any = (graph.nodes, graph.edges)
    nodes, edges = arrays
    expected_nodes = (topology.num_nodes, 1)
    expected_edges = (topology.num_edges, topology.num_edge_features)
    if (nodes.shape[-2:], edges.shape[-2:]) != (expected_nodes, expected_edges):
        raise ValueError(
            f"Graph has nodes {nodes.shape} and edges {edges.shape}; the topology of"
            f" the encoder asks for [*N, {expected_nodes[0]}, 1] and"
            f" [*N, {expected_edges[0]}, {expected_edges[1]}]. Was it made for another"
            " architecture?"
        )
    if nodes.shape[:-2] != edges.shape[:-2]:
        raise ValueError(
            f"Graph has batch axes {nodes.shape[:-2]} on nodes and"
            f" {edges.shape[:-2]} on edges."
        )
    return nodes, edges


def resolve_symmetry(topology: graphs.Topology, asked: str | None) -> str:
    """Return "sign", "scale", "hetero" or "permutation".

    Args:
      topology: whose hidden spaces have a group.
      asked: the option; None for the group of the hidden spaces.

    Raises:
      ValueError: if hidden spaces have different groups, or the group asked for is none
        of theirs (an encoder invariant to more than the symmetries of a network would
        confuse different functions).
    """
    found = {s.group for s in topology.spaces if s.role == "hidden"}
    if asked == "permutation" or not found:
        return asked or "permutation"
    if len(found) > 1:
        names = sorted(group.value for group in found)
        raise ValueError(
            f"Hidden spaces have the groups {names}; an encoder treats one in each"
            " network. Ask for symmetry='permutation', which holds for all. For a zoo"
            " that mixes networks of signs and of scales, give the spec of either and"
            " symmetry='hetero'."
        )
    group = found.pop()
    if asked == "hetero" and group.value in ("sign", "scale"):
        return asked
    if asked not in (None, group.value):
        raise ValueError(
            f"symmetry={asked!r} is no symmetry of this architecture, whose hidden"
            f" spaces have the group {group.value!r}; use that or 'permutation'."
        )
    return group.value


def feature_map(options: Any) -> _equivariant.FeatureMap | None:
    """Return the canonicalisation that the options ask for.

    Raises:
      ValueError: if options contradict each other.
    """
    name = resolve_symmetry(options.topology, options.symmetry)
    if options.ablate_symmetry and (name != "sign" or not options.symmetrize):
        raise ValueError(
            "ablate_symmetry replaces rho(x) + rho(-x); it needs symmetry='sign' and"
            f" symmetrize=True, got {name!r} and {options.symmetrize}."
        )
    if name in ("scale", "hetero") and options.bidirectional:
        raise ValueError(
            "bidirectional=True is not equivariant to scales: a backward message would"
            " need the reciprocal of every weight. Use it with 'sign' or 'permutation'."
        )
    if name == "permutation":
        return None
    if name == "scale":
        return _equivariant.FeatureMap("unit", options.norm_epsilon)
    if options.ablate_symmetry:
        return _equivariant.FeatureMap("ablated")
    kind = "symmetrized" if options.symmetrize else "absolute"
    if name == "hetero":
        return _equivariant.FeatureMap(kind, options.norm_epsilon, mixed=True)
    return _equivariant.FeatureMap(kind)


def is_scaled(feature_map: _equivariant.FeatureMap | None) -> bool:
    """Whether the encoder is invariant to the scales of all or of some networks."""
    return feature_map is not None and (feature_map.kind == "unit" or feature_map.mixed)


def switch(
    feature_map: _equivariant.FeatureMap | None, graph: jraph.GraphsTuple
) -> Array | None:
    """Return which networks `[N]` have scales, None where all have one group.

    Raises:
      ValueError: if the graph lacks the switch, has one that nothing reads, or one of
        another shape.
    """
    values: Any = graph.globals
    if feature_map is None or not feature_map.mixed:
        if values is not None:
            raise ValueError(
                "graph.globals holds a switch between signs and scales, which only an"
                " encoder with symmetry='hetero' reads. Choose that, or give"
                " graph._replace(globals=None)."
            )
        return None
    nodes: Any = graph.nodes
    expected = (*nodes.shape[:-2], 1)
    if values is None or values.shape != expected:
        got = "is None" if values is None else f"has shape {values.shape}"
        raise ValueError(
            f"symmetry='hetero' needs a switch {expected} in graph.globals, 0 for"
            f" signs (tanh) and 1 for scales (relu), which {got}. Give"
            " graph._replace(globals=...), or for networks of one activation leave"
            " symmetry=None."
        )
    return values.reshape(-1) > 0.5
