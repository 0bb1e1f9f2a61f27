"""The table of methods: what every one of them owes, for pairs and for crowds."""

import jax
import numpy as np
import pytest

import symmerge_jax
from experiments.compare import _bring, _methods
from symmerge_jax import certificates, networks, symmetry, testing
from tests.experiments import cnns

IMAGES = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)
INPUTS = np.random.default_rng(0).uniform(-1, 1, (12, 5)).astype(np.float32)
DATA = {"inputs": INPUTS}
FAST = {"batch_size": 4, "eval_size": 8, "num_steps": 2, "eval_every": 1}
OPTIONS = {"sinkhorn": FAST, "straight_through": FAST}
EXACT = [
    name
    for name, method in _methods.METHODS.items()
    if method.is_exact and method.needs is None
]
CROWDS = ("matching", "merge_many", "closed_form", "activation_matching", "sinkhorn")
"""One method of each kind, for more than two networks; the others are for pairs."""


def context_of(activation, **changes):
    network = networks.mlp((5, 4, 3), activation=activation)
    task = lambda params, data: {  # noqa: E731
        "loss": (network.apply(params, data["inputs"]) ** 2).mean()
    }
    given = {"network": network, "task": task, "options": OPTIONS, "chunk_size": 2}
    return _bring.Context(**{**given, **changes})


def crowds_of(context, num, size, *, twins):
    """Return random crowds; with `twins` each has one function."""
    spec, keys = context.spec, jax.random.split(jax.random.key(0), num)
    shapes = jax.eval_shape(context.network.init, keys[0])
    if twins:
        first = [testing.random_params(key, shapes) for key in keys]
        orbits = [
            symmetry.sample_orbit(key, one, spec, size)
            for key, one in zip(keys, first, strict=True)
        ]
    else:
        orbits = [
            jax.tree.map(
                lambda *x: np.stack(x),
                *(
                    testing.random_params(k, shapes)
                    for k in jax.random.split(key, size)
                ),
            )
            for key in keys
        ]
    params = jax.tree.map(lambda *x: np.stack(x).astype(np.float32), *orbits)
    return _bring.Crowds(params=params, keys=keys, data=DATA)


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, 3 if name in CROWDS else 2) for name in EXACT],
)
@pytest.mark.slow
def test_exact_methods_keep_functions_and_say_what_has_moved(name, size):
    group = _methods.METHODS[name].groups[-1]
    context = context_of("relu" if group is symmetry.Group.SCALE else "tanh")
    crowds = crowds_of(context, 3, size, twins=False)
    found = _methods.prepare(name, context)(crowds)
    assert found.function_error.shape == (3,) and found.function_error.max() < 1e-6
    apply = jax.vmap(jax.vmap(context.network.apply, (0, None)), (0, None))
    np.testing.assert_allclose(
        apply(found.params, INPUTS), apply(crowds.params, INPUTS), rtol=1e-4, atol=1e-5
    )
    if name == "naive":
        assert found.seconds == 0 and found.elements is None
        return
    assert found.seconds > 0
    last = jax.tree.map(lambda x: x[:, found.num_fixed :], crowds.params)
    moved = _bring.move(
        _bring.flatten(last), _bring.flatten(found.elements), context.spec
    )
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(
            x[:, found.num_fixed :], y, rtol=1e-4, atol=1e-6
        ),
        found.params,
        _bring.unflatten(moved, 3),
    )
    if found.num_fixed:
        assert found.num_fixed == 1
        jax.tree.map(
            lambda x, y: np.testing.assert_array_equal(x[:, 0], y[:, 0]),
            found.params,
            crowds.params,
        )


@pytest.mark.parametrize(
    "name", ["naive", "matching_best", "merge_many", "closed_form"]
)
@pytest.mark.slow
def test_the_mean_of_twins_is_each_of_them(name):
    """Negative test too: without alignment it is not."""
    context = context_of("relu")
    crowds = crowds_of(context, 2, 3, twins=True)
    found = _methods.prepare(name, context)(crowds)
    mean = jax.tree.map(lambda x: x.mean(1), found.params)
    apply = jax.vmap(context.network.apply, (0, None))
    first = jax.tree.map(lambda x: x[:, 0], crowds.params)
    change = np.abs(apply(mean, INPUTS) - apply(first, INPUTS)).max()
    assert (change > 1e-2) if name == "naive" else (change < 1e-4)


