"""The graph of a network's weights: one node per neuron, one edge per weight.

The topology is derived from the `SymmetrySpec` and the shapes of the parameters. It is
static: numpy and Python values that compiled programs see as constants, shared by all
networks of one architecture.

Nodes come space by space, inputs first. The edges of one weight tensor form a *block*:
all pairs of a read and a written neuron, row by row in the read one. A block of edges
is therefore a reshape of the edge array, and messages are sums over an axis: nothing is
gathered or scattered.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from symmerge_jax import symmetry
from symmerge_jax.typing import Params, Path

Role = Literal["input", "hidden", "output"]


@dataclasses.dataclass(frozen=True)
class NodeSpace:
    """The nodes of one space of neurons.

    Attributes:
      name: name of the space in the spec.
      size: number of neurons.
      role: "hidden" where a group acts; otherwise "input" (never written) or "output".
      group: the group that acts on it.
      bias: path of the parameter that becomes the node feature, or None.
    """

    name: str
    size: int
    role: Role
    group: symmetry.Group
    bias: Path | None


@dataclasses.dataclass(frozen=True)
class EdgeBlock:
    """The edges of one weight tensor.

    Attributes:
      source: index of the space that is read.
      target: index of the space that is written.
      path: path of the weight tensor.
      source_axis: its axis over the read neurons.
      target_axis: its axis over the written neurons.
      shape: shape of the tensor.
      repeat: entries of the read axis per neuron: positions of a flattened image.
    """

    source: int
    target: int
    path: Path
    source_axis: int
    target_axis: int
    shape: tuple[int, ...]
    repeat: int = 1

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Lengths of the axes in space: () for a dense kernel."""
        ends = (self.source_axis, self.target_axis)
        return tuple(n for i, n in enumerate(self.shape) if i not in ends)

    @property
    def num_features(self) -> int:
        """Numbers per edge: 1 for a dense kernel, height * width for a convolution."""
        return math.prod(self.kernel_shape) * self.repeat


