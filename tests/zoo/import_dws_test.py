import itertools
import re
import zipfile

import numpy as np
import pytest

from symmerge_jax import symmetry, zoo
from tests.zoo import checkpoints

SHAPES = [(32, 2), (32,), (32, 32), (32,), (1, 32), (1,)]


def read_with_numpy(path):
    """Read a checkpoint by the position of its members alone."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if re.search(r"/data/\d+$", n)]
        names.sort(key=lambda name: int(name.rsplit("/", 1)[1]))
        return [
            np.frombuffer(archive.read(name), "<f4").reshape(shape)
            for name, shape in zip(names, SHAPES, strict=True)
        ]


@pytest.fixture
def some(data_dir, tmp_path):
    """Three of the real networks under names of other images."""
    sources = sorted((data_dir / "mnist_inrs").glob("*/checkpoints/model_final.pth"))
    names = [
        "mnist_png_training_5_20",
        "mnist_png_testing_3_7",
        "mnist_png_training_0_3",
    ]
    for name, source in zip(names, sources, strict=False):
        copy = tmp_path / name / "checkpoints" / "model_final.pth"
        copy.parent.mkdir(parents=True)
        copy.write_bytes(source.read_bytes())
    return tmp_path


def test_real_files_are_imported_bit_for_bit(data_dir):
    folder = data_dir / "mnist_inrs"
    imported = zoo.import_dws(folder)
    files = sorted(folder.glob("*/checkpoints/model_final.pth"))
    assert len(imported) == len(files) == 32
    leaves = symmetry.flatten(imported.params)
    for i, file in enumerate(files):
        for j, array in enumerate(read_with_numpy(file)):
            name = ("kernel", "bias")[j % 2]
            leaf = leaves[f"dense_{j // 2}", name][i]
            assert leaf.tobytes() == np.ascontiguousarray(array.T).tobytes()
    assert set(imported.labels) == {6} and set(imported.image_index) == {3665}
    assert {imported.subsets[i] for i in imported.subset_index} == {"test"}
    assert imported.architecture["layer_sizes"] == [2, 32, 32, 1]


def test_names_tell_split_label_and_index_and_give_the_order(some):
    calls = []
    imported = zoo.import_dws(some, on_file=lambda *call: calls.append(call))
    np.testing.assert_array_equal(imported.subset_index, [0, 0, 1])
    np.testing.assert_array_equal(imported.image_index, [3, 20, 7])
    np.testing.assert_array_equal(imported.labels, [0, 5, 3])
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_damaged_file_is_named_or_skipped(some):
    file = some / "mnist_png_training_5_20" / "checkpoints" / "model_final.pth"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"training_5_20.*truncated"):
        zoo.import_dws(some)
    imported = zoo.import_dws(some, on_error="skip")
    assert len(imported) == 2 and imported.provenance["num_skipped"] == 1
    assert "training_5_20" in imported.provenance["skipped"][0]


def write_network(folder, sizes, dtype=np.float32, value=0.5):
    """Write a chain of linear layers as a checkpoint."""
    tensors, number = {}, 0
    for i, (num_read, num_written) in enumerate(itertools.pairwise(sizes)):
        for name, shape in (("weight", (num_written, num_read)), ("bias", num_written)):
            array = np.full(shape, value, dtype)
            tensors[f"seq.{i}.{name}"] = checkpoints.Tensor(str(number), array)
            number += 1
    (folder / "checkpoints").mkdir(parents=True)
    checkpoints.write(folder / "checkpoints/model_final.pth", tensors)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": np.nan}, "dense_0/kernel has NaN or infinite entries"),
        ({"value": np.inf}, "dense_0/kernel has NaN or infinite entries"),
        ({"dtype": np.float64}, "dense_0/kernel is float64, not float32"),
        ({"sizes": (2, 5, 1)}, r"another architecture .* \[2, 5, 1\] and not \[2, 4"),
        ({"sizes": (2, 4, 4, 1)}, r"\[2, 4, 4, 1\] and not \[2, 4, 1\]"),
    ],
)
def test_networks_that_are_not_sound_are_named_or_skipped(tmp_path, options, message):
    write_network(tmp_path / "mnist_png_training_0_0", (2, 4, 1))
    options = {"sizes": (2, 4, 1), **options}
    write_network(tmp_path / "mnist_png_training_1_1", **options)
    with pytest.raises(ValueError, match=message) as error:
        zoo.import_dws(tmp_path)
    file = tmp_path / "mnist_png_training_1_1/checkpoints/model_final.pth"
    assert str(file) in str(error.value)
    imported = zoo.import_dws(tmp_path, on_error="skip")
    assert len(imported) == imported.provenance["num_skipped"] == 1


def test_other_networks_are_no_inrs(tmp_path):
    file = tmp_path / "mnist_png_training_0_0/checkpoints/model_final.pth"
    file.parent.mkdir(parents=True)
    weight = np.ones((3, 2), np.float32)
    checkpoints.write(file, {"seq.0.weight": checkpoints.Tensor("0", weight)})
    with pytest.raises(ValueError, match=r"model_final\.pth: an INR is a chain of lin"):
        zoo.import_dws(tmp_path)


def test_foreign_folder_names_are_refused(some):
    (some / "mnist_png_testing_3_7").rename(some / "network_1")
    with pytest.raises(ValueError, match="'network_1'"):
        zoo.import_dws(some)


def test_nothing_to_import_is_an_error(tmp_path, some):
    with pytest.raises(FileNotFoundError, match="No folder"):
        zoo.import_dws(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="No INRs"):
        zoo.import_dws(tmp_path / "empty")
    for file in some.glob("*/checkpoints/model_final.pth"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 3 files"):
        zoo.import_dws(some, on_error="skip")
    with pytest.raises(ValueError, match="on_error"):
        zoo.import_dws(some, on_error="ignore")
