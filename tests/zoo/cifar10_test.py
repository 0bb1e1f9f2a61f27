import tarfile

import numpy as np
import pooch
import pytest

from symmerge_jax import zoo


def write_batches(folder):
    generator = np.random.default_rng(0)
    batches = folder / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    rows = generator.integers(0, 256, (12, 1 + 3072)).astype(np.uint8)
    rows[:, 0] %= 10
    for number in range(5):
        (batches / f"data_batch_{number + 1}.bin").write_bytes(
            rows[2 * number : 2 * number + 2].tobytes()
        )
    (batches / "test_batch.bin").write_bytes(rows[10:].tobytes())
    return rows


def test_binary_version_becomes_the_mean_of_the_channels(tmp_path):
    rows = write_batches(tmp_path)
    train = zoo.load_images("cifar10", "train", tmp_path)
    assert train.images.shape == (10, 32, 32) and train.name == "cifar10/train"
    pixel = rows[3, 1:].reshape(3, 32, 32)[:, 4, 5].astype(float)
    assert train.images[3, 4, 5] == np.rint(pixel.mean())
    np.testing.assert_array_equal(train.labels, rows[:10, 0])
    np.testing.assert_array_equal(
        zoo.load_images("cifar10", "test", tmp_path).labels, rows[10:, 0]
    )


def test_grey_file_is_read(data_dir):
    test = zoo.load_images("cifar10", "test", data_dir, num_images=100)
    assert test.images.shape == (100, 32, 32) and test.images.dtype == np.uint8
    assert np.bincount(test.labels).tolist() == [10] * 10


def test_damage_and_absence_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="leave data_dir unset"):
        zoo.load_images("cifar10", "train", tmp_path)
    with pytest.raises(ValueError, match=r"splits .*not 'validation'"):
        zoo.load_images("cifar10", "validation", tmp_path)
    write_batches(tmp_path)
    path = tmp_path / "cifar-10-batches-bin/test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"test_batch\.bin is damaged: 6145 bytes"):
        zoo.load_images("cifar10", "test", tmp_path)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10/x.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"x\.npz is not a file of grey"):
        zoo.load_images("cifar10", "test", tmp_path)


def test_an_interrupted_unpacking_is_repeated(tmp_path, monkeypatch):
    rows = write_batches(tmp_path / "made")
    cache = tmp_path / "cache"
    cache.mkdir()
    with tarfile.open(cache / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made/cifar-10-batches-bin", "cifar-10-batches-bin")
    monkeypatch.setattr(pooch, "os_cache", lambda name: cache)
    monkeypatch.setattr(
        pooch, "retrieve", lambda url, *, fname, path, **_: path / fname
    )
    extract = tarfile.TarFile.extractfile

    def half(tar, member):
        if "test_batch" in member.name:
            raise KeyboardInterrupt
        return extract(tar, member)

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractfile", half)
        with pytest.raises(KeyboardInterrupt):
            zoo.load_images("cifar10", "test", None)
    assert [file.name for file in cache.iterdir()] == ["cifar-10-binary.tar.gz"]
    found = zoo.load_images("cifar10", "test", None)
    np.testing.assert_array_equal(found.labels, rows[10:, 0])
    assert [file.name for file in cache.iterdir()] == ["cifar-10-batches-bin"]
