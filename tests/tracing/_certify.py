"""Acts with random elements of what was inferred, and compares outputs."""

import itertools
import math

import jax
import numpy as np

from symmerge_jax import symmetry

KINDS = ("permutation", "scale", "sign", "fibred")


def certify(traced, apply, params, inputs, seed=0, tries=2):
    """Return the largest relative change of the outputs, by kind of element.

    In float64, at random parameters: zeros, ones and equal entries would hide errors.
    """
    rng = np.random.default_rng(seed)
    theta = jax.tree.map(lambda leaf: _moved(np.asarray(leaf), rng), params)
    f = jax.jit(lambda p: apply(p, *inputs))
    base = [np.asarray(x) for x in jax.tree.leaves(f(theta))]
    assert base and all(np.isfinite(x).all() for x in base), "outputs are not finite"
    worst = {}
    for kind in KINDS:
        for _ in range(tries):
            moved = act(traced, theta, sample(traced, rng, kind))
            new = jax.tree.leaves(f(moved))
            for x, y in zip(base, new, strict=True):
                error = np.max(np.abs(x * 1.0 - y * 1.0)) / (np.max(np.abs(x)) + 1e-300)
                worst[kind] = float(np.maximum(worst.get(kind, 0.0), error))
    return worst


def sample(traced, rng, kind):
    """Draw an element: per space a permutation and factors `[*over, n]`, per use."""
    element = {}
    for number, space in traced.spaces.items():
        over = space.over if kind == "fibred" else ()
        shape = tuple(traced.spaces[o].size for o in over)
        perm = np.broadcast_to(np.arange(space.size), (*shape, space.size))
        if kind in ("permutation", "fibred") and space.pinned is None:
            perm = rng.permuted(perm, axis=-1)
        factors = {}
        groups = {"scale": space.scales, "sign": space.signs}.get(kind, ())
        if kind == "fibred":
            groups = space.scales + space.signs
        for group in groups:
            is_sign = any(group is g for g in space.signs)
            s = np.exp(0.5 * rng.normal(size=perm.shape))
            s = rng.choice([-1.0, 1.0], perm.shape) if is_sign else s
            for use, power in group.items():
                old = factors.get(use, 1.0)
                factors[use] = old * (s if is_sign else s ** float(power))
        element[number] = (over, perm, factors)
    return element


def act(traced, params, element):
    """Move parameters: along every axis of a space, permute and then multiply."""
    leaves = symmetry.flatten(params)
    new = {
        path: _moved_leaf(traced, path, np.asarray(leaves[path]), element)
        for path in traced.layout
    }
    return symmetry.rebuild(params, new)


def brute_transpositions(traced, apply, params, inputs, tolerance=1e-9, seed=1):
    """Yield (space, i, j) of transpositions of pinned spaces that change nothing."""
    rng = np.random.default_rng(seed)
    theta = jax.tree.map(lambda leaf: _moved(np.asarray(leaf), rng), params)
    f = jax.jit(lambda p: apply(p, *inputs))
    base = jax.tree.leaves(f(theta))
    for number, space in traced.spaces.items():
        if space.pinned is None:
            continue
        for i, j in itertools.combinations(range(space.size), 2):
            element = sample(traced, rng, "none")
            perm = np.arange(space.size)
            perm[[i, j]] = j, i
            element[number] = ((), perm, {})
            new = jax.tree.leaves(f(act(traced, theta, element)))
            if all(
                np.allclose(x, y, rtol=tolerance, atol=tolerance)
                for x, y in zip(base, new, strict=True)
            ):
                yield number, i, j


def _moved_leaf(traced, path, array, element):
    out = array
    for atoms, view in _views(traced, path, array.shape):
        part = np.array(out[view.where]).reshape([n for _, _, n in atoms])
        numbers = [number for _, number, _ in atoms]
        # A space moves after those that it lies over, in every array alike.
        places = [k for k, number in enumerate(numbers) if number is not None]
        for k in sorted(places, key=lambda k: len(element[numbers[k]][0])):
            use, number, _ = atoms[k]
            over, perm, factors = element[number]
            order = [*(numbers.index(o) for o in over), k]
            index = np.transpose(perm, np.argsort(order))
            shape = [m if j in order else 1 for j, (_, _, m) in enumerate(atoms)]
            index = np.broadcast_to(index.reshape(shape), part.shape)
            part = np.take_along_axis(part, index, k)
            if use in factors:
                factor = np.transpose(factors[use], np.argsort(order)).reshape(shape)
                part = part * factor
        out = out.copy() if out is array else out
        out[view.where] = part.reshape(out[view.where].shape)
    return out


class _View:
    def __init__(self, where):
        self.where = where


def _views(traced, path, shape):
    """Yield blocks of an array in which every axis is a product of atoms."""
    per_axis = [
        _blocks(traced, path, i, tree, size)
        for i, (tree, size) in enumerate(zip(traced.layout[path], shape, strict=True))
    ]
    for blocks in itertools.product(*per_axis):
        atoms = [atom for _, some in blocks for atom in some]
        yield atoms, _View(np.ix_(*(rows for rows, _ in blocks)))


def _blocks(traced, path, axis, tree, size):
    """Return (indices, atoms) for the pieces of one axis."""
    counter = itertools.count()

    def walk(tree):
        """Return a list of (indices, [(use, number, size)]) and the size of a tree."""
        if isinstance(tree, int):
            n = traced.spaces[tree].size
            use = (path, axis, next(counter))
            return [(np.arange(n), [(use, tree, n)])], n
        kind, parts = tree
        walked = [walk(part) for part in parts]
        if kind == "concatenation":
            blocks, start = [], 0
            for some, n in walked:
                blocks += [(rows + start, atoms) for rows, atoms in some]
                start += n
            return blocks, start
        total = math.prod(n for _, n in walked)
        blocks = [(np.zeros(1, int), [])]
        for some, n in walked:
            blocks = [
                ((rows[:, None] * n + more[None, :]).ravel(), atoms + others)
                for rows, atoms in blocks
                for more, others in some
            ]
        return blocks, total

    if tree is None:
        return [(np.arange(size), [(None, None, size)])]
    return walk(tree)[0]


def _moved(leaf, rng):
    if not np.issubdtype(leaf.dtype, np.floating):
        return leaf
    noise = rng.normal(size=leaf.shape)
    if leaf.size and (leaf > 0).all():
        return (leaf * np.exp(0.3 * noise)).astype(leaf.dtype)
    return (leaf + 0.3 * noise * (np.std(leaf) + 0.5)).astype(leaf.dtype)
