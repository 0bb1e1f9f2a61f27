"""Every way to bring networks together, by name: one table for all experiments.

Experiments say which names they offer. `prepare` certifies all of them alike, for pairs
and for crowds.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from experiments.compare import _bring
from symmerge_jax import alignment, certificates, plots, symmetry
from symmerge_jax.typing import Params

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
    """Return what tables and figures call a method.

    Args:
      name: a key of `METHODS`.
      spec: symmetry of the networks.
      encoder: name of the autoencoder, if the method is applied with several.
    """
    group = GROUPS.get(hidden_group(spec), "P")
    text = METHODS[name].label.format(group=group)
    return text if encoder is None else f"{text} ({encoder})"


def style(name: str, encoder: int | None = None) -> plots.Style:
    """Return how figures draw a method.

    Args:
      name: a key of `METHODS`.
      encoder: number of the autoencoder, if the method is applied with several: the
        colour is that of the autoencoder, the dashes are those of the method.
    """
    found = METHODS[name].style
    return found if encoder is None else found._replace(color=encoder_color(encoder))


def styles(names: Iterable[str], spec: symmetry.SymmetrySpec) -> dict[str, plots.Style]:
    """Return how figures draw methods, by label."""
    return {label(name, spec): METHODS[name].style for name in names}


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
    """Refuse a name that is repeated, or that an experiment does not offer.

    Args:
      names: methods that a config asks for.
      offered: names that it may ask for.
      key: the config key, for messages.

    Raises:
      ValueError: says which.
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
    """Return the methods that are asked for, after checking that all apply.

    Args:
      names: methods that a config asks for; none for all that apply.
      offered: names that it may ask for, in the order of tables.
      spec: symmetry of the networks.
      given: what methods may need and there is: "canonicalizer", names of matchers.
      key: the config key, for messages.

    Returns:
      Names of methods.

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

    Args:
      name: a key of `METHODS`.
      context: what the method uses.

    Returns:
      `bring(crowds) -> Brought`, which raises ValueError if an exact method has changed
      the function of a network.

    Raises:
      ValueError: an option that the solver refuses.
    """
    bring = METHODS[name].bring(context)

    def run(crowds: _bring.Crowds) -> _bring.Brought:
        found = bring(crowds)
        error = _function_error(name, context, crowds.params, found)
        return found._replace(function_error=error)

    return run


def _function_error(
    name: str, context: _bring.Context, params: Params, brought: _bring.Brought
) -> np.ndarray:
    """Return by how much functions have changed, `[R]`, after requiring a proof."""
    method, apply, spec = METHODS[name], context.network.apply, context.spec
    inputs, num_all = context.inputs, len(jax.tree.leaves(params)[0])
    num = num_all if context.num_certified is None else context.num_certified

    def rows(tree: Any, first: int = 0) -> Any:
        return _bring.flatten(jax.tree.map(lambda x: x[:num, first:], tree))

    if method.in_latents:
        return np.full(min(num, num_all), np.nan)
    if not method.is_exact:
        after = rows(brought.params)
        proof = certificates.compare_functions(
            rows(params), after, spec, apply=apply, inputs=inputs
        )
    elif brought.elements is None:
        return np.zeros(min(num, num_all))
    else:
        before, elements = rows(params, brought.num_fixed), rows(brought.elements)
        proof = certificates.certify(
            before, elements, spec, apply=apply, inputs=inputs, fold=brought.fold
        )
        proof.require(f"A network, when brought to others by {name!r},")
    errors = np.asarray(proof.max_difference / proof.output_scale)
    return errors.reshape(min(num, num_all), -1).max(axis=1)


_BLUE, _VERMILION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _BROWN, _GREY, _VIOLET = (
    plots.COLORS
)
_SCALE, _SIGN = (symmetry.Group.SCALE,), (symmetry.Group.SIGN,)
_MORE_THAN_P = (*_SCALE, *_SIGN)


def _published(**options: Any) -> alignment.WeightMatching:
    """Return weight matching as published: from the identity only, in random order."""
    return alignment.WeightMatching(starts=("identity",), order="random", **options)


def _options(name: str, context: _bring.Context) -> dict[str, Any]:
    return dict(context.options.get(name, {}))


def _learned(label: str, needs: str, color: str, sinkhorn: plots.Style):
    """Return the methods that start with a matcher."""

    def merge_many(context, variables):
        return alignment.MergeMany(init=context.learned(variables))

    ways = {
        "": (label, 0, _bring.onto_first(lambda c, v: c.learned(v))),
        "_sweeps": (
            f"{label} + sweeps",
            1,
            _bring.onto_first(lambda c, v: c.learned(v, num_sweeps=2)),
        ),
        "_best": (
            f"{label} + matching {{group}}, best start",
            2,
            _bring.onto_first(lambda c, v: c.matching(init=c.learned(v))),
        ),
        "_merge_many": (f"{label} + MergeMany", 1, _bring.together(merge_many)),
    }
    found = {
        f"{needs}{ending}": Method(
            label=text,
            style=plots.Style(color, dash),
            sees="learned",
            bring=bring,
            needs=needs,
        )
        for ending, (text, dash, bring) in ways.items()
    }
    found[f"{needs}_sinkhorn"] = Method(
        label=f"{label} + Sinkhorn",
        style=sinkhorn,
        sees="data",
        bring=_bring.onto_first(
            lambda c, v: alignment.SinkhornRebasin(
                similarity_fn=c.learned(v).similarities, **_options("sinkhorn", c)
            ),
            sees_data=True,
        ),
        needs=needs,
    )
    return found


