import functools
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from symmerge_jax import networks, zoo
from symmerge_jax.zoo import _chunks

SMALL = {"kind": "siren", "layer_sizes": [2, 6, 1]}
OPTIONS = zoo.SirenOptions(num_steps=6, stride=2)
NUM_IMAGES = 5


def test_a_worker_for_each_core_that_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 5})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    cpu = jax.devices("cpu")[0]
    assert _chunks.num_workers([cpu]) == 3
    assert _chunks.num_workers([cpu, cpu]) == 1


@pytest.fixture(scope="module")
def image_set():
    return zoo.load_images("digits", "all", num_images=NUM_IMAGES)


def generate(image_set, **changes):
    arguments = {
        "seed": 3,
        "architecture": SMALL,
        "options": OPTIONS,
        "fits_per_image": 2,
        "chunk_size": 4,
        **changes,
    }
    return zoo.generate_siren_zoo(image_set, **arguments)


def assert_same_weights(a, b):
    jax.tree.map(np.testing.assert_array_equal, dict(a.params), dict(b.params))


def test_zoo_tells_what_each_network_was_fitted_to(image_set):
    calls = []
    made = generate(image_set, on_chunk=lambda *call: calls.append(call))
    assert len(made) == 10
    np.testing.assert_array_equal(made.image_row, np.repeat(np.arange(5), 2))
    np.testing.assert_array_equal(made.labels, np.repeat(image_set.labels, 2))
    np.testing.assert_array_equal(made.images, image_set.images)
    assert made.subsets == ("digits/all",)
    assert made.provenance["seed"] == 3
    assert [call[:2] for call in calls] == [(0, 10), (4, 10), (8, 10), (10, 10)] or (
        calls[-1][0] == 10  # the last, smaller chunk may be ready earlier
    )
    assert "psnr" in calls[-1][2] and calls[0][2] == {}


def test_a_zoo_of_both_splits_has_two_subsets(image_set):
    both = image_set._replace(name="digits/all", num_train=3)
    made = generate(both)
    assert made.subsets == ("digits/train", "digits/test")
    np.testing.assert_array_equal(made.subset_index, [0] * 6 + [1] * 4)
    np.testing.assert_array_equal(made.image_index, [0, 0, 1, 1, 2, 2, 0, 0, 1, 1])
    np.testing.assert_array_equal(made.image_row, np.repeat(np.arange(5), 2))


