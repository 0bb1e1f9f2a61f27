"""A trained matcher as a solver: one pass of both networks, then assignments."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from symmerge_jax import alignment, networks, symmetry
from symmerge_jax.deep_align import _matcher
from symmerge_jax.typing import Array, Key, Params

CHUNK = 2
"""Pairs of a batch that CPUs encode at once: what is computed stays in the cache.

Of MLPs 784-128-128-128-10, 64 pairs at once took twice the time of the cores.
"""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DeepAlign:
    """Align by learned similarities of neurons (Navon et al. 2024, arXiv 2310.13397).

    The objective is minus the mean similarity of matched neurons in units of the
    learned scale, or after sweeps that of `alignment.WeightMatching`.

    Attributes:
      matcher: the trained model.
      variables: its parameters.
      num_sweeps: at most this many sweeps of `alignment.WeightMatching` start from what
        the model has found. Take 0, the model alone, for networks like those of
        training: sweeps minimise the distance of weights, which costs some of the low
        barrier that the model has learned. Take 2 or more for other networks, or where
        the model is blind to signs: the sweeps find them.

    Raises:
      ValueError: a negative number of sweeps; when called, networks that the matcher
        does not take, or, where values are known, with NaN. A spec does not tell
        activations of one group apart; the verbs do, where they are given a network.
    """

    matcher: _matcher.Matcher
    variables: _matcher.Variables
    num_sweeps: int = 2

    def __post_init__(self):
        if self.num_sweeps < 0:
            raise ValueError(f"num_sweeps must be >= 0, got {self.num_sweeps}.")

    def check_network(self, network: networks.Network) -> None:
        """Refuse networks with other activations than those of training.

        Args:
          network: the architecture; its sizes are checked with the parameters.
        """
        ours, theirs = (dict(x.activations) for x in (self.matcher.network, network))
        if set(ours.values()) != set(theirs.values()):
            raise ValueError(
                f"The matcher was trained on networks with activations {ours}, these"
                f" have {theirs}: train a matcher of this architecture."
            )

    def similarities(self, params_a: Params, params_b: Params) -> dict[str, Array]:
        """Return `{space: [n, n]}` for one pair; fits `alignment.SinkhornRebasin`."""
        self._check_networks(params_a, params_b, self.matcher.network.spec)
        return _lifted_in_chunks(self._compare)(self.variables, params_a, params_b)

    def _compare(self, variables, params_a: Params, params_b: Params):
        a, b = (jax.tree.map(lambda x: x[None], p) for p in (params_a, params_b))
        found = self.matcher.similarities(variables, a, b)
        return {name: x[0] for name, x in found.items()}

    def __call__(
        self, key: Key, problem: alignment.AlignmentProblem
    ) -> alignment.AlignmentResult:
        self._check_networks(problem.params_a, problem.params_b, problem.spec)
        if self.num_sweeps:
            start = dataclasses.replace(self, num_sweeps=0)
            solver = alignment.WeightMatching(
                starts=(), init=start, tolerance=0.0, max_sweeps=self.num_sweeps
            )
            return solver(key, problem)
        found = self.similarities(problem.params_a, problem.params_b)
        element = _matcher.nearest_element(
            found, problem.spec, signed=self.matcher.signed
        )
        scale = jnp.asarray(self.variables["scale"]) ** 2
        objective = -_mean_similarity(found, element, scale)
        return alignment.AlignmentResult(
            element=element,
            objective=objective[None],
            converged=jnp.asarray(True),
            num_iters=jnp.asarray(0, jnp.int32),
            start_objectives=objective[None],
        )

    def _check_networks(self, params_a: Params, params_b: Params, spec) -> None:
        """Refuse networks that the matcher was not made for, before any work."""
        symmetry.check_networks({"params_a": params_a, "params_b": params_b}, spec)
        sizes, known = spec.sizes(params_a), self.matcher.sizes
        fits = all(sizes.get(name) == n for name, n in known.items())
        own = self.matcher.network.spec
        # Crowds are merged in balanced scales, by a spec that has none.
        if not fits or spec not in (own, own.without_scales()):
            raise ValueError(
                "The matcher compares networks with"
                f" {_describe(own, known)}, these have"
                f" {_describe(spec, sizes)}. For other hidden widths build it with"
                " TrainedMatcher.aligner(architecture=...); for anything else train"
                " another one."
            )


def _lifted_in_chunks(function):
    """Return a function of trees that `jax.vmap` lifts in chunks on CPUs."""
    lifted = jax.custom_batching.custom_vmap(function)

    @lifted.def_vmap
    def _(axis_size: int, in_batched, *trees):
        del axis_size
        leaves, treedef = jax.tree.flatten(trees)
        which = jax.tree.leaves(in_batched)

        def one(mapped):
            left = iter(mapped)
            joined = [
                next(left) if batched else x
                for x, batched in zip(leaves, which, strict=True)
            ]
            return function(*jax.tree.unflatten(treedef, joined))

        def by_chunks(mapped):
            return jax.lax.map(one, mapped, batch_size=CHUNK)

        mapped = [x for x, batched in zip(leaves, which, strict=True) if batched]
        found = jax.lax.platform_dependent(mapped, cpu=by_chunks, default=jax.vmap(one))
        return found, jax.tree.map(lambda _: True, found)

    return lifted


def _describe(spec: symmetry.SymmetrySpec, sizes: Mapping[str, int]) -> str:
    """Return the layers of a network in words, "any" where a size does not matter."""

    def space(space: symmetry.Space) -> str:
        words = [space.name, str(sizes.get(space.name, "any"))]
        if space.group is not symmetry.Group.TRIVIAL:
            words.append(space.group.value)
        if space.frequency is not None:
            words.append(f"w0={space.frequency:g}")
        return " ".join(words)

    layers = ", ".join(map(space, spec.spaces))
    return f"layers ({layers}) in {len(spec.paths)} tensors"


def _mean_similarity(found, element: symmetry.GroupElement, scale: Array) -> Array:
    chosen = [
        element[name].scale
        * jnp.take_along_axis(x, element[name].perm[:, None], 1)[:, 0]
        for name, x in found.items()
    ]
    return jnp.mean(jnp.concatenate(chosen)) / scale
