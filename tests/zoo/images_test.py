import gzip

import numpy as np
import pytest
from PIL import Image

from symmerge_jax import networks, zoo


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    raw = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture
def mnist_like(tmp_path):
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    write_idx(tmp_path / "mnist/train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "mnist/train-labels-idx1-ubyte", np.array([7, 1, 2]))
    return tmp_path


def test_digits_need_no_files():
    digits = zoo.load_images("digits", "all")
    assert digits.images.shape == (1797, 8, 8) and digits.images.dtype == np.float32
    assert digits.images.min() == 0 and digits.images.max() == 1
    np.testing.assert_array_equal(digits.labels[:4], [0, 1, 2, 3])


def test_idx_files_are_read_packed_or_not(mnist_like):
    found = zoo.load_images("mnist", "train", mnist_like, num_images=2)
    np.testing.assert_array_equal(found.images[1], np.arange(16, 32).reshape(4, 4))
    np.testing.assert_array_equal(found.labels, [7, 1])
    assert found.name == "mnist/train"


def test_both_splits_follow_each_other(mnist_like):
    write_idx(mnist_like / "mnist/t10k-images-idx3-ubyte", np.full((2, 4, 4), 9))
    write_idx(mnist_like / "mnist/t10k-labels-idx1-ubyte", np.array([5, 6]))
    found = zoo.load_images("mnist", "all", mnist_like, num_images=4)
    np.testing.assert_array_equal(found.labels, [7, 1, 2, 5])
    assert found.images[2, 0, 0] == 32 and np.all(found.images[3] == 9)
    origin = found.origin(np.array([0, 2, 3, 3]))
    assert origin["subsets"] == ("mnist/train", "mnist/test")
    np.testing.assert_array_equal(origin["subset_index"], [0, 0, 1, 1])
    np.testing.assert_array_equal(origin["image_index"], [0, 2, 0, 0])
    with pytest.raises(ValueError, match=r"1\.\.5, what mnist/all has"):
        zoo.load_images("mnist", "all", mnist_like, num_images=6)


@pytest.mark.parametrize("source", ["mnist", "fashion_mnist"])
def test_real_files_are_read(data_dir, source):
    found = zoo.load_images(source, "test", data_dir)
    assert found.images.shape == (10_000, 28, 28)
    mean = {"mnist": 0.1325, "fashion_mnist": 0.2868}[source]
    assert networks.to_unit_range(found.images).mean() == pytest.approx(mean, abs=1e-3)


def test_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images.*leave data_dir unset"):
        zoo.load_images("mnist", "train", tmp_path)


def test_damaged_idx_files_are_named(mnist_like):
    path = mnist_like / "mnist/train-images-idx3-ubyte.gz"
    raw = path.read_bytes()
    whole = gzip.decompress(raw)
    for content, message in [
        (raw[:-9], "damaged"),
        (b"nothing", "damaged"),
        (gzip.compress(whole[:-1]), "truncated"),
        (gzip.compress(b"\0\0\x0d\1"), "not an idx file"),
        (gzip.compress(whole[:6]), "not an idx file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            zoo.load_images("mnist", "train", mnist_like)
        assert str(path) in str(error.value)


def test_images_and_labels_of_different_sets_are_refused(mnist_like):
    write_idx(mnist_like / "mnist/train-labels-idx1-ubyte", np.array([7, 1]))
    with pytest.raises(ValueError, match="do not belong together"):
        zoo.load_images("mnist", "train", mnist_like)


def test_failed_download_tells_where_to_put_the_file(monkeypatch):
    import pooch

    def offline(url, known_hash, path, **_):
        assert known_hash.startswith("sha256:440fcabf") and path.name == "mnist"
        raise OSError("no network")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(FileNotFoundError, match=r"no network.*Put that file"):
        zoo.load_images("mnist", "train")


def test_download_is_used_without_a_folder(monkeypatch, mnist_like):
    import pooch

    def fetch(url, fname, path, **_):
        assert url.startswith("https://") and url.endswith(fname)
        packed = mnist_like / "mnist" / fname
        path.mkdir(exist_ok=True, parents=True)
        content = packed if packed.exists() else packed.with_suffix("")
        raw = content.read_bytes()
        (path / fname).write_bytes(raw if content == packed else gzip.compress(raw))

    monkeypatch.setattr(pooch, "os_cache", lambda name: mnist_like / "cache" / name)
    monkeypatch.setattr(pooch, "retrieve", fetch)
    assert len(zoo.load_images("mnist", "train").images) == 3


@pytest.fixture
def folder(tmp_path):
    for name, value in (("b/1.png", 30), ("a/x.png", 10), ("a/y.png", 20)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / name)
    return tmp_path


def test_folder_gives_classes_by_subfolder(folder):
    found = zoo.load_images("folder", "all", folder)
    np.testing.assert_array_equal(found.images[:, 0, 0], [10, 20, 30])
    np.testing.assert_array_equal(found.labels, [0, 0, 1])


def test_colour_is_refused_or_converted(folder):
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[..., 1] = 100
    Image.fromarray(colour).save(folder / "a" / "x.png")
    with pytest.raises(ValueError, match=r"x\.png is not .* grey .*to_grey"):
        zoo.load_images("folder", "all", folder)
    images, *_ = zoo.load_images("folder", "all", folder, to_grey=True)
    assert images[0, 0, 0] == 59  # 0.587 * 100


def test_oblong_image_is_refused_or_cut(folder):
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 2:6] = 9
    Image.fromarray(pixels).save(folder / "a" / "x.png")
    with pytest.raises(ValueError, match=r"x\.png is not square: 8 x 4.*centre_crop"):
        zoo.load_images("folder", "all", folder)
    images, *_ = zoo.load_images("folder", "all", folder, centre_crop=True)
    assert (images[0] == 9).all()


def test_mixed_sizes_are_refused_or_scaled(folder):
    Image.fromarray(np.full((8, 8), 5, np.uint8)).save(folder / "b" / "1.png")
    with pytest.raises(ValueError, match=r"1\.png has \(8, 8\).*Set size"):
        zoo.load_images("folder", "all", folder)
    images, *_ = zoo.load_images("folder", "all", folder, size=2)
    np.testing.assert_array_equal(images[2], np.full((2, 2), 5))


def test_broken_image_and_empty_folder_are_named(folder, tmp_path):
    (folder / "a" / "x.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"x\.png is not an image"):
        zoo.load_images("folder", "all", folder)
    with pytest.raises(FileNotFoundError, match="No image in the folder"):
        zoo.load_images("folder", "all", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "message, arguments",
    [
        ("Unknown image source 'mnst'", ("mnst",)),
        ("no split 'test'", ("digits", "test")),
        ("not 'validation'", ("mnist", "validation")),
        ("needs data_dir", ("folder",)),
    ],
)
def test_unknown_sources_and_splits_are_refused(message, arguments):
    with pytest.raises(ValueError, match=message):
        zoo.load_images(*arguments)


def test_too_many_images_are_refused():
    with pytest.raises(ValueError, match=r"1\.\.1797"):
        zoo.load_images("digits", "all", num_images=1798)


def test_an_empty_folder_name_is_none(monkeypatch):
    """As an empty SYMMERGE_DATA_DIR gives it."""

    import pooch

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(FileNotFoundError, match=r"Cannot download .*mnist/train-imag"):
        zoo.load_images("mnist", data_dir="")
    with pytest.raises(ValueError, match="needs data_dir"):
        zoo.load_images("folder", data_dir="")
