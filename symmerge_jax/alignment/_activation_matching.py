"""Activation matching: neurons are paired that do the same on data.

Li et al. 2016, *Convergent learning*, arXiv 1511.07543; Ainsworth, Hayase and Srinivasa
2023, *Git Re-Basin*, arXiv 2209.04836, section 3.1. Every space is an assignment
problem of its own, solved exactly: no sweeps, no starts, no local optima. Signs and
positive scales are new here.
"""

import dataclasses

import jax
import jax.numpy as jnp

from symmerge_jax import symmetry
from symmerge_jax.alignment import _base, _checks, _frame, _moments, _projection, _units
from symmerge_jax.typing import Array, Key

SIMILARITIES = ("inner_product", "correlation")


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
      scales: where positive scales come from. "balanced" moves both networks to their
        balanced scales (`symmetry.balance_scales`) and compares features in these.
        "matched" gives every neuron that moves the root mean square of the one it
        meets, which is the geometric mean of the two least-squares scales; features are
        compared at unit root mean square, and neurons that are zero on all data keep
        their balanced scale.
      chunk_size: samples per evaluation of `features_fn`, at most; bounds the memory.

    Raises:
      ValueError: an unknown name or a chunk size below one; when called, a task without
        data or features, or features that do not fit the spec.

    Example:
      >>> import symmerge_jax
      >>> from symmerge_jax import networks
      >>> network = networks.mlp((2, 3, 1), "tanh")
      >>> params = network.init(jax.random.key(0))
      >>> turn = symmetry.Monomial(jnp.array([2, 0, 1]), jnp.array([1.0, -1.0, 1.0]))
      >>> twin = symmetry.act({"hidden_0": turn}, params, network.spec)
      >>> inputs = jax.random.normal(jax.random.key(1), (50, 2))
      >>> found = symmerge_jax.align(
      ...     params,
      ...     twin,
      ...     network,
      ...     aligner=ActivationMatching(),
      ...     task=symmerge_jax.Task(inputs),
      ... )
      >>> found.result.element["hidden_0"].perm.tolist()
      [1, 2, 0]
    """

    similarity: str = "inner_product"
    permute: bool = True
    rescale: bool = True
    scales: str = "balanced"
    chunk_size: int = 1000

    def __post_init__(self):
        name = type(self).__name__
        _checks.check_name(name, "similarity", self.similarity, SIMILARITIES)
        _checks.check_name(name, "scales", self.scales, _checks.SCALES)
        _checks.check_integer(name, "chunk_size", self.chunk_size, 1)

    def __call__(
        self, key: Key, problem: _base.AlignmentProblem
    ) -> _base.AlignmentResult:
        del key
        solver = type(self).__name__
        problem = _checks.check_problem(problem, solver)
        features_fn = _checks.check_features(problem, solver)
        problem, carry_back = _frame.common_scale(problem, rescale=self.rescale)
        spec, element, scales_a, scales_b, valid = problem.spec, {}, {}, {}, {}
        before = after = 0.0
        stream = _stream(features_fn, problem, self.chunk_size)
        values: dict[str, Array] = {}  # of pairs of heads, by their dimensions
        found = {}
        # What lies over a space comes first: heads are compared by their dimensions.
        spaces = sorted(spec.matched_spaces, key=lambda space: -len(space.over))
        for space in spaces:
            name, options = space.name, dict(rescale=self.rescale)
            options["permute"] = self.permute and space.is_permuted
            if name not in stream:  # known by what lies over it alone
                blank = jnp.zeros_like(values[name])
                found[name] = _projection.project(
                    blank, space.group, unsigned=values[name], **options
                )
                continue
            moments, units = stream[name]
            if not symmetry.is_traced(moments) and not jnp.isfinite(moments.cov).all():
                _refuse_features(features_fn, problem, name, self.chunk_size, solver)
            is_scaled = self.rescale and space.group is symmetry.Group.SCALE
            if is_scaled and self.scales == "matched":
                moments, a, b = _moments.at_unit_power(moments)
                scales_a[name] = a._replace(scale=a.scale * units.a)
                scales_b[name] = b._replace(scale=b.scale * units.b)
                units = _moments.ones(moments)
            if self.similarity == "correlation":
                units = _moments.ones(moments)
            similarity, offset = _moments.compare(moments, units, self.similarity)
            found[name] = _projection.project(
                similarity, space.group, unsigned=values.get(name), **options
            )
            gain = _projection.gain(similarity, found[name])
            common, of_a, of_b = _moments.common(units)
            still = jnp.trace(similarity, axis1=-2, axis2=-1)
            if _is_inner(spec, space):
                outer = space.over[-1]
                values[outer] = gain * of_a * of_b + values.get(outer, 0)
                # Neurons of a pair that is not formed do not count.
                still = jnp.trace(still, axis1=-2, axis2=-1)
                gain = jnp.trace(gain, axis1=-2, axis2=-1)
            num_neurons = moments.mean_a.size
            parts = [
                offset - jnp.sum(x) / num_neurons * of_a * of_b for x in (still, gain)
            ]
            valid[name] = jnp.isfinite(parts[0]) & jnp.isfinite(parts[1])
            before, after = (
                total + _units.restore(part, common)
                for total, part in zip((before, after), parts, strict=True)
            )
        for space in reversed(spaces):
            monomial = found[space.name]
            if _is_inner(spec, space):
                index = element[space.over[-1]].perm[..., None, None]
                monomial = symmetry.Monomial(
                    *(jnp.take_along_axis(x, index, -2)[..., 0, :] for x in monomial)
                )
            element[space.name] = monomial
            valid.setdefault(space.name, jnp.ones((), bool))
        element = _frame.carry_back(scales_a, scales_b, spec, element)
        objective = jnp.stack([jnp.asarray(before), jnp.asarray(after)])
        result = _base.AlignmentResult(
            element=carry_back(element),
            objective=jnp.minimum(objective, float(jnp.finfo(objective.dtype).max)),
            converged=jnp.ones((), bool),
            num_iters=jnp.ones((), jnp.int32),
            start_objectives=objective[1:],
        )
        return _checks.finish(result, valid, f"{solver}: features are not finite.")


def _is_inner(spec: symmetry.SymmetrySpec, space: symmetry.Space) -> bool:
    """Return whether a space lies over one that moves."""
    over = space.over[-1] if space.over else None
    return any(other.name == over for other in spec.matched_spaces)


def _stream(
    features_fn, problem: _base.AlignmentProblem, chunk_size: int
) -> dict[str, tuple[_moments.Moments, _units.Pair]]:
    """Return the moments of every movable space over all data, chunk by chunk.

    In units that fit the first chunk.
    """
    num_samples = symmetry.num_rows(problem.task.data)
    chunk_size = min(chunk_size, num_samples)
    num_chunks, rest = divmod(num_samples, chunk_size)

    inner = {s.name for s in problem.spec.matched_spaces if _is_inner(problem.spec, s)}

    def features(start, size):
        chunk = _slice(problem.task.data, start, size)
        return _features(features_fn, problem, chunk)

    def update(total, start, size):
        fraction = size / (start + size)
        return {
            name: _moments.union(
                total[name],
                _moments.of_features(*pair, units[name], name in inner),
                fraction,
            )
            for name, pair in features(start, size).items()
        }

    first = features(0, chunk_size)
    units = {
        name: _units.Pair(*(_units.unit(x) for x in pair))
        for name, pair in first.items()
    }
    total = {
        name: _moments.of_features(*pair, units[name], name in inner)
        for name, pair in first.items()
    }
    if num_chunks > 1:
        total, _ = jax.lax.scan(
            lambda total, start: (update(total, start, chunk_size), None),
            total,
            chunk_size * jnp.arange(1, num_chunks),
        )
    if rest:
        total = update(total, num_samples - rest, rest)
    return {name: (moments, units[name]) for name, moments in total.items()}


def _features(
    features_fn, problem: _base.AlignmentProblem, chunk
) -> dict[str, tuple[Array, Array]]:
    """Return the features `[S, *over, n]` of both networks by matched space."""
    of_a, of_b = (features_fn(p, chunk) for p in (problem.params_a, problem.params_b))

    def rows(values, space) -> Array:
        x = jnp.asarray(values)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return wide.reshape(-1, *x.shape[x.ndim - 1 - len(space.over) :])

    return {
        space.name: (rows(of_a[space.name], space), rows(of_b[space.name], space))
        for space in problem.spec.matched_spaces
        if space.name in of_a
    }


def _slice(data, start: Array | int, size: int):
    """Return the samples `start` to `start + size`."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), start, size), data
    )


def _refuse_features(features_fn, problem, name, chunk_size, solver) -> None:
    """Name the first sample at which the features of a space are not finite."""
    length = symmetry.num_rows(problem.task.data)
    for start in range(0, length, chunk_size):
        size = min(chunk_size, length - start)
        chunk = _slice(problem.task.data, start, size)
        for network in ("params_a", "params_b"):
            values = features_fn(getattr(problem, network), chunk)[name]
            finite = jnp.isfinite(values).reshape(size, -1).all(1)
            if not finite.all():
                raise ValueError(
                    f"{solver}: features of space '{name}' are not finite: those of"
                    f" {network} at data sample {start + int(jnp.argmin(finite))}."
                )
    raise ValueError(f"{solver}: features of space '{name}' are too large to average.")