def _sinkhorn(**init: Any):
    """Return Sinkhorn re-basin from a start; all starts have the same options."""
    return _bring.onto_first(
        lambda c, _: alignment.SinkhornRebasin(**_options("sinkhorn", c), **init),
        sees_data=True,
    )


METHODS: dict[str, Method] = {
    "naive": Method(label="naive", style=plots.Style(_GREY), bring=_bring.stay),
    "balanced": Method(
        label="balanced scales",
        style=plots.Style(_GREY, 1),
        bring=_bring.each(_bring.balanced),
        groups=_SCALE,
    ),
    "matching_p": Method(
        label="matching P (published)",
        style=plots.Style(_SKY),
        bring=_bring.onto_first(lambda c, _: _published(rescale=False)),
    ),
    "matching_d": Method(
        label="matching D (published)",
        style=plots.Style(_SKY, 2),
        bring=_bring.onto_first(lambda c, _: _published(permute=False)),
        groups=_SIGN,
    ),
    "matching": Method(
        label="matching {group} (published)",
        style=plots.Style(_SKY, 1),
        bring=_bring.onto_first(lambda c, _: _published()),
        groups=_MORE_THAN_P,
    ),
    "matching_p_best": Method(
        label="matching P, best start",
        style=plots.Style(_BLUE, 2),
        bring=_bring.onto_first(lambda c, _: c.matching(rescale=False)),
    ),
    "matching_best": Method(
        label="matching {group}, best start",
        style=plots.Style(_BLUE),
        bring=_bring.onto_first(
            lambda c, _: c.matching(**_options("matching_best", c))
        ),
        groups=_MORE_THAN_P,
    ),
    "frank_wolfe": Method(
        label="Frank-Wolfe",
        style=plots.Style(_BLACK),
        bring=_bring.onto_first(lambda c, _: alignment.FrankWolfe()),
    ),
    "merge_many": Method(
        label="each to the mean (MergeMany)",
        style=plots.Style(_BLUE),
        bring=_bring.together(lambda c, _: alignment.MergeMany()),
    ),
    "universe": Method(
        label="common reference (Universe)",
        style=plots.Style(_BLUE, 1),
        bring=_bring.together(lambda c, _: alignment.Universe()),
    ),
    "closed_form": Method(
        label="closed form",
        style=plots.Style(_GREEN),
        bring=_bring.each(_bring.closed_form, fold=True),
    ),
    "template": Method(
        label="template",
        style=plots.Style(_ORANGE),
        sees="learned",
        bring=_bring.each(_bring.template, fold=True),
        needs="canonicalizer",
    ),
    "reconstruct": Method(
        label="decoded weights",
        style=plots.Style(_VERMILION),
        sees="learned",
        bring=_bring.latents(decode=True),
        is_exact=False,
        needs="canonicalizer",
    ),
    "latent": Method(
        label="decoded latents",
        style=plots.Style(_VERMILION, 1),
        sees="learned",
        bring=_bring.latents(decode=False),
        is_exact=False,
        needs="canonicalizer",
        in_latents=True,
    ),
    **_learned("Deep-Align", "deep_align", _VERMILION, plots.Style(_ORANGE, 1)),
    **_learned("ours", "ours", _GREEN, plots.Style(_BLACK, 1)),
    "activation_matching": Method(
        label="activation matching",
        style=plots.Style(_PURPLE),
        sees="data",
        bring=_bring.onto_first(
            lambda c, _: alignment.ActivationMatching(
                **{"similarity": "correlation", **_options("activation_matching", c)}
            ),
            sees_data=True,
        ),
    ),
    "straight_through": Method(
        label="straight-through",
        style=plots.Style(_BROWN),
        sees="data",
        bring=_bring.onto_first(
            lambda c, _: alignment.StraightThrough(**_options("straight_through", c)),
            sees_data=True,
        ),
    ),
    "sinkhorn": Method(
        label="Sinkhorn re-basin",
        style=plots.Style(_VIOLET),
        sees="data",
        bring=_sinkhorn(),
    ),
    "matching_sinkhorn": Method(
        label="matching P (published) + Sinkhorn",
        style=plots.Style(_VIOLET, 1),
        sees="data",
        bring=_sinkhorn(init=_published(rescale=False)),
    ),
    "matching_best_sinkhorn": Method(
        label="matching {group}, best start + Sinkhorn",
        style=plots.Style(_VIOLET, 2),
        sees="data",
        bring=_sinkhorn(init=alignment.WeightMatching()),
    ),
}
"""Every method, in the order of tables."""
