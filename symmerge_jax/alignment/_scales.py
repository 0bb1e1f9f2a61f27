"""Permutations and positive scales of one space, fitted together.

The alternative to balancing both networks first: permutations alternate with the scale
that gives each neuron of `b` the ratio of written to read weights of its partner in
`a`. The scale of a pair is known in closed form before the pairs are chosen, so that
one assignment problem chooses pairs and scales at once.
"""

from typing import NamedTuple

import jax.numpy as jnp

from symmerge_jax import assignment, symmetry
from symmerge_jax.alignment import _similarity, _units
from symmerge_jax.typing import Array, Params


class ScaledSimilarity(NamedTuple):
    """Inner products `[n, n]` of a space by the power of their use; norms; pair scales.

    What is written to the neurons scales with `s`, what is read from them with `1 / s`.
    The squared norms `[n]` are those of `b`, and `pair_scale` is the scale of neuron
    `j` of `b` as the partner of neuron `i` of `a`.
    """

    written: Array
    read: Array
    kept: Array
    written_norm: Array
    read_norm: Array
    pair_scale: Array


def scaled_similarity(
    params_a: Params, moved_b: Params, spec: symmetry.SymmetrySpec, space: str
) -> ScaledSimilarity:
    """Compare the neurons of one space, whose own monomial is not applied to `b`."""

    # One unit for both: the scale of a pair says how they differ.
    unit = jnp.minimum(*_similarity.units_of(params_a, moved_b, spec, space))
    units = _units.Pair(unit, unit)

    def norms(params, power):
        rows = [
            (x if weight == 1 else weight**0.5 * x) * unit.astype(x.dtype)
            for weight, x in _similarity.rows(params, spec, space, (power,))
        ]
        empty = jnp.zeros((spec.sizes(params)[space], 0), unit.dtype)
        return jnp.sum(jnp.concatenate(rows or [empty], axis=1) ** 2, axis=1)

    def products(power):
        return _similarity.inner_products(
            params_a, moved_b, spec, space, (power,), units
        )

    ratio_a = _ratio(norms(params_a, 1), norms(params_a, -1))
    written_norm, read_norm = norms(moved_b, 1), norms(moved_b, -1)
    ratio_b = _ratio(written_norm, read_norm)
    scale = (ratio_a[:, None] / ratio_b[None]) ** 0.25
    return ScaledSimilarity(
        products(1), products(-1), products(0), written_norm, read_norm, scale
    )


def check_spec(spec: symmetry.SymmetrySpec) -> None:
    """Refuse spaces whose scales cannot be matched pair by pair.

    Raises:
      ValueError: a space with scales that lies over others, or reads itself.
    """
    for space in spec.matched_spaces:
        twice = any(
            [a.space for a in axes if a is not None].count(space.name) > 1
            for _, axes in spec.atomic_axes
        )
        if space.group is symmetry.Group.SCALE and (space.over or twice):
            why = f"lies over {list(space.over)}" if space.over else "reads itself"
            raise ValueError(
                f"WeightMatching: the scales of space '{space.name}', which {why},"
                " cannot be matched: use scales='balanced'."
            )


def project(
    similarity: ScaledSimilarity, *, permute: bool, where: Array
) -> symmetry.Monomial:
    """Return the permutation that leaves the least distance, with its pair scales."""
    perm = jnp.arange(len(similarity.written), dtype=jnp.int32)
    if permute:
        gains = _gains(similarity, similarity.pair_scale, perm[None])
        perm = assignment.solve_lap(gains, maximize=True, where=where)
    return rescale(similarity, symmetry.Monomial(perm, jnp.ones(perm.shape)))


def rescale(
    similarity: ScaledSimilarity, monomial: symmetry.Monomial
) -> symmetry.Monomial:
    """Return the same permutation with its pair scales."""
    rows = jnp.arange(len(monomial.perm))
    return symmetry.Monomial(monomial.perm, similarity.pair_scale[rows, monomial.perm])


def gain(similarity: ScaledSimilarity, monomial: symmetry.Monomial) -> Array:
    """Return `-||a - g.b||^2 / 2` over the space, `[]`, up to a term without `g`."""
    perm, scale = monomial
    return jnp.sum(_gains(similarity, scale[:, None], perm[:, None]))


def _gains(similarity: ScaledSimilarity, scale: Array, columns: Array) -> Array:
    """Return the gain of pairing each row with these columns at these scales."""
    rows = jnp.arange(len(similarity.written))[:, None]
    return (
        scale * similarity.written[rows, columns]
        + similarity.read[rows, columns] / scale
        + similarity.kept[rows, columns]
        - scale**2 * similarity.written_norm[columns] / 2
        - similarity.read_norm[columns] / scale**2 / 2
    )


def _ratio(written: Array, read: Array) -> Array:
    """Return the ratio of two squared norms, one where either is zero."""
    both = (written > 0) & (read > 0)
    return jnp.where(both, written, 1) / jnp.where(both, read, 1)
