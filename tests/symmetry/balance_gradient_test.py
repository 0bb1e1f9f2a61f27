"""Gradients through balanced scales, and forms where only kept weights tell apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symmerge_jax
from symmerge_jax import symmetry
from tests.alignment import pairs


def spoiled():
    """Has equal neurons, dead ones, and one that nothing reads."""
    params = pairs.spoil(pairs.make_params("relu", 0))
    params["dense_1"]["kernel"][6] = 0
    return params


@pytest.mark.parametrize("make", [lambda: pairs.make_params("relu", 0), spoiled])
def test_gradient_of_balanced_scales_is_that_of_differences(make):
    network, target = pairs.make_network("relu"), pairs.make_params("relu", 1)
    with jax.enable_x64(True):
        params, target = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64), (make(), target)
        )

        @jax.jit
        def loss(params):
            form = symmetry.act(
                symmetry.balance_scales(params, network.spec), params, network.spec
            )
            return sum(
                jnp.vdot(x, y)
                for x, y in zip(
                    jax.tree.leaves(form), jax.tree.leaves(target), strict=True
                )
            )

        gradient = jax.jit(jax.grad(loss))(params)
        for layer, key, index in [
            ("dense_0", "kernel", (0, 2)),
            ("dense_0", "kernel", (1, 6)),
            ("dense_0", "bias", (0,)),
            ("dense_1", "kernel", (2, 3)),
            ("dense_2", "kernel", (4, 1)),
        ]:
            step = jnp.zeros_like(params[layer][key]).at[index].set(1e-6)
            values = [
                loss({**params, layer: {**params[layer], key: x}})
                for x in (params[layer][key] + step, params[layer][key] - step)
            ]
            expected = (values[0] - values[1]) / 2e-6
            np.testing.assert_allclose(gradient[layer][key][index], expected, rtol=1e-5)


def test_gradient_passes_align_merge_and_canonicalize():
    spec = pairs.make_network("small_relu").spec
    a, b = (
        jax.tree.map(jnp.asarray, pairs.make_params("small_relu", seed))
        for seed in (0, 1)
    )

    def total(params):
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(params))

    for function in (
        lambda b: symmerge_jax.align(a, b, spec).params,
        lambda b: symmerge_jax.merge([a, b], spec).params,
        lambda b: symmerge_jax.canonicalize(b, spec).params,
        lambda b: symmetry.canonical_distance(a, b, spec),
    ):
        found = jax.jit(jax.grad(lambda b, f=function: total(f(b))))(b)
        leaves = jax.tree.leaves(found)
        assert all(jnp.all(jnp.isfinite(x)) for x in leaves)
        assert any(jnp.any(x != 0) for x in leaves)


def kept_spec():
    axis, space, group = symmetry.Axis, symmetry.Space, symmetry.Group
    return symmetry.SymmetrySpec.create(
        {
            "kernel": (axis("in", -1), axis("hidden", 0)),
            "scale": (axis("hidden"),),
            "readout": (axis("hidden", -1), axis("out")),
        },
        [
            space("in", group.TRIVIAL),
            space("hidden", group.SCALE),
            space("out", group.TRIVIAL),
        ],
    )


@pytest.mark.parametrize("dead", [False, True])
def test_kept_weights_order_neurons_that_nothing_else_tells_apart(dead):
    spec, generator = kept_spec(), np.random.default_rng(0)
    params = {
        "kernel": generator.normal(size=(4, 8)).astype(np.float32),
        "scale": np.full(8, 0.0 if dead else 1.0, np.float32),
        "readout": np.full((8, 3), 0.3, np.float32),
    }
    canonical_form = jax.jit(lambda params: symmetry.canonical_form(params, spec))
    form = canonical_form(params)
    for seed in range(5):
        element = pairs.draw_element(
            spec, spec.sizes(params), np.random.default_rng(seed)
        )
        twin = symmetry.act(element, params, spec)
        found = canonical_form(twin)
        np.testing.assert_array_equal(found["kernel"], form["kernel"])


def test_space_that_is_only_kept_has_a_form():
    axis, space, group = symmetry.Axis, symmetry.Space, symmetry.Group
    spec = symmetry.SymmetrySpec.create(
        {"kernel": (axis("in", -1), axis("heads", 0), None)},
        [space("in", group.TRIVIAL), space("heads", group.PERMUTATION)],
    )
    kernel = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    form = symmerge_jax.canonicalize({"kernel": kernel}, spec).params
    twin = {"kernel": kernel[:, [3, 1, 0, 2, 5, 4]]}
    found = symmerge_jax.canonicalize(twin, spec).params
    np.testing.assert_array_equal(found["kernel"], form["kernel"])
    assert sorted(form["kernel"][0, :, 0]) == sorted(kernel[0, :, 0])