@pytest.mark.slow
def test_a_method_that_changes_a_function_is_refused(monkeypatch):
    context = context_of("relu")

    def broken(context):
        def form(params):
            moved, elements = _bring.balanced(context)(params)
            return moved, {k: e._replace(scale=-e.scale) for k, e in elements.items()}

        return form

    method = _methods.METHODS["balanced"]
    wrong = method.__class__(
        label="wrong", style=method.style, bring=_bring.each(broken)
    )
    monkeypatch.setitem(_methods.METHODS, "wrong", wrong)
    with pytest.raises(ValueError, match="when brought to others by 'wrong'"):
        _methods.prepare("wrong", context)(crowds_of(context, 2, 2, twins=False))


@pytest.mark.slow
def test_chunks_change_nothing():
    crowds = crowds_of(context_of("tanh"), 5, 2, twins=False)
    whole, parts = (
        _methods.prepare("matching", context_of("tanh", chunk_size=size))(crowds)
        for size in (5, 2)
    )
    jax.tree.map(np.testing.assert_array_equal, whole.elements, parts.elements)


def test_wrong_options_are_refused_before_any_work():
    wrong = context_of("relu", options={"matching_best": {"max_sweeps": -1}})
    with pytest.raises(ValueError, match="max_sweeps"):
        _methods.prepare("matching_best", wrong)


def test_methods_are_chosen_by_what_there_is():
    offered = tuple(_methods.METHODS)
    spec = networks.mlp((5, 4, 3), activation="tanh").spec
    chosen = _methods.choose((), offered, spec)
    assert set(offered) - set(chosen) == {
        "balanced",
        *(n for n, m in _methods.METHODS.items() if m.needs is not None),
    }
    assert "ours_sweeps" in _methods.choose((), offered, spec, ("ours",))
    assert _methods.choose(("naive", "matching"), offered, spec) == (
        "naive",
        "matching",
    )
    for names, message in (
        (("naive", "magic"), "config.methods has 'magic', known are naive, "),
        (("naive", "naive"), "each method once"),
        (("template",), "needs canonicalizer: name the workdir"),
        (("ours",), "needs ours: add 'ours' to config.models"),
        (("balanced",), "means nothing for .* group 'sign'"),
    ):
        with pytest.raises(ValueError, match=message):
            _methods.choose(names, offered, spec)


@pytest.mark.parametrize(
    ("activation", "group"),
    [("relu", "P + scale"), ("tanh", "P + sign"), ("gelu", "P")],
)
def test_labels_tell_the_group(activation, group):
    spec = networks.mlp((5, 4, 3), activation=activation).spec
    label = _methods.label("matching_best", spec)
    assert label == f"matching {group}, best start"
    assert _methods.label("latent", spec, "probes") == "decoded latents (probes)"


def test_certificates_can_be_of_some(monkeypatch):
    seen = []
    certify = certificates.certify

    def counted(params, *args, **options):
        seen.append(symmetry.num_rows(params))
        return certify(params, *args, **options)

    monkeypatch.setattr(certificates, "certify", counted)
    context = context_of("relu", num_certified=1)
    found = _methods.prepare("balanced", context)(crowds_of(context, 3, 2, twins=False))
    assert seen == [2] and found.function_error.shape == (1,)


def test_an_autoencoder_has_its_colour_in_what_it_decodes():
    first, second = (_methods.style("latent", number) for number in (0, 1))
    assert first.dash == second.dash == _methods.style("latent").dash
    assert first.color != second.color
    colors = {_methods.encoder_color(number) for number in range(6)}
    alone = {
        _methods.style(name).color for name in ("naive", "matching", "closed_form")
    }
    assert len(colors) == 6 and not colors & alone


@pytest.mark.slow
def test_the_frame_of_a_mean_does_not_matter():
    """Aligned to a network as it is, or both balanced: the midpoint is the same."""
    network, batch = cnns.random_networks(2)
    a, b = (jax.tree.map(lambda x, i=i: x[i], batch) for i in (0, 1))
    aligned = symmerge_jax.align(a, b, network.spec).params
    in_frame_of_a = jax.tree.map(lambda x, y: (x + y) / 2, a, aligned)
    balanced = symmerge_jax.merge([a, b], network.spec).params
    proof = certificates.compare_functions(
        in_frame_of_a, balanced, network, inputs=IMAGES
    )
    assert proof.max_difference < 1e-5 * proof.output_scale
    apart = jax.tree.map(lambda x, y: np.abs(x - y).max(), in_frame_of_a, balanced)
    assert max(jax.tree.leaves(apart)) > 1e-2
