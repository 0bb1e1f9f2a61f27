"""Activation matching: neurons are paired that do the same on data.

Li et al. 2016, *Convergent learning*, arXiv 1511.07543; Ainsworth, Hayase and Srinivasa
2023, *Git Re-Basin*, arXiv 2209.04836, section 3.1. Every space is an assignment
problem of its own, solved exactly: no sweeps, no starts, no local optima. Signs and
positive scales are new here.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _data, _frame, _projection
from symmerge_jax.typing import Array, Key

SIMILARITIES = ("inner_product", "correlation")
SCALES = ("weights", "features")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActivationMatching:
    """Pair the neurons whose values agree best on the data of the problem.

    With `f` the values of a space, as `features_fn` gives them, `g` maximises

    - "inner_product": `sum_i E[f_a[i] * (g.f_b)[i]]`, hence minimises the mean squared
      difference of the features (Git Re-Basin, eq. 1);
    - "correlation": the same of features with mean zero and variance one, which is
      blind to offset and scale of a neuron; one without variance correlates with none.

    The objective of the result is what is minimised, summed over the spaces: the mean
    over samples and neurons of `(f_a - g.f_b)^2`, in units of the squared features in
    the scales below, or the mean over neurons of one minus the correlation. Its first
    entry is that of the identity. Deterministic: the key is not used.

    Data are streamed: mean and covariance are updated chunk by chunk (Chan et al.
    1983), so that memory does not grow with the number of samples and no digits are
    lost to large means. Features may be `[S, ..., n]`; positions then count as samples.
    Neurons that are zero on all data agree with any other and are placed arbitrarily.

    Attributes:
      similarity: "inner_product" or "correlation".
      permute: allow permutations.
      rescale: allow the signs of `Group.SIGN` and the scales of `Group.SCALE` spaces.
      scales: where positive scales come from. "weights" balances both networks
        (`symmetry.balance_scales`) as the other solvers do, and compares features in
        these scales. "features" gives every neuron that moves the root mean square of
        the one it meets, which is the geometric mean of the two least-squares scales;
        features are compared at unit root mean square, and neurons that are zero on all
        data keep their balanced scale.
      chunk_size: samples per evaluation of `features_fn`, at most; bounds the memory.

    Raises:
      ValueError: an unknown name or a chunk size below one; when called, a problem
        without data or features, or features that do not fit the spec.
    """

    similarity: str = "inner_product"
    permute: bool = True
    rescale: bool = True
    scales: str = "weights"
    chunk_size: int = 1000

    def __post_init__(self):
        if self.similarity not in SIMILARITIES:
            raise ValueError(
                f"similarity must be one of {SIMILARITIES}, got {self.similarity!r}."
            )
        if self.scales not in SCALES:
            raise ValueError(f"scales must be one of {SCALES}, got {self.scales!r}.")
        if self.chunk_size < 1:
            raise ValueError(f"chunk_size must be >= 1, got {self.chunk_size}.")

    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        del key
        features_fn = _data.check_features(problem, type(self).__name__)
        problem, carry_back = _frame.common_scale(problem, rescale=self.rescale)
        element, scales_a, scales_b = {}, {}, {}
        before = after = jnp.zeros(())
        for name, moments in _stream(features_fn, problem, self.chunk_size).items():
            group = problem.spec.space(name).group
            is_scaled = self.rescale and group is symmetry.Group.SCALE
            if is_scaled and self.scales == "features":
                moments, scales_a[name], scales_b[name] = _at_unit_power(moments)
            similarity, offset = _compare(moments, self.similarity)
            element[name] = _projection.project(
                similarity, group, permute=self.permute, rescale=self.rescale
            )
            gain = _projection.gain(similarity, element[name])
            before += offset - jnp.mean(jnp.diagonal(similarity))
            after += offset - gain / len(similarity)
        element = _frame.carry_back(scales_a, scales_b, element)
        return _base.AlignmentResult(
            element=carry_back(element),
            objective=jnp.stack([before, after]),
            converged=jnp.ones((), bool),
            num_iters=jnp.ones((), jnp.int32),
            start_objectives=after[None],
        )


class _Moments(NamedTuple):
    """Means `[n]`, variances `[n]` and covariances `[n, n]` of one space's features."""

    mean_a: Array
    mean_b: Array
    var_a: Array
    var_b: Array
    cov: Array


