import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import merging

A, B = {"w": jnp.array([-1.0, 0.0])}, {"w": jnp.array([1.0, 2.0])}


def hill(params):
    return -jnp.sum(params["w"] ** 2)


def bowl(params):
    return jnp.sum(params["w"] ** 2)


def test_a_hill_has_the_barrier_of_the_formula():
    result = merging.loss_barrier(A, B, hill, num_points=101)
    lams = np.linspace(0, 1, 101)
    np.testing.assert_allclose(result.lams, lams, atol=1e-6)
    losses = -((2 * lams - 1) ** 2) - (2 * lams) ** 2
    np.testing.assert_allclose(result.losses, losses, atol=1e-5)
    # psi = |b - a|^2 lam (1 - lam) with |b - a|^2 = 8: maximum 2, integral 8 / 6.
    np.testing.assert_allclose(result.barrier, 2, rtol=1e-5)
    np.testing.assert_allclose(result.auc, 8 / 6, rtol=1e-3)


def test_a_bowl_has_no_barrier_and_a_negative_area():
    result = merging.loss_barrier(A, B, bowl, num_points=101)
    assert result.barrier == 0
    np.testing.assert_allclose(result.auc, -8 / 6, rtol=1e-3)


def test_the_barrier_is_measured_from_the_line_between_the_ends():
    slope = lambda params: 100 * params["w"][0]  # noqa: E731
    result = merging.loss_barrier(A, B, slope)
    assert 0 <= result.barrier < 1e-4 and abs(result.auc) < 1e-4
    assert result.losses.shape == (25,)


@pytest.mark.parametrize(
    "batch_size", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 1000))]
)
def test_a_batch_of_pairs_is_each_pair(batch_size):
    generator = np.random.default_rng(0)
    pairs = generator.normal(size=(2, 3, 2, 5)).astype(np.float32)
    a, b = ({"w": jnp.asarray(x)} for x in pairs)
    batch = merging.loss_barrier(
        a, b, hill, num_points=5, num_batch_axes=2, batch_size=batch_size
    )
    assert batch.losses.shape == (3, 2, 5) and batch.auc.shape == (3, 2)
    for index in np.ndindex(3, 2):
        one = merging.loss_barrier(
            {"w": a["w"][index]}, {"w": b["w"][index]}, hill, num_points=5
        )
        np.testing.assert_allclose(batch.losses[index], one.losses, rtol=1e-5)
        np.testing.assert_allclose(batch.barrier[index], one.barrier, rtol=1e-4)
        np.testing.assert_allclose(batch.auc[index], one.auc, rtol=1e-4)


def test_data_trees_of_losses_and_the_spherical_path():
    def losses(params, data):
        return {"mse": jnp.mean((params["w"] - data) ** 2), "size": bowl(params)}

    a, b = {"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([0.0, 1.0])}
    data = jnp.array([3.0, 4.0])
    result = merging.loss_barrier(
        a, b, losses, num_points=5, data=data, method="spherical"
    )
    np.testing.assert_allclose(result.losses["size"], np.ones(5), rtol=1e-6)
    np.testing.assert_allclose(result.losses["mse"][0], (4 + 16) / 2)
    assert result.barrier["size"] < 1e-6 and result.barrier.keys() == {"mse", "size"}


def test_the_program_is_compiled_once_and_works_inside_jit():
    # Each call traces it to see what it computes, and the first one to compile it.
    counted = chex.assert_max_traces(hill, n=3)
    first = merging.loss_barrier(A, B, counted, num_points=5)
    merging.loss_barrier(B, A, counted, num_points=5)
    with pytest.raises(AssertionError, match="traced > 3 times"):
        merging.loss_barrier(B, A, counted, num_points=5)

    @jax.jit
    def outer(a, b):
        return merging.loss_barrier(a, b, hill, num_points=5).barrier

    np.testing.assert_allclose(outer(A, B), first.barrier)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 2}, "num_points must be >= 3"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"method": "cubic"}, "Unknown method 'cubic'"),
        (
            {"num_batch_axes": 2},
            r"do not share 2 leading axes: their shapes are \[\(2,",
        ),
        ({"loss_fn": lambda params: params["w"]}, r"a scalar; got shape \(2,\)"),
        ({"params_b": {"v": jnp.ones(2)}}, r"missing \['w'\], unknown \['v'\]"),
        (
            {"params_b": {"w": jnp.array([0, jnp.nan])}},
            "params_b: Parameter 'w' is not",
        ),
        (
            {"loss_fn": lambda params: jnp.sum(jnp.ones(3) @ params["w"])},
            "fails for a single network .* share a leading axis of 2.* pass network=",
        ),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    arguments = {"loss_fn": hill, "params_a": A, "params_b": B, **options}
    with pytest.raises(ValueError, match=message):
        merging.loss_barrier(**arguments)


def test_an_empty_batch_is_refused():
    empty = {"w": jnp.zeros((0, 2))}
    with pytest.raises(ValueError, match="zero networks"):
        merging.loss_barrier(empty, empty, hill, num_batch_axes=1)
