"""The ways to bring two INRs together that the interpolation experiment compares."""

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from experiments.populations import _inr_pairs
from experiments.train import _trained
from symmerge_jax import alignment, autoencoders, networks, symmetry
from symmerge_jax.typing import Params


class Ends(NamedTuple):
    """The two ends of each path.

    Attributes:
      a: `[N]` parameters, or latents `[N, D]`.
      b: the same for the second networks.
      recovered: `[N]` whether the second network was moved as its noise-free twin has
        to be to become the first; None where nothing is moved along an orbit, or the
        networks are no twins.
      seconds: what the method took for all pairs; compiled before.
    """

    a: Any
    b: Any
    recovered: np.ndarray | None
    seconds: float


class Latents(NamedTuple):
    """The latents of all pairs, which two methods share.

    Attributes:
      a: `[N, D]` of the networks that stay.
      b: `[N, D]` of the second networks.
      seconds: what encoding took; compiled before.
    """

    a: np.ndarray
    b: np.ndarray
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to bring two networks together.

    Attributes:
      label: name in tables and figures.
      move: `move(context, pairs) -> (a, b, again)`, the ends, and a function that
        moves other networks as it has moved the second ones (None if they were not
        moved along their orbits); `pairs` are `Latents` if `reads_latents`.
      reads_latents: whether the method starts from the latents of the autoencoder.
      in_latents: whether the ends are latents, to be decoded on the path.
    """

    label: str
    move: Callable[..., tuple[Any, Any, Callable[[Params], Params] | None]]
    reads_latents: bool = False
    in_latents: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What methods use beside the pairs.

    Attributes:
      canonicalizer: the trained autoencoder.
      num_random_starts: further starts of "matching, best start".
      chunk_size: pairs that are aligned at once.
    """

    canonicalizer: autoencoders.Canonicalizer
    num_random_starts: int
    chunk_size: int

    @property
    def spec(self) -> symmetry.SymmetrySpec:
        """Symmetry of the networks."""
        return self.canonicalizer.spec


class Cell(NamedTuple):
    """A method applied to a group of pairs.

    Attributes:
      family: of the pairs.
      sigma: noise on the second networks.
      method: a key of `METHODS`.
      encoder: name of the autoencoder; None for the one that all methods share.
    """

    family: str
    sigma: float
    method: str
    encoder: str | None = None

    @property
    def label(self) -> str:
        """What tables and figures call the method."""
        return label_of(self.method, self.encoder)

    @property
    def file_name(self) -> str:
        """The name of a file for the cell, without ending."""
        name = f"{self.family}_{self.sigma:g}_{self.method}"
        if self.encoder is None:
            return name
        return f"{name}_{_trained.file_name(self.encoder)}"


def label_of(method: str, encoder: str | None) -> str:
    """Return the label of a method, with the name of the autoencoder if it has one."""
    label = METHODS[method].label
    return label if encoder is None else f"{label} ({encoder})"


def with_encoders(
    methods: Sequence[str], encoders: Collection[str]
) -> list[tuple[str, str | None]]:
    """Return methods, those that read latents once for each named autoencoder."""
    return [
        (method, encoder)
        for method in methods
        for encoder in (METHODS[method].reads_latents and encoders) or (None,)
    ]


def encode(context: Context, pairs: _inr_pairs.Pairs) -> Latents:
    """Return the latents of all pairs."""
    encode = context.canonicalizer.encode
    encode(jax.tree.map(lambda x: x[:64], pairs.params_a))  # compiles
    start = time.perf_counter()
    a, b = encode(pairs.params_a), encode(pairs.params_b)
    return Latents(a, b, time.perf_counter() - start)  # pyright: ignore


def find_ends(
    name: str, context: Context, pairs: _inr_pairs.Pairs, latents: Latents | None
) -> Ends:
    """Apply a method to all pairs.

    Args:
      name: a key of `METHODS`.
      context: what the method uses.
      pairs: the networks.
      latents: their latents; needed by methods that read them.

    Returns:
      The ends of the paths.
    """
    method = METHODS[name]
    given: Any = latents if method.reads_latents else pairs
    few = jax.tree.map(lambda x: x[: context.chunk_size] if np.ndim(x) else x, given)
    method.move(context, few)  # compiles
    start = time.perf_counter()
    a, b, again = method.move(context, given)
    seconds = time.perf_counter() - start
    if method.reads_latents:
        seconds += given.seconds
    recovered = None
    if again is not None and pairs.clean_b is not None:
        recovered = _are_equal(a, again(pairs.clean_b))
    return Ends(a, b, recovered, seconds)


