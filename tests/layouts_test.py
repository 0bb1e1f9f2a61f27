"""Laws of networks whose array axes run over several spaces, or over some twice."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import alignment, symmetry
from symmerge_jax.symmetry import Axis, Blocks, Group, Space
from symmerge_jax.typing import Task

IN, OUT = Space("in", Group.TRIVIAL), Space("out", Group.TRIVIAL)


class Case(NamedTuple):
    spec: symmetry.SymmetrySpec
    apply: object
    params: dict
    x: np.ndarray


def attention():
    """One block without biases: heads, over them what is compared and what is sent.

    A value dimension is linear, so that it has signs, and scales that follow them.
    """
    query = Blocks(((Axis("heads", 1), Axis("compared", 1)),))
    key = Blocks(((Axis("heads", 1), Axis("compared", -1)),))
    scaled = (("sent.scale", 1),)
    sent = Blocks(((Axis("heads", 1), Axis("sent", 1, also=scaled)),))
    back = (("sent.scale", -1),)
    received = Blocks(((Axis("heads", -1), Axis("sent", -1, also=back)),))
    spec = symmetry.SymmetrySpec.create(
        {
            "stem": (Axis("in", -1), Axis("stream")),
            "query": (Axis("stream", -1), query),
            "key": (Axis("stream", -1), key),
            "value": (Axis("stream", -1), sent),
            "project": (received, Axis("stream")),
            "head": (Axis("stream", -1), Axis("out")),
        },
        [
            IN,
            Space("stream", Group.PERMUTATION),
            Space("heads", Group.PERMUTATION, size=3),
            Space("compared", Group.SIGN, size=4, over=("heads",)),
            Space("sent", Group.SIGN, size=2, over=("heads",)),
            Space("sent.scale", Group.SCALE, follows="sent", over=("heads",)),
            OUT,
        ],
    )

    def apply(params, x):
        y = x @ params["stem"]
        q, k, v = (
            (y @ params[name]).reshape(*y.shape[:2], 3, -1)
            for name in ("query", "key", "value")
        )
        weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
        z = jnp.einsum("bhts,bshd->bthd", weights, v).reshape(*y.shape[:2], -1)
        return (y + z @ params["project"]) @ params["head"]

    shapes = dict(stem=(3, 5), query=(5, 12), key=(5, 12), value=(5, 6), project=(6, 5))
    return spec, apply, shapes | dict(head=(5, 2)), (2, 4, 3)


def recurrent():
    """One space on both axes of a kernel, four gates in one array."""
    spec = symmetry.SymmetrySpec.create(
        {
            "read": (Axis("in", -1), Axis("cell", repeat=2)),
            "recur": (Axis("cell", -1), Axis("cell", repeat=2)),
            "head": (Axis("cell", -1), Axis("out")),
        },
        [IN, Space("cell", Group.PERMUTATION), OUT],
    )

    def apply(params, x):
        def step(h, x):
            gate, new = jnp.split(x @ params["read"] + h @ params["recur"], 2, -1)
            return jax.nn.sigmoid(gate) * jnp.tanh(new), None

        h = jnp.zeros((len(x), 4), x.dtype)
        return jax.lax.scan(step, h, x.swapaxes(0, 1))[0] @ params["head"]

    return spec, apply, dict(read=(3, 8), recur=(4, 8), head=(4, 2)), (5, 6, 3)


def concatenated():
    """Two branches side by side, and flattened over two places."""
    both = Blocks(((Axis("left", -1),), (2, Axis("right", -1))))
    spec = symmetry.SymmetrySpec.create(
        {
            "left": (Axis("in", -1), Axis("left")),
            "right": (Axis("in", -1), Axis("right")),
            "head": (both, Axis("out")),
        },
        [IN, Space("left", Group.SIGN), Space("right", Group.SCALE), OUT],
    )

    def apply(params, x):
        right = jax.nn.relu(x @ params["right"])
        last = [jnp.tanh(x[:, 0] @ params["left"]), right.reshape(len(x), -1)]
        return jnp.concatenate(last, 1) @ params["head"]

    return spec, apply, dict(left=(3, 5), right=(3, 4), head=(13, 2)), (6, 2, 3)


def stacked():
    """Scanned layers with a norm each, whose scales are another group of the stream."""
    follows = (("gain", 1),)
    reads = Axis("stream", -1, also=(("gain", -1),))
    spec = symmetry.SymmetrySpec.create(
        {
            "stem": (Axis("in", -1), Axis("stream")),
            "norm": (Axis("layers", 0), Axis("stream", 1, also=follows)),
            "read": (Axis("layers", 0), reads, Axis("hidden")),
            "write": (Axis("layers", 0), Axis("hidden", -1), Axis("stream")),
            "head": (Axis("stream", -1), Axis("out")),
        },
        [
            IN,
            Space("layers", Group.TRIVIAL),
            Space("stream", Group.PERMUTATION),
            Space("gain", Group.SCALE, follows="stream", over=("layers",)),
            Space("hidden", Group.SCALE, over=("layers",)),
            OUT,
        ],
    )

    def apply(params, x):
        def layer(x, layer):
            norm, read, write = layer
            y = x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-3) * norm[None]
            return x + jax.nn.relu(y @ read) @ write, None

        layers = params["norm"], params["read"], params["write"]
        return jax.lax.scan(layer, x @ params["stem"], layers)[0] @ params["head"]

    shapes = dict(stem=(3, 4), norm=(2, 4), read=(2, 4, 6), write=(2, 6, 4))
    return spec, apply, shapes | dict(head=(4, 2)), (5, 3)


CASES = [attention, recurrent, concatenated, stacked]


@functools.cache
def make(build):
    spec, apply, shapes, x_shape = build()
    random = np.random.default_rng(1)
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    if "norm" in params:
        params["norm"] = np.exp(params["norm"])
    return Case(spec, apply, params, random.normal(size=x_shape))


@pytest.fixture(params=CASES, ids=lambda build: build.__name__)
def case(request):
    with jax.enable_x64(True):
        yield make(request.param)


@functools.cache
def compiled(function, spec):
    return jax.jit(functools.partial(function, spec=spec))


@functools.cache
def sampler(spec, sizes):
    return jax.jit(functools.partial(symmetry.sample, spec=spec, sizes=dict(sizes)))


def act(case, element, params):
    return compiled(symmetry.act, case.spec)(element, params)


def elements(case, num):
    sample = sampler(case.spec, tuple(case.spec.sizes(case.params).items()))
    return [sample(key) for key in jax.random.split(jax.random.key(2), num)]


def assert_close(got, expected, rtol=1e-12):
    chex.assert_trees_all_close(got, expected, rtol=rtol, atol=1e-13)


def test_elements_keep_the_function(case):
    [element] = elements(case, 1)
    moved = act(case, element, case.params)
    assert any(np.any(np.asarray(moved[name]) != x) for name, x in case.params.items())
    assert_close(case.apply(moved, case.x), case.apply(case.params, case.x))


def test_composition_and_inverse_are_those_of_the_action(case):
    g, h = elements(case, 2)
    compose = compiled(symmetry.compose, case.spec)
    inverse = compiled(symmetry.inverse, case.spec)
    h_moved = act(case, h, case.params)
    both = act(case, compose(g, h), case.params)
    assert_close(both, act(case, g, h_moved))
    assert_close(act(case, inverse(h), h_moved), case.params)
    without = {name: g[name] for name in list(g)[:1]}  # one moves what lies over it
    both = act(case, compose(without, h), case.params)
    assert_close(both, act(case, without, h_moved))


def test_the_canonical_form_is_one_for_the_orbit_and_keeps_the_function(case):
    twins = [act(case, element, case.params) for element in elements(case, 3)]
    form = jax.jit(jax.vmap(functools.partial(symmetry.canonical_form, spec=case.spec)))
    orbit = jax.tree.map(lambda *x: np.stack(x), case.params, *twins)
    forms = form(orbit)
    own = symmetry.rows(forms, 0)
    for found in (forms, form(forms)):
        for row in range(4):
            assert_close(symmetry.rows(found, row), own, rtol=1e-9)
    assert_close(case.apply(own, case.x), case.apply(case.params, case.x), rtol=1e-9)


def test_atoms_are_a_view(case):
    view = symmetry.atoms_of(case.spec, case.params)
    batch = jax.tree.map(lambda x: np.stack([x, 2 * x]), case.params)
    atoms = view.view(batch, 1)
    assert not view.spec.has_blocks
    assert view.spec.sizes(atoms, 1) == case.spec.sizes(case.params)
    chex.assert_trees_all_equal(view.undo(atoms, batch, 1), batch)


def features(build, params, x):
    """Values of the spaces; of what is compared, queries that keys cannot turn."""
    if build is concatenated:
        right = jax.nn.relu(x @ params["right"])
        return {"left": jnp.tanh(x[:, 0] @ params["left"]), "right": right}
    stream = x @ params["stem"]
    if build is attention:
        heads = (*x.shape[:-1], 3, -1)
        q, k, v = (
            (stream @ params[name]).reshape(heads) for name in ("query", "key", "value")
        )
        return {"stream": stream, "compared": q + k, "sent": v}
    hidden = [
        jax.nn.relu(stream @ read)
        for read in params["read"] * params["norm"][:, :, None]
    ]
    return {"stream": stream, "hidden": jnp.stack(hidden, 1)}


SOLVERS = {
    "weight_matching": (alignment.WeightMatching(num_random_starts=4), CASES),
    "activation_matching": (
        alignment.ActivationMatching(),
        [attention, concatenated, stacked],
    ),
    "frank_wolfe": (alignment.FrankWolfe(), [recurrent, concatenated]),
}


@pytest.mark.parametrize(
    ("solver", "build"),
    [(name, build) for name, (_, builds) in SOLVERS.items() for build in builds],
)
def test_solvers_recover_twins(solver, build):
    with jax.enable_x64(True):
        case = make(build)
        [element] = elements(case, 1)
        twin = act(case, element, case.params)
        task = symmetry_task(build, case) if solver == "activation_matching" else Task()
        problem = alignment.AlignmentProblem(
            params_a=jax.tree.map(jnp.asarray, case.params),
            params_b=twin,
            spec=case.spec,
            task=task,
        )
        aligner, _ = SOLVERS[solver]
        # By numpy; that it is the same compiled is shown by `stored_test.py`.
        is_host = solver == "weight_matching" and build is attention
        found = (aligner if is_host else jax.jit(aligner))(jax.random.key(0), problem)
        back = act(case, found.element, twin)
        # Positive scales come from balance, which is a fixed point.
        assert_close(back, case.params, rtol=1e-7)


def symmetry_task(build, case):
    return Task(data=case.x, features_fn=functools.partial(features, build))


def test_solvers_that_relax_refuse_spaces_over_others():
    case = make(attention)
    problem = alignment.AlignmentProblem(
        params_a=case.params, params_b=case.params, spec=case.spec
    )
    with pytest.raises(ValueError, match=r"FrankWolfe does not support .*'compared'"):
        alignment.FrankWolfe()(jax.random.key(0), problem)


def test_sizes_that_no_plain_axis_tells_must_be_given():
    spec, *_ = attention()
    spaces = [
        Space(s.name, s.group, over=s.over, follows=s.follows) for s in spec.spaces
    ]
    params = make(attention).params
    with pytest.raises(ValueError, match=r"'key' does not tell.*Space\('heads'.*size"):
        symmetry.SymmetrySpec(spec.axes, tuple(spaces)).sizes(params)
    with pytest.raises(
        ValueError, match=r"'key': axis of length 10 over heads \* comp"
    ):
        spec.sizes(params | {"key": np.zeros((5, 10))})
