"""The verb that maps every twin of a network to one representative."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from symmerge_jax import (
    _verbs,
    alignment,
    autoencoders,
    certificates,
    programs,
    symmetry,
)
from symmerge_jax.typing import Params

FORMS = ("closed", "template", "decoded")


class Canonical(NamedTuple):
    """The representative of a network, or of each network of a batch.

    Attributes:
      params: the representative.
      element: leads to it from the network with folded phases (`symmetry.fold_phases`);
        None for a decoded network, which is not a twin.
      certificate: difference of the function before and after, in float64; None where
        only a spec was given, and for a decoded network, whose function is another one.
    """

    params: Params
    element: symmetry.GroupElement | None
    certificate: certificates.Certificate | None


def canonicalize(
    params: Params,
    network: _verbs.Architecture,
    *,
    form: Literal["closed", "template", "decoded"] = "closed",
    canonicalizer: autoencoders.Canonicalizer | None = None,
    apply: Callable[[Params, Any], Any] | None = None,
    inputs: Any = None,
    tolerance: float | None = None,
) -> Canonical:
    """Return the representative that all twins of a network share.

    Three forms are offered:

    - "closed": the closed form (`symmetry.canonical_form`), a twin of the input: its
      function is kept to rounding;
    - "decoded": what the autoencoder decodes (Boufalis et al. 2025, arXiv 2511.12601),
      a network with *approximately* the same function, whose weights can be
      interpolated with those of other decoded networks;
    - "template": the decoded network serves as a template only, onto which the network
      itself is matched, with permutations and signs (positive scales are balanced, sine
      phases folded): again a true twin of the input.

    Law: `canonicalize(act(g, params, spec), network)` is `canonicalize(params,
    network)` for every group element `g`. The template obeys it wherever the closed
    form does, bit for bit, because nothing but the closed form goes into the
    autoencoder and into the matching, which starts "outward"
    (`alignment.WeightMatching`) and does not depend on the order of the neurons.

    Limits: both exact forms are constant on an orbit and *not* continuous across
    orbits. Noise makes the closed form swap neurons of almost equal norm, and the
    template swap neurons that fit almost equally well; neurons that the closed form
    cannot tell apart are left in any order by the template too. Networks that are only
    nearly twins, or trained independently, are better aligned with each other or all
    with one of them (`align`), or decoded.

    Args:
      params: parameters of one network, or of a batch of networks with leading axes
        (one at most with a `canonicalizer`). Double precision is kept by the exact
        forms (as numpy arrays where JAX has it switched off).
      network: see `align`.
      form: "closed", "template" or "decoded".
      canonicalizer: from `load_canonicalizer`, for the last two.
      apply: see `align`.
      inputs: see `align`.
      tolerance: see `align`.

    Returns:
      The representative, which is the tree of `params` (what is not a parameter is
      unchanged), the element, and the certificate.

    Raises:
      TypeError: what is not a network, or a parameter that is not an array.
      ValueError: parameters that do not fit the spec or are not finite; an unknown
        form, one without its canonicaliser, a certificate of a decoded network, or a
        canonicaliser that was trained for another symmetry or other layer sizes. What
        a spec does not say (an output offset, ReLU or leaky ReLU) is not checked.

    Example:
      >>> from symmerge_jax import networks
      >>> network = networks.siren((2, 8, 1))
      >>> params = network.init(jax.random.key(0))
      >>> twins = symmetry.sample_orbit(jax.random.key(1), params, network.spec, 5)
      >>> forms = canonicalize(twins, network).params
      >>> bool((forms["dense_0"]["kernel"] == forms["dense_0"]["kernel"][:1]).all())
      True
    """
    spec = symmetry.spec_of(network)
    opened = symmetry.open_networks({"params": params}, spec)
    [given] = opened.params
    num_batch_axes = len(opened.batch_shape)
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}.")
    if form == "closed":
        if canonicalizer is not None:
            raise ValueError(
                "The closed form reads no canonicalizer: pass form='template' or"
                " 'decoded', or omit it."
            )
    else:
        _check_canonicalizer(form, canonicalizer, spec)
    if form == "decoded":
        if (apply, inputs, tolerance) != (None, None, None):
            raise ValueError(
                "A decoded network has approximately the same function, of which there"
                " is no certificate: omit apply, inputs and tolerance, or pass"
                " form='template'."
            )
        assert canonicalizer is not None
        decoded = canonicalizer.reconstruct(given)
        whole = symmetry.rebuild(params, symmetry.flatten(decoded))
        return Canonical(whole, None, None)
    proof = _verbs.prepare_proof("canonicalize", network, apply, inputs, tolerance)
    proof.check(params)
    program = _compiled(_to_closed_form, opened.spec, num_batch_axes)
    exact, element = programs.call(program, given, given)
    if canonicalizer is not None:
        exact, element = _match(exact, element, opened.spec, canonicalizer)
    # Integers move with the neurons; what else is carried along stays where it was.
    whole = symmetry.move_carried(element, params, spec, num_batch_axes)
    whole = symmetry.rebuild(whole, symmetry.flatten(exact))
    if not symmetry.is_traced((params, exact)):
        _verbs.check_representable("The canonical form", whole)
    certificate = proof.certify("The canonical form", params, whole)
    return Canonical(whole, element, certificate)


def _check_canonicalizer(
    form: str,
    canonicalizer: autoencoders.Canonicalizer | None,
    spec: symmetry.SymmetrySpec,
) -> None:
    if canonicalizer is None:
        raise ValueError(
            f"form={form!r} needs a canonicalizer, as load_canonicalizer returns: pass"
            " one, or form='closed'."
        )
    if canonicalizer.spec != spec:
        raise ValueError(
            "The canonicalizer was trained for another symmetry: its spaces are"
            f" {canonicalizer.spec.spaces}, the network's {spec.spaces}."
        )


def _match(
    form: Params,
    element: symmetry.GroupElement,
    spec: symmetry.SymmetrySpec,
    canonicalizer: autoencoders.Canonicalizer,
) -> Any:
    """Move closed forms onto what they are decoded to; compose the elements."""
    single = jax.tree.map(lambda x: np.asarray(x, np.float32), form)
    template = canonicalizer.reconstruct(single)
    program = _compiled(_to_template, spec, len(spec.batch_shape(form)))
    return programs.call(program, form, form, element, template)


def _to_closed_form(params: Params, *, spec: symmetry.SymmetrySpec):
    folded = symmetry.fold_phases(_verbs.widen(params), spec)
    element = symmetry.canonical_element(folded, spec)
    form = symmetry.act(element, folded, spec)
    return _verbs.narrow(form, params), element


def _to_template(
    form: Params,
    element: symmetry.GroupElement,
    template: Params,
    *,
    spec: symmetry.SymmetrySpec,
):
    template = symmetry.rebuild(form, symmetry.flatten(template))
    template = symmetry.fold_phases(_verbs.narrow(template, form), spec)
    template = symmetry.act(symmetry.balance_scales(template, spec), template, spec)
    problem = alignment.AlignmentProblem(params_a=template, params_b=form, spec=spec)
    # Sweeps would bring the two closer, but each one spreads what noise does to some
    # neurons over all of them: twins with noise get one order less often.
    solver = alignment.WeightMatching(starts=("outward",), max_sweeps=0)
    found = solver(jax.random.key(0), problem).element
    found = symmetry.unit_scales(found, spec)  # both are balanced, up to rounding
    return symmetry.act(found, form, spec), symmetry.compose(found, element, spec)


@functools.lru_cache(maxsize=32)
def _compiled(function, spec: symmetry.SymmetrySpec, num_batch_axes: int):
    """Return the compiled function for arguments with this many leading axes."""
    return programs.batched(functools.partial(function, spec=spec), num_batch_axes)
