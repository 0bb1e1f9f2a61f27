import jax
import numpy as np
import pytest

from experiments.compare import _inr_losses
from symmerge_jax import networks, testing, zoo

ARCHITECTURES = {
    "two layers": {"kind": "siren", "layer_sizes": [2, 6, 5, 1]},
    "options": {
        "kind": "siren",
        "layer_sizes": [2, 6, 1],
        "w0": 20.0,
        "first_w0": 40.0,
        "output_offset": 0.1,
    },
    "no hidden layer": {"kind": "siren", "layer_sizes": [2, 1]},
}


def random_batch(architecture, num):
    network = networks.build(architecture)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    each = [testing.random_params(jax.random.key(i), shapes) for i in range(num)]
    return network, jax.tree.map(lambda *x: np.stack(x), *each)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_renderer_is_the_network_on_the_pixel_grid(name):
    network, batch = random_batch(ARCHITECTURES[name], 1)
    params = jax.tree.map(lambda x: x[0], batch)
    render = _inr_losses.renderer(ARCHITECTURES[name], 4, 7)
    expected = network.apply(params, networks.coordinate_grid(4, 7))
    np.testing.assert_allclose(render(params), expected[:, 0], atol=1e-5)


def test_only_sirens_of_images_are_rendered():
    mlp = {"kind": "mlp", "layer_sizes": [2, 4, 1], "activation": "tanh"}
    with pytest.raises(ValueError, match="Only SIRENs"):
        _inr_losses.renderer(mlp, 4, 4)
    with pytest.raises(ValueError, match="Only SIRENs"):
        _inr_losses.renderer({"kind": "siren", "layer_sizes": [2, 4, 3]}, 4, 4)


def test_losses_along_the_path_by_hand():
    architecture = ARCHITECTURES["two layers"]
    network, batch = random_batch(architecture, 6)
    a, b = (jax.tree.map(lambda x, i=i: x[i::2], batch) for i in range(2))
    images = np.random.default_rng(0).uniform(size=(3, 4, 5)).astype(np.float32)
    found = _inr_losses.loss_curves(
        architecture, (a, b), a, 3, (4, 5), images, chunk_size=2
    )
    assert {name: curve.shape for name, curve in found.items()} == {
        "own": (3, 3),
        "image": (3, 3),
    }
    grid = networks.coordinate_grid(4, 5)
    pick = lambda params, i: jax.tree.map(lambda x: x[i], params)  # noqa: E731
    for i in range(3):
        own = network.apply(pick(a, i), grid)[:, 0]
        for j, lam in enumerate((0.0, 0.5, 1.0)):
            point = jax.tree.map(
                lambda x, y, lam=lam: (1 - lam) * x + lam * y, pick(a, i), pick(b, i)
            )
            y = network.apply(point, grid)[:, 0]
            np.testing.assert_allclose(
                [found["own"][i, j], found["image"][i, j]],
                [((y - own) ** 2).mean(), ((y - images[i].ravel()) ** 2).mean()],
                atol=1e-5,
            )
    without = _inr_losses.loss_curves(architecture, (a, b), a, 3, (4, 5), None)
    np.testing.assert_array_equal(without["own"], found["own"])
    assert "image" not in without


def test_latents_are_decoded_on_the_path():
    architecture = ARCHITECTURES["no hidden layer"]
    _, batch = random_batch(architecture, 4)

    def decode(scale, latents):
        return jax.tree.map(
            lambda x: scale * latents.reshape(-1, *[1] * x[0].ndim) * x[:1], batch
        )

    latents = np.array([[0.0], [1.0]], np.float32), np.array([[1.0], [3.0]], np.float32)
    ends = [jax.vmap(lambda z: decode(2.0, z[None]))(z) for z in latents]
    ends = [jax.tree.map(lambda x: x[:, 0], end) for end in ends]
    images = np.zeros((2, 3, 3), np.float32)
    a = jax.tree.map(lambda x: x[:2], batch)
    directly = _inr_losses.loss_curves(architecture, tuple(ends), a, 4, (3, 3), images)
    decoded = _inr_losses.loss_curves(
        architecture, latents, a, 4, (3, 3), images, decode=decode, variables=2.0
    )
    np.testing.assert_allclose(decoded["image"], directly["image"], rtol=1e-5)


def test_a_real_network_renders_its_image(data_dir):
    inrs = zoo.import_dws(data_dir / "mnist_inrs")
    image = zoo.load_images("mnist", "test", data_dir).images[[3665]]
    params = jax.tree.map(lambda x: x[:1], inrs.params)
    found = _inr_losses.loss_curves(
        inrs.architecture,
        (params, params),
        params,
        3,
        (28, 28),
        image / np.float32(255),
    )
    np.testing.assert_allclose(found["image"], 0.0037, atol=1e-4)
    np.testing.assert_array_equal(found["own"], 0)
