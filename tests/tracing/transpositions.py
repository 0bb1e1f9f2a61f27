"""Brute force: which transpositions of neurons leave a function as it is.

For axes of one size, every subset of them is tried: two indices are exchanged along
all axes of the subset at once, and the outputs compared at generic parameters. A subset
that passes for every pair of neighbours is a space of its own; the smallest of them are
compared with what the tracer calls free, which tells what a trace missed. Where axes
are too many, those of one free space are exchanged together. Axes without influence,
such as the bias of attention's keys, are left out.
"""

import itertools
import math
from typing import NamedTuple

import jax
import numpy as np

from tests.tracing import _proof
from tests.tracing._compare import full_names

MOST_AXES = 9  # of one size: 2 ** 9 evaluations of a small network
TOGETHER = 32  # networks in one call, always as many, so that one program does


class Atom(NamedTuple):
    """One factor or piece of a parameter axis, and where its indices lie on it."""

    name: str
    leaf: int
    axis: int
    groups: np.ndarray  # [neurons, ...]: indices on the axis, per neuron


def _places(tree, size_of, start):
    """Index arrays of every atom of an axis, each [neurons, ...], left to right."""
    kind, parts = ("atom", ()) if isinstance(tree, int) else tree
    if kind == "atom":
        return [start]
    if kind == "concatenation":
        ends = np.cumsum([size_of(part) for part in parts])[:-1]
        pieces = np.split(start, ends)
        return [
            place
            for part, piece in zip(parts, pieces, strict=True)
            for place in _places(part, size_of, piece)
        ]
    grid = start.reshape(*map(size_of, parts), *start.shape[1:])
    places = []
    for i, part in enumerate(parts):
        places += _places(part, size_of, np.moveaxis(grid, i, 0))
    return places


def atoms(traced, params):
    """All atoms of all parameter axes, by the names of the lists."""
    sizes = {key: space.size for key, space in traced.spaces.items()}

    def size_of(tree):
        if isinstance(tree, int):
            return sizes[tree]
        fold = sum if tree[0] == "concatenation" else math.prod
        return fold(size_of(part) for part in tree[1])

    full = full_names(traced)
    names = {
        (use.path, use.axis, use.position): full(use)
        for space in traced.spaces.values()
        for use in space.uses
    }
    out = []
    for leaf, (path, trees) in enumerate(_ordered(traced, params)):
        for axis, tree in enumerate(trees):
            if tree is None:
                continue
            for i, place in enumerate(_places(tree, size_of, np.arange(size_of(tree)))):
                out.append(Atom(names[path, axis, i], leaf, axis, place))
    return out


def _ordered(traced, params):
    """The layout, in the order of the leaves."""
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    known = {
        path if isinstance(path, str) else "/".join(map(str, path)): (path, trees)
        for path, trees in traced.layout.items()
    }
    names = [jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in flat]
    return [known[name] for name in names]


def _swap(leaves, subset, i, j):
    """The leaves with neurons `i` and `j` exchanged along all atoms of a subset."""
    leaves = list(leaves)
    for atom in subset:
        order = np.arange(leaves[atom.leaf].shape[atom.axis])
        order[atom.groups[i]], order[atom.groups[j]] = atom.groups[j], atom.groups[i]
        leaves[atom.leaf] = np.take(leaves[atom.leaf], order, atom.axis)
    return leaves


