"""The verb that maps every twin of a network to one representative."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from symmerge_jax import _align, alignment, autoencoders, symmetry
from symmerge_jax.typing import Params

_MODES = ("reconstruct", "template")


@overload
def canonicalize(
    params: Params,
    spec: symmetry.SymmetrySpec,
    *,
    canonicalizer: autoencoders.Canonicalizer | None = None,
    mode: str = "reconstruct",
    return_element: Literal[False] = False,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    tolerance: float | None = None,
) -> Params: ...


@overload
def canonicalize(
    params: Params,
    spec: symmetry.SymmetrySpec,
    *,
    canonicalizer: autoencoders.Canonicalizer | None = None,
    mode: str = "reconstruct",
    return_element: Literal[True],
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    tolerance: float | None = None,
) -> tuple[Params, symmetry.GroupElement]: ...


def canonicalize(
    params: Params,
    spec: symmetry.SymmetrySpec,
    *,
    canonicalizer: autoencoders.Canonicalizer | None = None,
    mode: str = "reconstruct",
    return_element: bool = False,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    tolerance: float | None = None,
) -> Params | tuple[Params, symmetry.GroupElement]:
    """Return the representative that all twins of a network share.

    Three representatives are offered:

    - without a `canonicalizer` the closed form (`symmetry.canonical_form`), a twin of
      the input: its function is kept to rounding;
    - `mode="reconstruct"`: what the autoencoder decodes (Boufalis et al. 2025, arXiv
      2511.12601), a network with *approximately* the same function, whose weights can
      be interpolated with those of other reconstructions, of other networks too;
    - `mode="template"`: the decoded network serves as a template only, onto which the
      network itself is matched, with permutations and signs (positive scales are
      balanced, sine phases folded): again a true twin of the input.

    Law: `canonicalize(act(g, params, spec), spec) = canonicalize(params, spec)` for
    every group element `g`. The template obeys it wherever the closed form does, bit
    for bit, because nothing but the closed form goes into the autoencoder and into the
    matching. The matching goes from the inputs on, space by space (the "outward" start
    of `alignment.WeightMatching`), hence does not depend on the order of the neurons
    either.

    Where it ends: both exact forms are constant on an orbit and *not* continuous across
    orbits. Noise makes the closed form swap neurons of almost equal norm, and the
    template swap neurons that fit almost equally well. Of MNIST-INRs (weights with
    standard deviations of 0.02 to 0.07) with noise of 0.0001 on every weight, 73 % get
    the order of the network without noise from the template and 40 % from the closed
    form, with noise of 0.001 it is 4 % and none. Neurons that the closed form cannot
    tell apart (see there) are left in any order by the template too. Networks that are
    only nearly twins, or trained independently, are better aligned with each other or
    all with one of them (`align`), or decoded.

    Args:
      params: parameters of one network, or of a batch of networks with leading axes
        (one at most with a `canonicalizer`). Double precision is kept by the exact
        forms (as numpy arrays where JAX has it switched off).
      spec: symmetry of the architecture.
      canonicalizer: from `load_canonicalizer`; None for the closed form.
      mode: "reconstruct" or "template", the use that is made of the `canonicalizer`.
      apply: `apply(params, inputs) -> outputs`, to prove that an exact form has the
        function of `params`, as `align` does; None to go without.
      inputs: see `align`.
      tolerance: see `align`.
      return_element: also return the group element, for the exact forms: it maps
        `params`, after `symmetry.fold_phases`, to the result.

    Returns:
      The tree of `params`; what is no parameter is unchanged. With `return_element` a
      pair of it and the element, which has the same leading axes.

    Raises:
      TypeError: a spec that is none, or a parameter that is no array.
      ValueError: if the parameters do not fit the spec or are not finite, or if the
        canonicaliser was trained for another spec or other layer sizes; an unknown
        mode, a template without a canonicaliser, or an element where there is none.
        What a spec does not say (an output offset, ReLU or leaky ReLU) is not checked.

    Example:
      >>> import jax
      >>> from symmerge_jax import networks, symmetry
      >>> network = networks.siren((2, 8, 1))
      >>> params = network.init(jax.random.key(0))
      >>> twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, 5)
      >>> forms = canonicalize(twins, network.spec)
      >>> bool((forms["dense_0"]["kernel"] == forms["dense_0"]["kernel"][:1]).all())
      True
    """
    opened = alignment.open_networks({"params": params}, spec)
    _check_options(spec, canonicalizer, mode, return_element)
    options: Any = {"inputs": inputs, "tolerance": tolerance}
    if apply is not None:
        if canonicalizer is not None and mode == "reconstruct":
            raise ValueError(
                "A reconstruction has approximately the same function, which apply"
                " could not prove: pass mode='template', or leave apply out."
            )
        _align.check_concrete(apply, params)
        alignment.check_spec(apply, params, spec, **options)
    [given] = opened.params
    num_batch_axes = len(opened.batch_shape)
    if canonicalizer is not None and mode == "reconstruct":
        decoded = canonicalizer.reconstruct(given)
        return symmetry.rebuild(params, symmetry.flatten(decoded))
    program = _compiled(_to_closed_form, opened.spec, num_batch_axes)
    form, element = _align.call(program, given, given)
    if canonicalizer is not None:
        form, element = _match(form, element, opened.spec, canonicalizer)
    # Integers move with the neurons; what else is carried along stays where it was.
    whole = _align.move_integers(element, params, spec, num_batch_axes)
    whole = symmetry.rebuild(whole, symmetry.flatten(form))
    if not alignment.is_traced((params, form)):
        _align.check_representable("The canonical form", whole)
    if apply is not None:
        certificate = alignment.compare(apply, params, whole, spec, **options)
        certificate.require("The canonical form")
    return (whole, element) if return_element else whole


def _check_options(spec, canonicalizer, mode, return_element) -> None:
    if mode not in _MODES:
        raise ValueError(f"mode is {mode!r}, known are {', '.join(_MODES)}.")
    if canonicalizer is None:
        if mode == "template":
            raise ValueError(
                "mode='template' needs a canonicalizer, whose reconstruction is the"
                " template: pass one, or leave mode away for the closed form."
            )
        return
    if canonicalizer.spec != spec:
        raise ValueError(
            "The canonicalizer was trained for another symmetry: its spaces are"
            f" {canonicalizer.spec.spaces}, the network's {spec.spaces}."
        )
    if return_element and mode == "reconstruct":
        raise ValueError(
            "A reconstruction is no twin of the network, so there is no group element:"
            " pass mode='template', or leave return_element away."
        )


def _match(
    form: Params,
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    canonicalizer: autoencoders.Canonicalizer,
) -> Any:
    """Move closed forms onto their reconstructions; compose the elements."""
    single = jax.tree.map(lambda x: np.asarray(x, np.float32), form)
    template = canonicalizer.reconstruct(single)
    program = _compiled(_to_template, spec, len(spec.batch_shape(form)))
    return _align.call(program, form, form, element, template)


def _to_closed_form(params: Params, *, spec: symmetry.SymmetrySpec):
    folded = symmetry.fold_phases(_align.widen(params), spec)
    element = symmetry.canonical_element(folded, spec)
    form = symmetry.act(element, folded, spec)
    return jax.tree.map(lambda x, y: x.astype(y.dtype), form, params), element


def _to_template(
    form: Params,
    element: symmetry.GroupElement,
    template: Params,
    *,
    spec: symmetry.SymmetrySpec,
):
    template = symmetry.rebuild(form, symmetry.flatten(template))
    template = jax.tree.map(lambda t, x: t.astype(x.dtype), template, form)
    template = symmetry.fold_phases(template, spec)
    template = symmetry.act(symmetry.balance_scales(template, spec), template, spec)
    problem = alignment.AlignmentProblem(params_a=template, params_b=form, spec=spec)
    # Sweeps would bring the two closer, but each one spreads what noise does to some
    # neurons over all of them: twins with noise get one order less often.
    solver = alignment.WeightMatching(starts=("outward",), max_sweeps=0)
    found = _without_scales(solver(jax.random.key(0), problem).element, spec)
    return symmetry.act(found, form, spec), symmetry.compose(found, element)


def _without_scales(
    element: Mapping[str, symmetry.Monomial], spec: symmetry.SymmetrySpec
) -> symmetry.GroupElement:
    """Leave out positive scales: form and template are balanced, up to rounding."""
    return {
        name: symmetry.Monomial(perm, jnp.ones_like(scale))
        if spec.space(name).group is symmetry.Group.SCALE
        else symmetry.Monomial(perm, scale)
        for name, (perm, scale) in element.items()
    }


@functools.lru_cache(maxsize=32)
def _compiled(function, spec: symmetry.SymmetrySpec, num_batch_axes: int):
    """Return the compiled function for arguments with this many leading axes."""
    program = functools.partial(function, spec=spec)
    for _ in range(num_batch_axes):
        program = jax.vmap(program)
    return jax.jit(program)
