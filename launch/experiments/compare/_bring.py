"""What methods are made of: ways to bring crowds of networks into a common frame.

A crowd is `k` networks of one architecture; a pair is a crowd of two. Solvers of pairs
move all networks but the first onto the first; solvers of crowds, and canonical forms,
move all.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from experiments.compare import _timing
from symmerge_jax import (
    alignment,
    autoencoders,
    deep_align,
    merging,
    networks,
    symmetry,
)
from symmerge_jax.typing import Array, Key, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What methods use beside the networks.

    Attributes:
      network: architecture of all networks.
      canonicalizer: autoencoder that was trained on other networks, or None.
      matcher: learned matcher of these networks, or None.
      task: `task(params, data) -> {"loss": [], ...}` for solvers that see data.
      options: keywords of solvers, by name of the method.
      num_random_starts: further starts of the methods with many.
      chunk_size: pairs or networks that are brought at once.
      num_certified: crowds that are certified; None for all.
    """

    network: networks.Network
    canonicalizer: autoencoders.Canonicalizer | None = None
    matcher: deep_align.Matcher | None = None
    task: Callable[[Params, Any], Mapping[str, Array]] | None = None
    options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    num_random_starts: int = 0
    chunk_size: int = 64
    num_certified: int | None = None

    @property
    def spec(self) -> symmetry.SymmetrySpec:
        """Symmetry of the networks."""
        return self.network.spec

    def of(self, name: str) -> dict[str, Any]:
        """Return the keywords of the solver of a method."""
        return dict(self.options.get(name, {}))

    def loss(self, params: Params, data: Any) -> Array:
        """Return the loss of one network at its task."""
        assert self.task is not None
        return self.task(params, data)["loss"]

    def matching(self, **options: Any) -> alignment.WeightMatching:
        """Return weight matching from many starts, each searched to its end."""
        many = {"num_random_starts": self.num_random_starts, "tolerance": 0.0}
        return alignment.WeightMatching(**(many | options))

    def learned(self, variables: Any, num_sweeps: int = 0) -> deep_align.DeepAlign:
        """Return the matcher as a solver, with parameters that were trained."""
        assert self.matcher is not None
        return deep_align.DeepAlign(
            matcher=self.matcher, variables=variables, num_sweeps=num_sweeps
        )


class Crowds(NamedTuple):
    """Networks to bring together.

    Attributes:
      params: networks `[R, k, ...]`.
      keys: `[R]` random keys of solvers.
      data: tree of arrays that all crowds share, for methods that see data: a dict with
        `inputs`, and what `task` reads.
      own: `{name: [R, ...]}` data of each crowd, added to `data`.
      variables: parameters of the matcher.
      latents: `[R, k, D]` of the networks, where they are known already.
      inputs: `[S, ...]` on which functions are compared; None for random inputs.
    """

    params: Params
    keys: Key
    data: Any = None
    own: Mapping[str, np.ndarray] = {}
    variables: Any = None
    latents: Any = None
    inputs: np.ndarray | None = None


class Brought(NamedTuple):
    """Crowds after a method.

    Attributes:
      params: networks `[R, k, ...]` in a common frame, or latents `[R, k, D]`.
      elements: `[R, k - num_fixed, ...]` what has moved the last networks of each
        crowd; None if none was moved along its orbit.
      num_fixed: networks of each crowd, from the first, that stay as they are.
      fold: whether phases of sine neurons were folded before the elements acted.
      result: what the solver of pairs returned, `[R * (k - 1), ...]`, or None.
      seconds: what the method took for all crowds, compiled before.
      function_error: `[R]` largest change of an output, relative to the largest output,
        in float64, of the first `num_certified` crowds; NaN for latents.
    """

    params: Any
    elements: Any = None
    num_fixed: int = 0
    fold: bool = False
    result: alignment.AlignmentResult | None = None
    seconds: float = 0.0
    function_error: Any = None


Bring = Callable[[Crowds], Brought]
MakeAligner = Callable[[Context, Any], alignment.Aligner]
"""From the context, and the parameters of its matcher, to a solver of pairs."""


def stay(context: Context) -> Bring:
    """Leave networks as they are."""
    del context
    return lambda crowds: Brought(crowds.params)


def onto_first(make_aligner: MakeAligner, *, sees_data: bool = False):
    """Move the other networks of each crowd onto the first."""

    def bring(context: Context) -> Bring:
        make_aligner(context, None)  # refuses wrong options before any work
        features = context.network.features

        def solve(variables, data, key_data, a, b, own):
            problem = alignment.AlignmentProblem(
                params_a=a,
                params_b=b,
                spec=context.spec,
                task=symmerge_jax.Task(
                    {**data, **own} if sees_data else None,
                    loss_fn=context.loss,
                    features_fn=lambda params, data: features(params, data["inputs"]),
                ),
            )
            key = jax.random.wrap_key_data(key_data)
            return make_aligner(context, variables)(key, problem)

        program = _timing.Program(jax.vmap(solve, (None, None, 0, 0, 0, 0)))

        def move_others(crowds: Crowds) -> Brought:
            num, size = jax.tree.leaves(crowds.params)[0].shape[:2]
            repeat = lambda x: np.repeat(np.asarray(x), size - 1, axis=0)  # noqa: E731
            first = jax.tree.map(lambda x: repeat(x[:, 0]), crowds.params)
            others = flatten(jax.tree.map(lambda x: x[:, 1:], crowds.params))
            keys = repeat(jax.random.key_data(crowds.keys))
            rows = (keys, first, others, jax.tree.map(repeat, dict(crowds.own)))
            shared = (crowds.variables, crowds.data if sees_data else None)
            result, seconds = program.run(shared, rows, context.chunk_size)
            moved = move(
                others, result.element, context.spec, chunk_size=context.chunk_size
            )
            params = jax.tree.map(
                lambda x, y: np.concatenate([x[:, :1], y], axis=1),
                crowds.params,
                unflatten(moved, num),
            )
            elements = unflatten(result.element, num)
            return Brought(
                params, elements, num_fixed=1, result=result, seconds=seconds
            )

        return move_others

    return bring


