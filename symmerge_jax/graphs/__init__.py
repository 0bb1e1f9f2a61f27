"""Networks as graphs: one node per neuron, one edge per weight."""

from symmerge_jax.graphs._convert import graph_to_params, params_to_graph
from symmerge_jax.graphs._topology import EdgeBlock, NodeSpace, Topology, topology

__all__ = [
    "EdgeBlock",
    "NodeSpace",
    "Topology",
    "graph_to_params",
    "params_to_graph",
    "topology",
]