def _stay(context: Context, pairs: _inr_pairs.Pairs):
    del context
    return pairs.params_a, pairs.params_b, lambda params: params


def _match(make_aligner: Callable[[Context], alignment.Aligner]):
    """Return a method that aligns the second network with the first."""

    def move(context: Context, pairs: _inr_pairs.Pairs):
        aligner = make_aligner(context)

        def align(rows):
            found = symmerge_jax.align(rows[0], rows[1], context.spec, aligner=aligner)
            return found.params, found.result.element

        rows = (pairs.params_a, pairs.params_b)
        b, element = networks.map_batches(align, rows, context.chunk_size)
        return pairs.params_a, b, functools.partial(_act, context.spec, element)

    return move


def _published(**options: Any):
    """Return weight matching as published, from the identity only."""
    aligner = alignment.WeightMatching(starts=("identity",), order="random", **options)
    return _match(lambda context: aligner)


def _best(context: Context) -> alignment.Aligner:
    return alignment.WeightMatching(num_random_starts=context.num_random_starts)


def _canonicalize(form: str):
    """Return a method that moves every network for itself."""

    def move(context: Context, pairs: _inr_pairs.Pairs):
        options: dict[str, Any] = {"form": form}
        if form != "closed":
            options["canonicalizer"] = context.canonicalizer

        def canonical(params):
            found = symmerge_jax.canonicalize(params, context.spec, **options)
            return found.params, found.element

        size = context.chunk_size
        a, _ = networks.map_batches(canonical, pairs.params_a, size)
        b, element = networks.map_batches(canonical, pairs.params_b, size)
        return a, b, functools.partial(_act, context.spec, element, fold=True)

    return move


def _decode(context: Context, latents: Latents):
    canonicalizer = context.canonicalizer
    decode = jax.jit(canonicalizer.autoencoder.decode)

    def decode_some(some):
        return decode(canonicalizer.variables, some)

    a, b = (
        networks.map_batches(decode_some, some, context.chunk_size)
        for some in (latents.a, latents.b)
    )
    return a, b, None


def _keep(context: Context, latents: Latents):
    del context
    return latents.a, latents.b, None


def _act(spec, element, params: Params, *, fold: bool = False) -> Params:
    def act(element, params):
        params = symmetry.fold_phases(params, spec) if fold else params
        return symmetry.act(element, params, spec)

    return jax.jit(jax.vmap(act))(element, params)


def _are_equal(params_a: Params, params_b: Params) -> np.ndarray:
    """Whether networks `[N]` agree in every parameter, to a rounding of their size."""

    def far(a, b):
        a, b = (np.asarray(x).reshape(len(x), -1) for x in (a, b))
        return np.abs(a - b).max(axis=1) > 1e-5 * np.abs(a).max(axis=1)

    differ = jax.tree.map(far, dict(params_a), dict(params_b))
    return ~np.any(jax.tree.leaves(differ), axis=0)


METHODS = {
    "naive": Method(label="naive", move=_stay),
    "matching_p": Method(
        label="matching P (published)", move=_published(rescale=False)
    ),
    "matching_d": Method(
        label="matching D (published)", move=_published(permute=False)
    ),
    "matching_pd": Method(label="matching PD (published)", move=_published()),
    "matching_best": Method(label="matching PD, best start", move=_match(_best)),
    "closed_form": Method(label="closed form", move=_canonicalize("closed")),
    "template": Method(label="template", move=_canonicalize("template")),
    "reconstruct": Method(label="decoded weights", move=_decode, reads_latents=True),
    "latent": Method(
        label="decoded latents", move=_keep, reads_latents=True, in_latents=True
    ),
}
"""Every method, in the order of tables and colours."""