def spaces(traced, apply, params, inputs, seed=0):
    """The smallest sets of atoms along which all transpositions leave outputs alone.

    Returns (sets of names, names of all atoms that matter, number of sizes skipped).
    """
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        flat, tree = jax.tree.flatten(params)
        theta = [_generic(np.asarray(x), rng) for x in flat]
        inputs = _proof.double(inputs)

        def outputs(leaves):
            return jax.tree.leaves(apply(jax.tree.unflatten(tree, leaves), *inputs))

        program = jax.jit(jax.vmap(outputs))

        def same(moved):
            """Which of many lists of leaves give the same outputs."""
            ok = []
            for start in range(0, len(moved), TOGETHER - 1):
                some = moved[start : start + TOGETHER - 1]
                some = [*some, *[theta] * (TOGETHER - len(some))]  # the last is theta
                found = program([np.stack(x) for x in zip(*some, strict=True)])
                ok += list(_equal_to_the_last(found))[: len(moved) - start]
            return ok

        def passes(subsets, i, j):
            """Which subsets leave the outputs alone when neurons are exchanged."""
            ok = same([_swap(theta, subset, i, j) for subset in subsets])
            return [s for s, keep in zip(subsets, ok, strict=True) if keep]

        every = atoms(traced, params)
        idle = same([_redrawn(theta, atom, rng) for atom in every])
        live = [atom for atom, x in zip(every, idle, strict=True) if not x]
        found, skipped = _search(live, passes, lambda x: _glued(traced, x))
        return found, {atom.name for atom in live}, skipped


def _equal_to_the_last(outputs):
    """For each row of several outputs but the last, whether all are those of the last.

    Error: relative to the largest entry of each output.
    """
    rows = [np.asarray(y).reshape(len(y), -1) for y in outputs]
    return np.all(
        [
            np.abs(y[:-1] - y[-1]).max(1) <= 1e-9 * (np.abs(y[-1]).max() + 1e-12)
            for y in rows
        ],
        axis=0,
    )


def _redrawn(leaves, atom, rng):
    """The leaves with other entries at all places of an atom."""
    leaves = list(leaves)
    where = [slice(None)] * leaves[atom.leaf].ndim
    where[atom.axis] = atom.groups.ravel()
    leaves[atom.leaf] = leaves[atom.leaf].copy()
    old = leaves[atom.leaf][tuple(where)]
    leaves[atom.leaf][tuple(where)] = old * np.exp(rng.normal(size=old.shape))
    return leaves


def _glued(traced, units):
    """The units, those of one free space as one."""
    full = full_names(traced)
    space_of = {
        full(use): key
        for key, space in traced.spaces.items()
        if space.pinned is None
        for use in space.uses
    }
    out = {}
    for (atom,) in units:
        out.setdefault(space_of.get(atom.name, atom.name), []).append(atom)
    return [tuple(x) for x in out.values()]


def _search(candidates, passes, together):
    found, skipped = [], 0
    for n in sorted({len(atom.groups) for atom in candidates} - {1}):
        units = [(atom,) for atom in candidates if len(atom.groups) == n]
        if len(units) > MOST_AXES:
            units = together(units)
        if len(units) > MOST_AXES:
            skipped += 1
            continue
        subsets = [
            sum(subset, ())
            for k in range(1, len(units) + 1)
            for subset in itertools.combinations(units, k)
        ]
        for i in range(n - 1):
            subsets = passes(subsets, i, i + 1) if subsets else []
        found += _smallest([frozenset(atom.name for atom in s) for s in subsets])
    return found, skipped


def _smallest(sets):
    """The sets that contain no other one."""
    return [s for s in sets if not any(t < s for t in sets)]


def missed(traced, apply, params, inputs, seed=0):
    """Sets that the search found and the trace did not, and the number of all sets."""
    sets, live, _ = spaces(traced, apply, params, inputs, seed)
    full = full_names(traced)
    free = {
        frozenset(map(full, space.uses)) & live
        for space in traced.spaces.values()
        if space.pinned is None
    }
    return [s for s in sets if s not in free], len(sets)


def _generic(x, rng):
    """Parameters at which nothing is special; positive ones stay positive."""
    x, noise = _proof.double(x), rng.normal(size=x.shape)
    if x.dtype.kind != "f":
        return x
    positive = x.size and (x > 0).all()
    return x * np.exp(0.3 * noise) if positive else x + 0.3 * noise