@dataclasses.dataclass(frozen=True)
class Topology:
    """Nodes and edges of one architecture; frozen, hashable, static under `jax.jit`.

    Attributes:
      spaces: the nodes, inputs first, outputs last.
      blocks: the edges, ordered by target, then source.
      linear_as_conv: whether a dense weight is a kernel of 1 x 1 in the middle of the
        larger ones, else it is feature 0.
    """

    spaces: tuple[NodeSpace, ...]
    blocks: tuple[EdgeBlock, ...]
    linear_as_conv: bool = False

    @property
    def num_nodes(self) -> int:
        """Number of neurons `V`."""
        return sum(space.size for space in self.spaces)

    @property
    def num_edges(self) -> int:
        """Number of edges `E`."""
        return sum(math.prod(self.block_shape(block)) for block in self.blocks)

    @property
    def num_edge_features(self) -> int:
        """Numbers per edge: enough for every block; others are padded with zeros."""
        largest = max(block.num_features for block in self.blocks)
        return max(largest, math.prod(self.kernel_grid))

    @property
    def kernel_grid(self) -> tuple[int, ...]:
        """Height and width that hold every kernel; () without convolutions."""
        shapes = [b.kernel_shape for b in self.blocks if b.repeat == 1]
        reverse = [shape[::-1] for shape in shapes]
        lengths = itertools.zip_longest(*reverse, fillvalue=1)
        return tuple(max(axis) for axis in lengths)[::-1]

    @functools.cached_property
    def node_slices(self) -> tuple[slice, ...]:
        """Where each space lies on the node axis."""
        return _slices([space.size for space in self.spaces])

    @functools.cached_property
    def edge_slices(self) -> tuple[slice, ...]:
        """Where each block lies on the edge axis."""
        return _slices([math.prod(self.block_shape(block)) for block in self.blocks])

    @functools.cached_property
    def senders(self) -> np.ndarray:
        """`[E]` int32: node that each edge leaves."""
        return self._ends(lambda source, target: np.repeat(source, target.size))

    @functools.cached_property
    def receivers(self) -> np.ndarray:
        """`[E]` int32: node that each edge enters."""
        return self._ends(lambda source, target: np.tile(target, source.size))

    @functools.cached_property
    def node_types(self) -> np.ndarray:
        """`[V]` int32: one type per input and output neuron, one per hidden space."""
        counter = itertools.count()
        types = [
            np.full(space.size, next(counter))
            if space.role == "hidden"
            else np.array([next(counter) for _ in range(space.size)])
            for space in self.spaces
        ]
        return np.concatenate(types).astype(np.int32)

    @functools.cached_property
    def edge_types(self) -> np.ndarray:
        """`[E]` int32: types that a group element never mixes.

        A block that reads inputs has one type per input neuron, one that writes outputs
        one per output neuron, any other block a single one.
        """
        types, first = [], 0
        for block in self.blocks:
            source, target = self.spaces[block.source], self.spaces[block.target]
            if source.role == "input":
                local = np.repeat(np.arange(source.size), target.size)
            elif target.role == "output":
                local = np.tile(np.arange(target.size), source.size)
            else:
                local = np.zeros(source.size * target.size)
            types.append(first + local)
            first += int(local.max()) + 1
        return np.concatenate(types).astype(np.int32)

    @property
    def num_node_types(self) -> int:
        """Number of node types."""
        return int(self.node_types.max()) + 1

    @property
    def num_edge_types(self) -> int:
        """Number of edge types."""
        return int(self.edge_types.max()) + 1

    def mask(self, role: Role) -> np.ndarray:
        """Return which neurons have a role, `[V]` bool."""
        return np.concatenate([np.full(s.size, s.role == role) for s in self.spaces])

    def block_shape(self, block: EdgeBlock) -> tuple[int, int]:
        """Return the numbers of read and written neurons of a block, `(S, T)`."""
        return self.spaces[block.source].size, self.spaces[block.target].size

    def _ends(
        self, pairs: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        nodes = np.arange(self.num_nodes, dtype=np.int32)
        ends = [
            pairs(nodes[self.node_slices[b.source]], nodes[self.node_slices[b.target]])
            for b in self.blocks
        ]
        return np.concatenate(ends)


def topology(
    spec: symmetry.SymmetrySpec, params: Params, *, linear_as_conv: bool = False
) -> Topology:
    """Return the weight graph of an architecture.

    A parameter with one written and one read axis becomes a block of edges, one with a
    single written axis the node feature of its space.

    Args:
      spec: symmetry of the architecture.
      params: parameters of one network, or their shapes (`jax.eval_shape(init, key)`).
      linear_as_conv: see `Topology`; as in Neural Graphs (Kofinas et al. 2024, arXiv
        2403.12143), which reads dense and convolutional weights alike.

    Returns:
      The static topology.

    Raises:
      ValueError: if `params` does not fit `spec`, or a parameter is neither a weight
        tensor nor the only bias of its space; a space over others, one that follows
        another, and one that reads itself.
    """
    for space in spec.spaces:
        if space.over or space.follows:
            why = f"over {list(space.over)}" if space.over else f"to '{space.follows}'"
            raise ValueError(
                f"Networks with space '{space.name}', which belongs {why}, have no"
                " weight graph."
            )
    sizes = spec.sizes(params)
    shapes = {p: tuple(np.shape(x)) for p, x in symmetry.flatten(params).items()}
    order = {space.name: i for i, space in enumerate(spec.spaces)}
    biases: dict[str, Path] = {}
    blocks = []
    for path, axes in spec.atomic_axes:
        name = symmetry.name(path)
        written = [(i, a) for i, a in enumerate(axes) if a is not None and a.role == 1]
        read = [(i, a) for i, a in enumerate(axes) if a is not None and a.role == -1]
        labelled = len(written) + len(read)
        if any(a.repeat > 1 for _, a in written):
            raise ValueError(
                f"Parameter '{name}': repeat={written[0][1].repeat} on the"
                " written axis has no place in the weight graph."
            )
        if len(written) == 1 and len(read) == 1:
            (target_axis, target), (source_axis, source) = written[0], read[0]
            if target.space == source.space:
                raise ValueError(
                    f"Parameter '{name}': space '{target.space}' reads itself, which"
                    " has no place in the weight graph."
                )
            blocks.append(
                EdgeBlock(
                    source=order[source.space],
                    target=order[target.space],
                    path=path,
                    source_axis=source_axis,
                    target_axis=target_axis,
                    shape=shapes[path],
                    repeat=source.repeat,
                )
            )
        elif labelled == len(written) == 1 and len(axes) == 1:
            if (space := written[0][1].space) in biases:
                raise ValueError(
                    f"Space '{space}' has two biases: '{symmetry.name(biases[space])}'"
                    f" and '{name}'; the weight graph has room for one."
                )
            biases[space] = path
        else:
            raise ValueError(
                f"Parameter '{name}' with axes {axes} is neither a weight"
                " tensor (one read, one written axis) nor a bias (one written axis)."
            )
    targets = {block.target for block in blocks}
    spaces = tuple(
        NodeSpace(
            s.name, sizes[s.name], _role(s, i in targets), s.group, biases.get(s.name)
        )
        for i, s in enumerate(spec.spaces)
    )
    blocks.sort(key=lambda block: (block.target, block.source))
    return Topology(spaces, tuple(blocks), linear_as_conv)


def _role(space: symmetry.Space, is_written: bool) -> Role:
    if space.group is not symmetry.Group.TRIVIAL:
        return "hidden"
    return "output" if is_written else "input"


def _slices(sizes: list[int]) -> tuple[slice, ...]:
    ends = [0, *itertools.accumulate(sizes)]
    return tuple(slice(a, b) for a, b in itertools.pairwise(ends))
