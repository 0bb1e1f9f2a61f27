"""The ways to bring two CNNs together that the merging experiment compares."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import symmerge_jax
from experiments.compare import _old_methods as _methods
from symmerge_jax import alignment, autoencoders, networks, symmetry
from symmerge_jax.typing import Key, Params


class Ends(NamedTuple):
    """The two ends of each path.

    Attributes:
      a: parameters `[N, ...]` of the first networks.
      b: of the second ones.
      seconds: what the method took for all pairs; compiled before.
      function_error: `[N]` largest change of an output of either network, relative to
        its largest output, in float64; zero for networks that stay.
    """

    a: Params
    b: Params
    seconds: float
    function_error: np.ndarray


class Moved(NamedTuple):
    """Networks after a method, and the elements that moved them.

    Attributes:
      a: parameters `[N, ...]`.
      b: parameters `[N, ...]`.
      element_a: None if the first networks stay.
      element_b: None if the second ones stay.
    """

    a: Params
    b: Params
    element_a: symmetry.GroupElement | None = None
    element_b: symmetry.GroupElement | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What methods use beside the pairs.

    Attributes:
      network: architecture of all.
      canonicalizer: the trained autoencoder, or None.
      train_inputs: `[S, H, W, C]` images for methods that see data.
      test_inputs: `[S', H, W, C]` images on which functions are compared.
      num_random_starts: further starts of the methods with many.
      chunk_size: pairs that are aligned at once.
      key: random key of the solvers.
    """

    network: networks.Network
    canonicalizer: autoencoders.Canonicalizer | None
    train_inputs: np.ndarray
    test_inputs: np.ndarray
    num_random_starts: int
    chunk_size: int
    key: Key

    @property
    def spec(self) -> symmetry.SymmetrySpec:
        """Symmetry of the networks."""
        return self.network.spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to bring two networks together.

    Attributes:
      label: name in tables and figures; "{group}" stands for "P + scale" or "P + sign".
      move: `move(context, a, b) -> Moved`.
      uses_data: whether it sees training images, beyond the weights.
      is_exact: whether it keeps functions.
      needs_canonicalizer: whether it uses the autoencoder.
      groups: the groups of neurons for which it is a method of its own.
    """

    label: str
    move: Callable[[Context, Params, Params], Moved]
    uses_data: bool = False
    is_exact: bool = True
    needs_canonicalizer: bool = False
    groups: tuple[symmetry.Group, ...] = tuple(symmetry.Group)


def label_of(name: str, spec: symmetry.SymmetrySpec) -> str:
    """Return the label of a method for networks of this symmetry."""
    return _methods.label(METHODS[name].label, spec)


def choose(
    names: tuple[str, ...],
    known: dict[str, Any],
    spec: symmetry.SymmetrySpec,
    canonicalizer: autoencoders.Canonicalizer | None,
    key: str,
) -> tuple[str, ...]:
    """Return the methods that are asked for, after checking that all apply.

    Args:
      names: methods of a config; none for all that apply.
      known: all methods, by name, with `groups` and `needs_canonicalizer`.
      spec: symmetry of the networks.
      canonicalizer: the autoencoder, or None.
      key: the config key, for messages.

    Returns:
      Names of methods.

    Raises:
      ValueError: an unknown or repeated name, or a method that does not apply.
    """
    group = _methods.hidden_group(spec)
    _methods.check_names(names, known, key)
    for name in names:
        if known[name].needs_canonicalizer and canonicalizer is None:
            raise ValueError(
                f"{key} has {name!r}, which needs an autoencoder: name its workdir as"
                " config.canonicalizer."
            )
        if group not in known[name].groups:
            raise ValueError(
                f"{key} has {name!r}, which means nothing for networks whose neurons"
                f" have the group {group.value!r}."
            )
    return names or tuple(
        name
        for name, method in known.items()
        if group in method.groups
        and not (method.needs_canonicalizer and canonicalizer is None)
    )


def find_ends(name: str, context: Context, a: Params, b: Params) -> Ends:
    """Apply a method to all pairs.

    Args:
      name: a key of `METHODS`.
      context: what the method uses.
      a: parameters `[N, ...]` of the first networks.
      b: parameters `[N, ...]` of the second ones.

    Returns:
      The ends of the paths.

    Raises:
      ValueError: an exact method that has changed a function.
    """
    method = METHODS[name]
    method.move(context, a, b)  # compiles
    start = time.perf_counter()
    moved = jax.block_until_ready(method.move(context, a, b))
    seconds = time.perf_counter() - start
    errors = [
        _function_error(context, method.is_exact, before, after, element)
        for before, after, element in (
            (a, moved.a, moved.element_a),
            (b, moved.b, moved.element_b),
        )
    ]
    return Ends(moved.a, moved.b, seconds, np.maximum(*errors))


def _function_error(context, is_exact, before, after, element) -> np.ndarray:
    """Return the relative change of the function, `[N]`, in float64."""
    apply, spec = context.network.apply, context.spec
    inputs = context.test_inputs[:64]
    if not is_exact:
        proof = alignment.compare(apply, before, after, spec, inputs=inputs)
    elif element is None:
        return np.zeros(spec.batch_shape(before))
    else:
        proof = alignment.certify(
            apply, before, element, spec, inputs=inputs, fold=True
        )
        proof.require("A network, when aligned,")
    return proof.max_difference / proof.output_scale


def _stay(context: Context, a: Params, b: Params) -> Moved:
    del context
    return Moved(a, b)


def _balance(context: Context, a: Params, b: Params) -> Moved:
    """Bring each network to its own balanced scales."""
    moved = [_balanced(context.spec)(params) for params in (a, b)]
    (a, element_a), (b, element_b) = jax.device_get(moved)
    return Moved(a, b, element_a, element_b)


@functools.lru_cache(maxsize=4)
def _balanced(spec):
    def balance(params):
        element = symmetry.balance_scales(params, spec)
        return symmetry.act(element, params, spec), element

    return jax.jit(jax.vmap(balance))


def _match(
    make_aligner: Callable[[Context], alignment.Aligner], *, uses_data: bool = False
):
    """Return a method that aligns the second network with the first."""

    def move(context: Context, a: Params, b: Params) -> Moved:
        aligner = make_aligner(context)
        data: dict[str, Any] = {}
        if uses_data:
            data = {
                "data": context.train_inputs,
                "features_fn": context.network.features,
            }

        def align(rows):
            params_a, params_b = rows
            found = symmerge_jax.align(
                params_a,
                params_b,
                context.spec,
                aligner=aligner,
                key=context.key,
                **data,
            )
            return found.params, found.result.element

        moved, element = autoencoders.map_batches(align, (a, b), context.chunk_size)
        return Moved(a, moved, None, element)

    return move


def canonical_forms(
    context: Context, params: Params, mode: str | None
) -> tuple[Params, symmetry.GroupElement | None]:
    """Return each network's own representative, and how it was moved there.

    Args:
      context: has the canonicaliser, for a mode.
      params: networks `[N, ...]`.
      mode: see `symmerge_jax.canonicalize`; None for the closed form.

    Returns:
      Parameters `[N, ...]`, and the elements where there are any.
    """
    options: dict[str, Any] = {}
    if mode is not None:
        options = {"canonicalizer": context.canonicalizer, "mode": mode}

    def form(rows):
        if mode == "reconstruct":
            return symmerge_jax.canonicalize(rows, context.spec, **options), None
        return symmerge_jax.canonicalize(
            rows, context.spec, return_element=True, **options
        )

    return autoencoders.map_batches(form, params, context.chunk_size)


def _canonicalize(mode: str | None):
    """Return a method that takes every network for itself; None: the closed form."""

    def move(context: Context, a: Params, b: Params) -> Moved:
        (a, element_a), (b, element_b) = (
            canonical_forms(context, params, mode) for params in (a, b)
        )
        return Moved(a, b, element_a, element_b)

    return move


_WITH_SCALES = (symmetry.Group.SCALE,)
_MORE_THAN_P = tuple(_methods.GROUPS)

METHODS = {
    "naive": Method(label="naive", move=_stay),
    "balanced": Method(label="balanced scales", move=_balance, groups=_WITH_SCALES),
    "matching_p": Method(
        label="matching P (published)", move=_match(lambda _: _methods.PUBLISHED)
    ),
    "matching": Method(
        label="matching {group}",
        move=_match(lambda _: dataclasses.replace(_methods.PUBLISHED, rescale=True)),
        groups=_MORE_THAN_P,
    ),
    "matching_p_best": Method(
        label="matching P, best start",
        move=_match(lambda context: _methods.best(context, rescale=False)),
    ),
    "matching_best": Method(
        label="matching {group}, best start",
        move=_match(_methods.best),
        groups=_MORE_THAN_P,
    ),
    "closed_form": Method(label="closed form", move=_canonicalize(None)),
    "template": Method(
        label="template of the autoencoder",
        move=_canonicalize("template"),
        needs_canonicalizer=True,
    ),
    "reconstruct": Method(
        label="decoded weights",
        move=_canonicalize("reconstruct"),
        is_exact=False,
        needs_canonicalizer=True,
    ),
    "activation_matching": Method(
        label="activation matching",
        move=_match(lambda _: _methods.CORRELATION, uses_data=True),
        uses_data=True,
    ),
}
"""Every method, in the order of tables and colours."""
