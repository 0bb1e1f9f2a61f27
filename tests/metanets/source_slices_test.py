import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import graphs, metanets, networks
from symmerge_jax.metanets import _source_slices
from tests.metanets import cases


@pytest.mark.parametrize(
    ("group", "limit"),
    [("relu", 0), ("siren", 2 * 5 * 4 * 2)],
    ids=["one", "two-and-a-rest"],
)
@pytest.mark.slow
def test_slices_change_neither_latents_nor_gradients(key, monkeypatch, group, limit):
    sizes = (2, 7, 5, 1)
    network = networks.siren(sizes) if group == "siren" else networks.mlp(sizes)
    shapes = jax.eval_shape(network.init, key)
    topology = graphs.topology(network.spec, shapes)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(0.1 * random.normal(size=(2, *x.shape)), x.dtype), shapes
    )
    encoder = metanets.ScaleGMN(topology, width=4, num_layers=1, num_io_mlps=1)
    graph = graphs.params_to_graph(params, topology)
    variables = cases.make_variables(encoder, graph)

    def total(variables, edges):
        latents = encoder.apply(variables, graph._replace(edges=edges))
        return jnp.sum(latents**2), latents

    def both():
        # A function of its own, as the limits are read when it is traced.
        gradient = jax.jit(
            jax.value_and_grad(lambda *x: total(*x), argnums=(0, 1), has_aux=True)
        )
        return gradient(variables, graph.edges)

    expected = both()
    monkeypatch.setattr(_source_slices, "LARGE", 1)
    monkeypatch.setattr(_source_slices, "slice_limit", lambda: limit)
    found = both()
    for name, (new, old) in {
        "value": (found[0], expected[0]),
        "gradient": (found[1], expected[1]),
    }.items():
        jax.tree.map(
            lambda a, b, name=name: np.testing.assert_allclose(
                a, b, rtol=2e-4, atol=1e-5, err_msg=name
            ),
            new,
            old,
        )


def test_sources_are_divided_without_a_small_rest(monkeypatch):
    monkeypatch.setattr(_source_slices, "LARGE", 1)
    monkeypatch.setattr(_source_slices, "slice_limit", lambda: 40)
    edges = jnp.arange(7 * 2 * 5.0).reshape(1, 7, 2, 5)
    values = jnp.ones((1, 7, 5))
    sizes = []

    def summed(e, value):
        sizes.append(e.shape[1])
        return jnp.sum(e * value[:, :, None], axis=1)

    found = _source_slices.sum_over_sources(summed, edges, values)
    np.testing.assert_allclose(found, edges.sum(axis=1))
    assert set(sizes) <= {3, 1} and 3 in sizes
    mapped = _source_slices.map_sources(
        lambda e, v: e * v[:, :, None], edges, 2 * values
    )
    np.testing.assert_allclose(mapped, 2 * edges)
