"""Every way to bring networks together, by name: one table for all experiments.

Experiments say which names they offer. `prepare` certifies all of them alike, for pairs
and for crowds.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from experiments.compare import _bring
from symmerge_jax import alignment, certificates, plots, symmetry

SEES = {
    "weights": "weights only",
    "learned": "weights only, learned on other networks",
    "data": "with training data",
}
"""What methods see, in the order of tables."""

GROUPS = {symmetry.Group.SCALE: "P + scale", symmetry.Group.SIGN: "P + sign"}
"""What "{group}" stands for in labels, by group of the hidden neurons; else "P"."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A way to bring networks together.

    Attributes:
      label: name in tables and figures; "{group}" stands for "P + scale" or "P + sign".
      style: how figures draw it: the colour tells the idea, the dashes its variant.
      sees: a key of `SEES`.
      bring: `bring(context)` returns the function of crowds, and raises ValueError for
        an option that the solver refuses.
      is_exact: whether it keeps functions.
      groups: the groups of neurons for which it is a method of its own.
      needs: "canonicalizer" or the name of a matcher; None for nothing.
      in_latents: whether what it brings together are latents, to be decoded.
    """

    label: str
    style: plots.Style
    bring: Callable[[_bring.Context], _bring.Bring]
    sees: Literal["weights", "learned", "data"] = "weights"
    is_exact: bool = True
    groups: tuple[symmetry.Group, ...] = tuple(symmetry.Group)
    needs: str | None = None
    in_latents: bool = False


def label(name: str, spec: symmetry.SymmetrySpec, encoder: str | None = None) -> str:
    """Return what tables and figures call a method of networks of this symmetry.

    `encoder` is the name of the autoencoder, if the method is applied with several.
    """
    group = GROUPS.get(hidden_group(spec), "P")
    text = METHODS[name].label.format(group=group)
    return text if encoder is None else f"{text} ({encoder})"


def style(name: str, encoder: int | None = None) -> plots.Style:
    """Return how figures draw a method.

    If it is applied with several autoencoders, the colour is that of the autoencoder of
    this number; the dashes are those of the method.
    """
    found = METHODS[name].style
    return found if encoder is None else found._replace(color=encoder_color(encoder))


def styles(results: Mapping[str, Mapping[str, Any]]) -> dict[str, plots.Style]:
    """Return how figures draw methods, by label, from their results by name."""
    return {found["label"]: style(name) for name, found in results.items()}


def by_sight(methods: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the results of methods in the order of tables: by what they see."""
    return sorted(methods.values(), key=lambda found: list(SEES).index(found["sees"]))


def encoder_color(number: int) -> str:
    """Return the colour of an autoencoder; none of a method that has no autoencoder."""
    colors = (_VERMILION, _BROWN, _BLACK, _PURPLE, _ORANGE, _VIOLET)
    return colors[number % len(colors)]


def hidden_group(spec: symmetry.SymmetrySpec) -> symmetry.Group:
    """Return the group of the hidden neurons, which is the same for all layers."""
    return spec.space("hidden_0").group


def check_names(names: Sequence[str], offered: Collection[str], key: str) -> None:
    """Raise ValueError for a repeated name, or one that an experiment does not offer.

    Messages call the names by their config key.
    """
    if len(set(names)) != len(names):
        raise ValueError(f"{key} must name each method once, got {tuple(names)}.")
    for name in names:
        if name not in offered:
            raise ValueError(f"{key} has {name!r}, known are {', '.join(offered)}.")