def together(make_solver: Callable[[Context, Any], Any]):
    """Move all networks of each crowd by a solver of crowds, crowd by crowd."""

    def bring(context: Context) -> Bring:
        make_solver(context, None)

        def solve(variables, key_data, params):
            size = symmetry.num_rows(params)
            problem = alignment.ManyProblem(
                params_batch=params,
                weights=merging.check_weights(None, size).astype(np.float32),
                spec=context.spec,
            )
            key = jax.random.wrap_key_data(key_data)
            return make_solver(context, variables)(key, problem).elements

        program = _timing.Program(
            lambda variables, *rows: jax.lax.map(
                lambda row: solve(variables, *row), rows
            )
        )

        def move_all(crowds: Crowds) -> Brought:
            rows = np.asarray(jax.random.key_data(crowds.keys)), crowds.params
            shared, size = (crowds.variables,), context.chunk_size
            elements, seconds = program.run(shared, rows, size)
            moved = move(
                flatten(crowds.params), flatten(elements), context.spec, chunk_size=size
            )
            params = unflatten(moved, len(rows[0]))
            return Brought(params, elements, seconds=seconds)

        return move_all

    return bring


def each(make_form: Callable[[Context], Any], *, fold: bool = False):
    """Move every network for itself, by `form(params [N]) -> (moved, elements)`."""

    def bring(context: Context) -> Bring:
        form = make_form(context)

        def move_each(crowds: Crowds) -> Brought:
            num = symmetry.num_rows(crowds.params)
            found, seconds = _timing.timed(
                form, flatten(crowds.params), context.chunk_size
            )
            return Brought(
                *(unflatten(part, num) for part in found), fold=fold, seconds=seconds
            )

        return move_each

    return bring


def balanced(context: Context):
    """Return the form of networks whose scales are balanced."""

    def form(params):
        element = symmetry.balance_scales(params, context.spec)
        return symmetry.act(element, params, context.spec), element

    return jax.jit(jax.vmap(form))


def closed_form(context: Context):
    """Return the canonical form of networks in closed form."""

    def form(params):
        folded = symmetry.fold_phases(params, context.spec)
        element = symmetry.canonical_element(folded, context.spec)
        return symmetry.act(element, folded, context.spec), element

    return jax.jit(jax.vmap(form))


def template(context: Context):
    """Return the form of networks matched onto what is decoded, proof included."""
    options: Any = {"form": "template", "canonicalizer": context.canonicalizer}

    def form(params):
        found = symmerge_jax.canonicalize(params, context.network, **options)
        return found.params, found.element

    return form


def latents(*, decode: bool):
    """Bring the latents of networks together, or what is decoded from them."""

    def bring(context: Context) -> Bring:
        canonicalizer, size = context.canonicalizer, context.chunk_size
        assert canonicalizer is not None
        decode_some = jax.jit(
            functools.partial(canonicalizer.autoencoder.decode, canonicalizer.variables)
        )

        def read(crowds: Crowds) -> Brought:
            num = symmetry.num_rows(crowds.params)
            found, seconds = crowds.latents, 0.0
            if found is None:
                found, seconds = encode(context, crowds.params)
            if decode:
                decoded, more = _timing.timed(decode_some, flatten(found), size)
                found, seconds = unflatten(decoded, num), seconds + more
            return Brought(found, seconds=seconds)

        return read

    return bring


def encode(context: Context, params: Params) -> tuple[np.ndarray, float]:
    """Return the latents `[R, k, D]` of crowds, and the seconds that took."""
    assert context.canonicalizer is not None
    flat, encode_some = flatten(params), context.canonicalizer.encode
    found, seconds = _timing.timed(encode_some, flat, context.chunk_size)
    return unflatten(np.asarray(found), symmetry.num_rows(params)), seconds


def move(
    params: Params,
    elements: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    *,
    fold: bool = False,
    chunk_size: int = 64,
) -> Params:
    """Return networks `[N, ...]` moved by elements; sine phases are folded if asked."""
    act = _acting(spec, fold)
    return networks.map_batches(lambda rows: act(*rows), (elements, params), chunk_size)


def flatten(crowds: Any) -> Any:
    """Return trees `[R, k, ...]` as `[R * k, ...]`."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), crowds)


def unflatten(trees: Any, num_crowds: int) -> Any:
    """Return trees `[R * k, ...]` as `[R, k, ...]`."""
    return jax.tree.map(lambda x: x.reshape(num_crowds, -1, *x.shape[1:]), trees)


def ends(pairs: Any) -> tuple[Any, Any]:
    """Return the first and the second networks `[R, ...]` of pairs `[R, 2, ...]`."""
    first, second = (jax.tree.map(lambda x, e=e: x[:, e], pairs) for e in (0, 1))
    return first, second


def mean(crowds: Any) -> Any:
    """Return the mean networks `[R, ...]` of crowds `[R, k, ...]`."""
    return jax.tree.map(lambda x: np.mean(x, axis=1, dtype=x.dtype), crowds)


@functools.lru_cache(maxsize=8)
def _acting(spec: symmetry.SymmetrySpec, fold: bool):
    def act(element, params):
        params = symmetry.fold_phases(params, spec) if fold else params
        return symmetry.act(element, params, spec)

    return jax.jit(jax.vmap(act))