def test_fits_of_one_image_start_apart(image_set):
    kernel = generate(image_set).params["dense_0"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01


def test_chunk_size_does_not_change_the_networks(image_set):
    assert_same_weights(generate(image_set), generate(image_set, chunk_size=12))


def test_another_seed_gives_other_networks(image_set):
    one = generate(image_set).params["dense_0"]["kernel"]
    two = generate(image_set, seed=4).params["dense_0"]["kernel"]
    assert np.abs(one - two).max() > 0.01


def test_interrupted_zoo_is_resumed_bit_for_bit(image_set, tmp_path):
    class Killed(Exception):
        pass

    def kill(done, total, stats):
        if done:
            raise Killed

    parts = tmp_path / "parts"
    with pytest.raises(Killed):
        generate(image_set, parts_dir=parts, on_chunk=kill)
    kept = list(parts.glob("*.safetensors"))
    assert len(kept) == 1
    written = kept[0].stat().st_mtime_ns
    calls = []
    resumed = generate(
        image_set, parts_dir=parts, on_chunk=lambda *call: calls.append(call)
    )
    assert calls[0][0] in (2, 4)
    assert kept[0].stat().st_mtime_ns == written
    assert_same_weights(resumed, generate(image_set))
    np.testing.assert_array_equal(
        resumed.metrics["psnr"], generate(image_set).metrics["psnr"]
    )


def test_parts_of_another_zoo_are_refused_and_damaged_ones_made_again(
    image_set, tmp_path, caplog
):
    made = generate(image_set, parts_dir=tmp_path)
    with pytest.raises(ValueError, match="parts of another zoo"):
        generate(image_set, parts_dir=tmp_path, seed=4)
    file = tmp_path / "00000004.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    assert_same_weights(generate(image_set, parts_dir=tmp_path), made)
    assert "00000004.safetensors' is truncated or damaged" in caplog.text
    assert file.read_bytes() == content


def test_load_or_fit_makes_the_file_once(image_set, tmp_path):
    path = tmp_path / "a.zoo"
    arguments = {"seed": 3, "architecture": SMALL, "options": OPTIONS}
    made = zoo.load_or_fit_sirens(path, image_set, **arguments)
    written = path.stat().st_mtime_ns
    assert_same_weights(made, zoo.load_or_fit_sirens(path, image_set, **arguments))
    assert path.stat().st_mtime_ns == written
    assert [p.name for p in tmp_path.iterdir()] == ["a.zoo"]
    with pytest.raises(ValueError, match="seed is 3, wanted 0"):
        zoo.load_or_fit_sirens(path, image_set, architecture=SMALL, options=OPTIONS)


def test_uint8_images_are_scaled(image_set):
    pixels = np.rint(image_set.images * 255).astype(np.uint8)
    made = generate(zoo.ImageSet(pixels, image_set.labels, "a"))
    scaled = zoo.ImageSet(networks.to_unit_range(pixels), image_set.labels, "a")
    assert_same_weights(made, generate(scaled))
    assert made.images.dtype == np.uint8


@pytest.mark.slow
def test_digits_reach_the_psnr_of_their_config():
    made = zoo.generate_siren_zoo(
        zoo.load_images("digits", "all", num_images=32),
        options=zoo.SirenOptions(num_steps=40, stride=1, output_ridge=None),
    )
    assert made.metrics["psnr"].mean() > 26


@pytest.fixture(scope="module")
def waves():
    return zoo.load_images("waves", "all", num_images=3, size=40)


SIGNALS = {"kind": "siren", "layer_sizes": [1, 6, 1], "first_w0": 90.0}


def test_signals_are_fitted_by_networks_with_one_input(waves, tmp_path):
    class Killed(Exception):
        pass

    def kill(done, total, stats):
        if done:
            raise Killed

    path = tmp_path / "a.zoo"
    arguments = {
        "architecture": SIGNALS,
        "options": zoo.SirenOptions(num_steps=50, target_psnr=20.0, check_every=10),
        "fits_per_image": 2,
        "chunk_size": 4,
    }
    with pytest.raises(Killed):
        zoo.load_or_fit_sirens(path, waves, on_chunk=kill, **arguments)
    made = zoo.load_or_fit_sirens(path, waves, **arguments)
    assert_same_weights(made, zoo.generate_siren_zoo(waves, **arguments))
    assert len(made) == 6 and made.images.dtype == np.float32
    np.testing.assert_array_equal(made.images, waves.images)
    psnr, stopped = made.metrics["psnr"], made.metrics["num_steps"] < 50
    assert stopped.any() and (psnr[stopped] >= 20).all()
    assert (psnr[made.labels == 0] > 20).all()  # half a period; a flat line has 9 dB
    network = networks.build(SIGNALS)
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    drawn = jax.jit(jax.vmap(lambda params: network.apply(params, x)))(made.params)
    wanted = waves.images[made.image_row].reshape(6, 40, 1)
    mse = np.mean((np.asarray(drawn) - wanted) ** 2, axis=(1, 2))
    np.testing.assert_allclose(psnr, -10 * np.log10(mse), atol=0.01)
    assert "3x1x40 float32 stored" in zoo.summary(made)


def test_bad_requests_are_refused(image_set, waves):
    for message, changes in [
        ("at least one hidden", {"architecture": {**SMALL, "layer_sizes": [2, 1]}}),
        (r"\[2, ..., 1\]", {"architecture": {**SMALL, "layer_sizes": [3, 4, 1]}}),
        ("SIREN", {"architecture": {"kind": "mlp", "layer_sizes": [2, 4, 1]}}),
        ("fits_per_image", {"fits_per_image": 0}),
        ("diverged", {"options": zoo.SirenOptions(learning_rate=1e30)}),
    ]:
        with pytest.raises(ValueError, match=message):
            generate(image_set, **changes)
    with pytest.raises(ValueError, match=r"\(1, 40\) pixels .* \[1, ..., 1\]"):
        generate(waves)
    with pytest.raises(ValueError, match=r"\(8, 8\) pixels .* \[2, ..., 1\]"):
        generate(image_set, architecture=SIGNALS)
    with pytest.raises(ValueError, match="zero"):
        generate(zoo.ImageSet(image_set.images[:0], image_set.labels[:0], "none"))


SHARDED = """
import jax, sys
from symmerge_jax import zoo
assert jax.device_count() == 2
images = zoo.load_images("digits", "all", num_images=5)
options = zoo.SirenOptions(num_steps=6, stride=2)
made = zoo.generate_siren_zoo(
    images, seed=3, architecture={"kind": "siren", "layer_sizes": [2, 6, 1]},
    options=options, fits_per_image=2, chunk_size=4)
zoo.save(sys.argv[1], made)
"""


@pytest.mark.slow
def test_two_devices_make_the_zoo_of_one(image_set, tmp_path, two_devices):
    path = tmp_path / "a.zoo"
    environment = two_devices | {
        "PYTHONPATH": str(pathlib.Path(zoo.__file__).parents[2])
    }
    subprocess.run(
        [sys.executable, "-c", SHARDED, str(path)], env=environment, check=True
    )
    # Two processes may compile the same sums in another order: equal up to rounding.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-6),
        dict(zoo.load(path).params),
        dict(generate(image_set).params),
    )


def test_a_zoo_that_another_process_makes_is_left_to_it(
    image_set, tmp_path, monkeypatch
):
    def acquire(path, works_on):
        raise ValueError(f"another process (pid 7) works in '{works_on}': {path.name}")

    monkeypatch.setattr("symmerge_jax.files._lock._acquire", acquire)
    with pytest.raises(ValueError, match=r"pid 7\) works in '.*a\.zoo': \.a\.zoo\.loc"):
        zoo.load_or_fit_sirens(tmp_path / "a.zoo", image_set, options=OPTIONS)
    assert not list(tmp_path.iterdir())