def choose(
    names: Sequence[str],
    offered: Sequence[str],
    spec: symmetry.SymmetrySpec,
    given: Collection[str] = (),
    key: str = "config.methods",
) -> tuple[str, ...]:
    """Return the methods of a config, or all that apply if it names none.

    Args:
      names: methods that a config asks for.
      offered: names that it may ask for, in the order of tables.
      spec: symmetry of the networks.
      given: what methods may need and there is: "canonicalizer", names of matchers.
      key: the config key, for messages.

    Raises:
      ValueError: an unknown or repeated name, or a method that does not apply.
    """
    check_names(names, offered, key)
    group = hidden_group(spec)
    for name in names:
        needs = METHODS[name].needs
        if needs not in (None, *given):
            remedy = f"add {needs!r} to config.models"
            if needs == "canonicalizer":
                remedy = "name the workdir of an autoencoder as config.canonicalizer"
            raise ValueError(f"{key} has {name!r}, which needs {needs}: {remedy}.")
        if group not in METHODS[name].groups:
            raise ValueError(
                f"{key} has {name!r}, which means nothing for networks whose neurons"
                f" have the group {group.value!r}."
            )
    return tuple(names) or tuple(
        name
        for name in offered
        if group in METHODS[name].groups and METHODS[name].needs in (None, *given)
    )


def prepare(name: str, context: _bring.Context) -> _bring.Bring:
    """Return a method as a function of crowds, compiled once for each of their shapes.

    It raises ValueError if an exact method has changed the function of a network, and
    is refused at once for an option that the solver does not take.
    """
    bring = METHODS[name].bring(context)

    def run(crowds: _bring.Crowds) -> _bring.Brought:
        found = bring(crowds)
        error = _function_error(name, context, crowds, found)
        return found._replace(function_error=error)

    return run


def _function_error(
    name: str,
    context: _bring.Context,
    crowds: _bring.Crowds,
    brought: _bring.Brought,
) -> np.ndarray:
    """Return by how much functions have changed, `[R]`, after requiring a proof."""
    method, params, inputs = METHODS[name], crowds.params, crowds.inputs
    num_all = symmetry.num_rows(params)
    num = num_all if context.num_certified is None else context.num_certified

    def rows(tree: Any, first: int = 0) -> Any:
        return _bring.flatten(jax.tree.map(lambda x: x[:num, first:], tree))

    if method.in_latents:
        return np.full(min(num, num_all), np.nan)
    if not method.is_exact:
        after = rows(brought.params)
        proof = certificates.compare_functions(
            rows(params), after, context.network, inputs=inputs
        )
    elif brought.elements is None:
        return np.zeros(min(num, num_all))
    else:
        before, elements = rows(params, brought.num_fixed), rows(brought.elements)
        proof = certificates.certify(
            before, elements, context.network, inputs=inputs, fold=brought.fold
        )
        proof.require(f"A network, when brought to others by {name!r},")
    errors = np.asarray(proof.max_difference / proof.output_scale)
    return errors.reshape(min(num, num_all), -1).max(axis=1)


_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _BROWN, _GREY, _VIOLET = (
    plots.COLORS
)
_SCALE, _SIGN = (symmetry.Group.SCALE,), (symmetry.Group.SIGN,)
_MORE_THAN_P = (*_SCALE, *_SIGN)


def _method(label: str, bring: Any, color: str, dash: int = 0, **rest: Any) -> Method:
    return Method(label=label, style=plots.Style(color, dash), bring=bring, **rest)


def _aligner(label: str, make: Any, *style: Any, sees: Any = "weights", **rest: Any):
    """Return a method that moves the others onto the first by `make(context, model)`.

    `model` are the parameters of the matcher, which most solvers do not need.
    """
    bring = _bring.onto_first(make, sees_data=sees == "data")
    return _method(label, bring, *style, sees=sees, **rest)


def _published(**options: Any) -> alignment.WeightMatching:
    """Return weight matching as published: from the identity only, in random order."""
    return alignment.WeightMatching(
        starts=("identity",), order="random", tolerance=0.0, **options
    )


def _sinkhorn(context: _bring.Context, **start: Any) -> alignment.SinkhornRebasin:
    return alignment.SinkhornRebasin(**context.of("sinkhorn"), **start)


