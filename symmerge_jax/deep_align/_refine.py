"""Rounds of learned weight matching, which refine what a matcher has found.

Weight matching compares neurons by their weights, and for that has to know which of the
neurons around them belong together: it starts from some assignment and works in turns
(Ainsworth et al. 2023, arXiv 2209.04836). Here the turns are part of the model. Every
round relaxes the similarities so far, compares the weights in the light of them, and
adds what it sees with learned weights, a few numbers per layer of any width:

    Q_{t+1} = Q_0 + sum_k gain_{t,k} C_k(relax(Q_t))

with `C_k` the inner products of incoming and of outgoing weights, both as they are and
between rows of length one. As all rounds are differentiable, they are trained for low
barriers, where weight matching minimises a distance of weights.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from symmerge_jax import alignment, symmetry
from symmerge_jax.deep_align import _matcher
from symmerge_jax.typing import Array, Key, Params

_POWERS = (1, -1)
"""Uses of a space that are compared: weights into its neurons, and out of them."""

_NUM_ITERS = 5
"""Sinkhorn iterations of a round, which needs no better matrix and takes most of its
time for them."""


def refined(matcher: _matcher.Matcher, num_rounds: int) -> _matcher.Matcher:
    """Return a matcher whose similarities are refined by rounds of matching.

    Equivariant as before. Positive scales are normalised away first. Its variables have
    one more entry "gains", `{space: [rounds, 4]}`.

    Args:
      matcher: gives the first similarities `Q_0`.
      num_rounds: number of rounds, at least 1.

    Returns:
      The matcher. `build` makes it where its options have `num_rounds`.

    Raises:
      ValueError: less than one round.

    Example:
      >>> from symmerge_jax import deep_align
      >>> mlp = {"kind": "mlp", "layer_sizes": [2, 3, 1], "activation": "tanh"}
      >>> features = {"kind": "probes", "num_probes": 4, "width": 4, "feature_size": 2}
      >>> plain = deep_align.build(mlp, features, {})
      >>> variables = refined(plain, num_rounds=2).init(jax.random.key(0))
      >>> sorted(variables), variables["gains"]["hidden_0"].shape
      (['features', 'gains', 'scale'], (2, 4))
    """
    if num_rounds < 1:
        raise ValueError(f"num_rounds must be >= 1, got {num_rounds}.")
    spec, signed = matcher.network.spec, matcher.signed

    def init(key: Key) -> _matcher.Variables:
        params = jax.eval_shape(matcher.network.init, key)
        one = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), params
        )
        variables = matcher.init(key)
        names = jax.eval_shape(matcher.similarities, variables, one, one)
        shape = (num_rounds, 2 * len(_POWERS))
        return variables | {"gains": {name: jnp.full(shape, 2.0) for name in names}}

    def similarities(
        variables: _matcher.Variables, params_a: Params, params_b: Params
    ) -> dict[str, Array]:
        first = matcher.similarities(variables, params_a, params_b)

        def one(first, params_a, params_b):
            a, b = (_normalised(params, spec) for params in (params_a, params_b))
            found = first
            for index in range(num_rounds):
                gains = {name: x[index] for name, x in variables["gains"].items()}
                found = _round(found, first, gains, a, b, spec, signed=signed)
            return found

        return jax.vmap(one)(first, params_a, params_b)

    return matcher._replace(init=init, similarities=similarities)


def _round(
    found: Mapping[str, Array],
    first: Mapping[str, Array],
    gains: Mapping[str, Array],
    params_a: Params,
    params_b: Params,
    spec: symmetry.SymmetrySpec,
    *,
    signed: bool,
) -> dict[str, Array]:
    """Return the similarities `[n, n]` of one pair after one more round."""
    matrices = {
        name: _relaxed(x, spec.space(name).group, signed=signed)
        for name, x in found.items()
    }
    refined = {}
    for name, start in first.items():
        others = {other: x for other, x in matrices.items() if other != name}
        moved = symmetry.act_dense(others, params_b, spec)
        seen = [
            x
            for power in _POWERS
            for x in _compare((params_a, params_b, moved), spec, name, power)
        ]
        refined[name] = start + jnp.einsum("k,kij->ij", gains[name], jnp.stack(seen))
    return refined


def _relaxed(similarity: Array, group: symmetry.Group, *, signed: bool) -> Array:
    """Return a relaxed element `[n, n]` that is transposed with the similarity.

    Sinkhorn iterations end with the rows, so that they are done from both sides.
    """

    def relax(x):
        return alignment.relax(
            x, group, rescale=signed, num_iters=_NUM_ITERS, gradient="unrolled"
        )

    return (relax(similarity) + relax(similarity.T).T) / 2


def _compare(
    networks: tuple[Params, Params, Params],
    spec: symmetry.SymmetrySpec,
    space: str,
    power: int,
) -> tuple[Array, Array]:
    """Return inner products `[n, n]` of rows: in units of the mean square, and cosine.

    Rows are all weights of a neuron of one kind, incoming ones with its bias; those of
    the first network and of the second when moved. Their units are those of the second
    before that, so that swapping the networks transposes the result.
    """
    a, b, moved = (symmetry.unfold(params, spec, space, power) for params in networks)
    products = a @ moved.T
    squares_a, squares_b = (jnp.sum(x**2, axis=1) for x in (a, b))
    mean = jnp.sqrt(jnp.mean(squares_a) * jnp.mean(squares_b) + 1e-12)
    norms = jnp.sqrt(squares_a[:, None] * squares_b[None] + 1e-12)
    return products / mean, products / norms


def _normalised(params: Params, spec: symmetry.SymmetrySpec) -> Params:
    """Return a network of the same function, the same for all positive scales.

    Neurons that can be scaled get incoming weights of length one, layer by layer from
    the inputs on. Unlike balanced scales that takes one pass.
    """
    for space in spec.spaces:
        if space.group is symmetry.Group.SCALE:
            uses = symmetry.unfold_uses(params, spec, space.name, 1)
            squares = sum(jnp.sum(x**2, axis=1) for x in uses)
            scale = jax.lax.rsqrt(jnp.where(squares > 0, squares, 1.0))
            monomial = symmetry.Monomial(jnp.arange(len(scale)), scale)
            params = symmetry.act({space.name: monomial}, params, spec)
    return params