def _stream(
    features_fn, problem: _base.AlignmentProblem, chunk_size: int
) -> dict[str, _Moments]:
    """Return the moments of every movable space over all data, chunk by chunk."""
    num_samples = jax.tree.leaves(problem.data)[0].shape[0]
    chunk_size = min(chunk_size, num_samples)
    num_chunks, rest = divmod(num_samples, chunk_size)

    def update(total, start, size):
        fraction = size / (start + size)
        chunk = _data.slice_samples(problem.data, start, size)
        return {
            name: _merge(total[name], found, fraction)
            for name, found in _moments(features_fn, problem, chunk).items()
        }

    total = _moments(
        features_fn, problem, _data.slice_samples(problem.data, 0, chunk_size)
    )
    total, _ = jax.lax.scan(
        lambda total, start: (update(total, start, chunk_size), None),
        total,
        chunk_size * jnp.arange(1, num_chunks),
    )
    return update(total, num_samples - rest, rest) if rest else total


def _moments(
    features_fn, problem: _base.AlignmentProblem, chunk
) -> dict[str, _Moments]:
    """Return the moments of every movable space over one chunk of data."""
    features_a = features_fn(problem.params_a, chunk)
    features_b = features_fn(problem.params_b, chunk)
    moments = {}
    for space in _base.movable_spaces(problem.spec):
        a, b = (
            values.astype(jnp.promote_types(values.dtype, jnp.float32))
            for values in (features_a[space.name], features_b[space.name])
        )
        a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
        mean_a, mean_b = a.mean(0), b.mean(0)
        a, b = a - mean_a[None], b - mean_b[None]
        cov = jnp.matmul(a.T, b) / len(a)
        moments[space.name] = _Moments(
            mean_a, mean_b, jnp.mean(a**2, 0), jnp.mean(b**2, 0), cov
        )
    return moments


def _merge(old: _Moments, new: _Moments, fraction: Array | float) -> _Moments:
    """Return the moments of the union, of which the new samples are a fraction."""
    fraction = jnp.asarray(fraction, old.cov.dtype)
    between = fraction * (1 - fraction)
    shift_a, shift_b = new.mean_a - old.mean_a, new.mean_b - old.mean_b
    mix = jax.tree.map(lambda x, y: (1 - fraction) * x + fraction * y, old, new)
    return mix._replace(
        var_a=mix.var_a + between * shift_a**2,
        var_b=mix.var_b + between * shift_b**2,
        cov=mix.cov + between * shift_a[:, None] * shift_b[None],
    )


def _at_unit_power(
    moments: _Moments,
) -> tuple[_Moments, symmetry.Monomial, symmetry.Monomial]:
    """Return the moments at mean squares of one, and the scales that achieve this."""

    def scale(mean, var):
        power = mean**2 + var
        factor = jnp.where(power > 0, jax.lax.rsqrt(jnp.where(power > 0, power, 1)), 1)
        return symmetry.Monomial(jnp.arange(len(mean), dtype=jnp.int32), factor)

    unit_a = scale(moments.mean_a, moments.var_a)
    unit_b = scale(moments.mean_b, moments.var_b)
    a, b = unit_a.scale, unit_b.scale
    scaled = _Moments(
        moments.mean_a * a,
        moments.mean_b * b,
        moments.var_a * a**2,
        moments.var_b * b**2,
        moments.cov * a[:, None] * b[None],
    )
    return scaled, unit_a, unit_b


def _compare(moments: _Moments, kind: str) -> tuple[Array, Array]:
    """Return `[n, n]` similarities and the objective of neurons with similarity zero.

    The objective of a monomial is the offset minus the mean gain of its neurons.
    """
    mean_a, mean_b, var_a, var_b, cov = moments
    if kind == "inner_product":
        product = cov + mean_a[:, None] * mean_b[None]
        power = jnp.mean(mean_a**2 + var_a) + jnp.mean(mean_b**2 + var_b)
        return 2 * product, power
    unit_a, unit_b = _inverse_std(mean_a, var_a), _inverse_std(mean_b, var_b)
    return cov * unit_a[:, None] * unit_b[None], jnp.ones((), cov.dtype)


def _inverse_std(mean: Array, var: Array) -> Array:
    """Return `1 / std`, `[n]`; 0 where the variance is zero or rounding of the mean."""
    alive = var > (16 * jnp.finfo(var.dtype).eps) ** 2 * mean**2
    return jnp.where(alive, jax.lax.rsqrt(jnp.where(alive, var, 1)), 0)