def _learned(label: str, needs: str, color: str, sinkhorn: tuple[str, int]):
    """Return the methods that start with a matcher."""
    from_weights = {"sees": "learned", "needs": needs}
    return {
        needs: _aligner(label, lambda c, m: c.learned(m), color, **from_weights),
        f"{needs}_sweeps": _aligner(
            *(f"{label} + sweeps", lambda c, m: c.learned(m, num_sweeps=2), color, 1),
            **from_weights,
        ),
        f"{needs}_best": _aligner(
            f"{label} + matching {{group}}, best start",
            *(lambda c, m: c.matching(init=c.learned(m)), color, 2),
            **from_weights,
        ),
        f"{needs}_merge_many": _method(
            f"{label} + MergeMany",
            _bring.together(lambda c, m: alignment.MergeMany(init=c.learned(m))),
            *(color, 1),
            **from_weights,
        ),
        f"{needs}_sinkhorn": _aligner(
            f"{label} + Sinkhorn",
            lambda c, m: _sinkhorn(c, similarity_fn=c.learned(m).similarities),
            *sinkhorn,
            sees="data",
            needs=needs,
        ),
    }


_AUTOENCODER: dict[str, Any] = {"sees": "learned", "needs": "canonicalizer"}

METHODS: dict[str, Method] = {
    "naive": _method("naive", _bring.stay, _GREY),
    "balanced": _method(
        "balanced scales", _bring.each(_bring.balanced), _GREY, 1, groups=_SCALE
    ),
    "matching_p": _aligner(
        "matching P (published)", lambda c, _: _published(rescale=False), _SKY
    ),
    "matching_d": _aligner(
        *("matching D (published)", lambda c, _: _published(permute=False), _SKY, 2),
        groups=_SIGN,
    ),
    "matching": _aligner(
        *("matching {group} (published)", lambda c, _: _published(), _SKY, 1),
        groups=_MORE_THAN_P,
    ),
    "matching_p_best": _aligner(
        "matching P, best start", lambda c, _: c.matching(rescale=False), _BLUE, 2
    ),
    "matching_best": _aligner(
        "matching {group}, best start",
        *(lambda c, _: c.matching(**c.of("matching_best")), _BLUE),
        groups=_MORE_THAN_P,
    ),
    "frank_wolfe": _aligner("Frank-Wolfe", lambda c, _: alignment.FrankWolfe(), _BLACK),
    "merge_many": _method(
        "each to the mean (MergeMany)",
        *(_bring.together(lambda c, _: alignment.MergeMany()), _BLUE),
    ),
    "universe": _method(
        "common reference (Universe)",
        *(_bring.together(lambda c, _: alignment.Universe()), _BLUE, 1),
    ),
    "closed_form": _method(
        "closed form", _bring.each(_bring.closed_form, fold=True), _GREEN
    ),
    "template": _method(
        "template", _bring.each(_bring.template, fold=True), _ORANGE, **_AUTOENCODER
    ),
    "reconstruct": _method(
        *("decoded weights", _bring.latents(decode=True), _VERMILION),
        is_exact=False,
        **_AUTOENCODER,
    ),
    "latent": _method(
        *("decoded latents", _bring.latents(decode=False), _VERMILION, 1),
        is_exact=False,
        in_latents=True,
        **_AUTOENCODER,
    ),
    **_learned("Deep-Align", "deep_align", _VERMILION, (_ORANGE, 1)),
    **_learned("ours", "ours", _GREEN, (_BLACK, 1)),
    "activation_matching": _aligner(
        "activation matching",
        lambda c, _: alignment.ActivationMatching(
            **{"similarity": "correlation", **c.of("activation_matching")}
        ),
        _PURPLE,
        sees="data",
    ),
    "straight_through": _aligner(
        "straight-through",
        lambda c, _: alignment.StraightThrough(**c.of("straight_through")),
        _BROWN,
        sees="data",
    ),
    "sinkhorn": _aligner(
        "Sinkhorn re-basin", lambda c, _: _sinkhorn(c), _VIOLET, sees="data"
    ),
    "matching_sinkhorn": _aligner(
        "matching P (published) + Sinkhorn",
        *(lambda c, _: _sinkhorn(c, init=_published(rescale=False)), _VIOLET, 1),
        sees="data",
    ),
    "matching_best_sinkhorn": _aligner(
        "matching {group}, best start + Sinkhorn",
        *(lambda c, _: _sinkhorn(c, init=alignment.WeightMatching()), _VIOLET, 2),
        sees="data",
    ),
}
"""Every method, in the order of tables."""
