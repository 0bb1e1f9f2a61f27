"""Sinkhorn: similarities to doubly stochastic matrices, a smooth assignment problem.

The limit is the matrix `P` that maximises `<P, similarity> + temperature * entropy(P)`
among the doubly stochastic ones (Cuturi 2013, arXiv 1306.0895); at temperature zero it
is the permutation matrix of `solve_lap(similarity, maximize=True)`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Float

from symmerge_jax.assignment import _matrices
from symmerge_jax.typing import Array

GRADIENTS = ("unrolled", "implicit")


def sinkhorn(
    similarity: Array,
    *,
    temperature: float | Array = 1.0,
    num_iters: int = 20,
    tolerance: float = 0.0,
    gradient: str = "unrolled",
) -> Float[Array, "*N n n"]:
    """Return a nearly doubly stochastic matrix `exp(similarity / temperature - f - g)`.

    Each iteration divides the columns, then the rows, by their sums, as in Mena et al.
    2018 (arXiv 1802.08665, eq. 4) and Navon et al. 2024 (arXiv 2310.13397), in the log
    domain: `g[j] = logsumexp_i(similarity[i, j] / temperature - f[i])`, `f` likewise.
    Rows of the result sum to 1, columns in the limit only: the lower the temperature,
    the more iterations that takes. Law: permuting the rows or columns of the similarity
    permutes those of the result; adding a number to a row or column changes nothing in
    the limit.

    Gradients. "unrolled" differentiates the iterations that were done (each one is
    computed again on the way back: `O(num_iters * n)` memory). "implicit"
    differentiates the limit: with `P` the result and `r`, `c` its row and column sums,

        d similarity = P * (d P - a[:, None] - b[None, :]) / temperature,
        [diag(r)  P; P^T  diag(c)] [a; b] = [rows, columns of (P * d P) summed],

    where `a` is eliminated and conjugate gradients solve the `n` equations of the Schur
    complement `diag(c) - P^T diag(1/r) P`: `O(n^2)` memory and steps of `O(n^2)`,
    however many iterations were done (Eisenberger et al. 2022, arXiv 2205.06688,
    theorem 3 solves all `2n - 1` equations by elimination, in `O(n^3)`). It is the
    gradient of the result only as far as that has converged.

    Args:
      similarity: `[*N, n, n]`; -inf forbids a pair.
      temperature: `[]` or `[*N]` positive, in units of the similarity.
      num_iters: iterations, at least 1.
      tolerance: end earlier, once the column sums of all matrices are within this of 1;
        with "implicit" only, as unrolled gradients need a fixed number.
      gradient: "unrolled" or "implicit".

    Returns:
      `[*N, n, n]` positive entries, rows summing to 1.

    Raises:
      TypeError: complex similarities.
      ValueError: matrices that are not square, or an option out of range.

    Example:
      >>> similarity = jnp.array([[1.0, 3.0], [2.0, 1.0]])
      >>> sinkhorn(similarity, temperature=0.1).round(3).tolist()
      [[0.0, 1.0], [1.0, 0.0]]
      >>> sinkhorn(similarity, temperature=1e3).round(2).tolist()
      [[0.5, 0.5], [0.5, 0.5]]
    """
    similarity = _matrices.as_array(similarity)
    _matrices.check_square(similarity, "similarity")
    batch, n = similarity.shape[:-2], similarity.shape[-1]
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient must be one of {GRADIENTS}, got {gradient!r}.")
    if num_iters < 1:
        raise ValueError(f"num_iters must be at least 1, got {num_iters}.")
    if tolerance < 0 or (tolerance > 0 and gradient == "unrolled"):
        raise ValueError(
            "tolerance must be 0, or positive with gradient='implicit';"
            f" got {tolerance} with '{gradient}'."
        )
    if isinstance(temperature, int | float) and not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, got {temperature}.")
    if jnp.shape(temperature) not in ((), batch):
        raise ValueError(
            f"temperature must be one number or {batch}, one per matrix, got shape"
            f" {jnp.shape(temperature)}."
        )
    similarity = _matrices.as_float(similarity)
    if not all(similarity.shape):
        return similarity
    temperature = jnp.broadcast_to(jnp.asarray(temperature, similarity.dtype), batch)
    logits = similarity / temperature[..., None, None]
    if gradient == "unrolled":
        return _plan(logits, _iterate(logits, num_iters))
    logits = logits.reshape(math.prod(batch), n, n)
    return _implicit_compiled(logits, num_iters, tolerance).reshape(similarity.shape)


def _plan(logits, columns):
    """Return the matrix of `[*N, n]` column potentials `g`, its rows normalised."""
    return jax.nn.softmax(logits - columns[..., None, :], axis=-1)


def _first(logits):
    return jax.nn.logsumexp(logits, axis=-2)


def _next(logits, columns):
    """Normalise the rows, then the columns: the `g` of the next iteration."""
    rows = jax.nn.logsumexp(logits - columns[..., None, :], axis=-1)
    return jax.nn.logsumexp(logits - rows[..., None], axis=-2)


# Compiled here, or eager calls would compile the loop every time.
@functools.partial(jax.jit, static_argnums=1)
def _iterate(logits, num_iters):
    """Return the column potentials of the last iteration; differentiable."""

    @jax.checkpoint
    def step(columns, _):
        return _next(logits, columns), None

    return jax.lax.scan(step, _first(logits), length=num_iters - 1)[0]


def _iterate_until(logits, num_iters, tolerance):
    """Return the column potentials of the last iteration, or earlier if converged."""

    def unfinished(state):
        _, error, count = state
        return (error > tolerance) & (count < num_iters)

    def step(state):
        columns, _, count = state
        following = _next(logits, columns)
        # The next iteration would divide the columns by their sums.
        error = jnp.abs(jnp.expm1(following - columns)).max()
        return following, error, count + 1

    columns = _first(logits)
    state = columns, columns[0, 0] * 0 + jnp.inf, 1
    return jax.lax.while_loop(unfinished, step, state)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _implicit(logits, num_iters, tolerance):
    return _plan(logits, _iterate_until(logits, num_iters, tolerance))


def _implicit_forward(logits, num_iters, tolerance):
    plan = _implicit(logits, num_iters, tolerance)
    return plan, plan


def _implicit_backward(num_iters, tolerance, plan, cotangent):
    del num_iters, tolerance
    return (jax.vmap(_pull_back)(plan, cotangent),)


_implicit.defvjp(_implicit_forward, _implicit_backward)
_implicit_compiled = jax.jit(_implicit, static_argnums=(1, 2))


def _pull_back(plan, cotangent):
    """Return the cotangent of `[n, n]` logits, for one matrix."""
    matmul = functools.partial(jnp.matmul, precision="highest")
    row_sums, column_sums = plan.sum(axis=1), plan.sum(axis=0)
    weighted = plan * cotangent
    from_rows = weighted.sum(axis=1) / row_sums
    # Near a permutation the equations become 0 = 0; this keeps 0 / 0 away.
    ridge = 4 * jnp.finfo(plan.dtype).eps

    def schur(b):
        across = matmul(plan.T, matmul(plan, b) / row_sums)
        return (column_sums + ridge) * b - across

    right = weighted.sum(axis=0) - matmul(plan.T, from_rows)
    # Constants are the kernel: a + 1 and b - 1 are as good as a and b.
    right = right - right.mean()
    # Conjugate gradients square the residual: of 1e-17 nothing would be left but 0 / 0.
    scale = jnp.abs(right).max()
    scale = jnp.where(scale > 0, scale, 1)
    tol = 10 * float(jnp.finfo(plan.dtype).eps)
    b = scale * cg(schur, right / scale, tol=tol, maxiter=2 * len(plan))[0]
    a = from_rows - matmul(plan, b) / row_sums
    return plan * (cotangent - a[:, None] - b[None])
