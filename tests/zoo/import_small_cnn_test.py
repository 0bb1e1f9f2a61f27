import ast
import gzip
import json
import pathlib
import random
import shutil

import jax
import numpy as np
import pytest

from symmerge_jax import networks, symmetry, zoo

RELU = {"activation": "relu"}


def rows_of(imported):
    """Rows of the file that the networks come from, in their order."""
    bias = symmetry.flatten(imported.params)["conv_0", "bias"]
    return np.floor(bias[:, 0]).astype(int)


def published_parts(order, step):
    """Rows of the three parts, by the procedure of Zhou et al. 2023."""
    final = [row for row in order if step[row] == 86]
    point = int(0.5 * len(final))
    first = list(range(point))
    random.Random(0).shuffle(first)
    cut = int(0.8 * len(first))
    parts = {"train": first[:cut], "val": first[cut:], "test": range(point, len(final))}
    return {name: sorted(final[i] for i in part) for name, part in parts.items()}


def parts_of(imported):
    names = np.array(imported.subsets)[imported.subset_index]
    rows = rows_of(imported)
    return {name: rows[names == name].tolist() for name in imported.subsets}


def test_real_layout_and_network_classify_as_published(data_dir, small_cnn):
    shutil.copy(data_dir / "cnn_zoo" / "layout.csv", small_cnn.path)
    weights = np.load(data_dir / "cnn_zoo" / "one_network_weights.npy")
    small_cnn.weights, small_cnn.metrics = weights[None], small_cnn.metrics[:1]
    layout = (small_cnn.path / "layout.csv").read_bytes()
    small_cnn.write()
    (small_cnn.path / "layout.csv").write_bytes(layout)
    imported = zoo.import_small_cnn(small_cnn.path, **RELU)
    assert imported.architecture == zoo.complete_architecture(
        {"kind": "cnn", "image_shape": (32, 32, 1), "channels": (16, 16, 16)}
    )
    assert imported.params["dense"]["kernel"].shape == (1, 16, 10)
    with np.load(data_dir / "cifar10" / "cifar10_gray_25k.npz") as file:
        pixels, labels = file["x_test"][:2000], file["y_test"][:2000]
    network = networks.build(imported.architecture)
    params = jax.tree.map(lambda leaf: leaf[0], imported.params)
    images = np.float32(pixels / 127.5 - 1)[..., None]
    found = np.argmax(jax.jit(network.apply)(params, images), axis=1)
    # 1,141 of them (57.39 % of all 10,000); rounding may turn a few near ties.
    assert abs(int((found == labels).sum()) - 1141) <= 4


def test_columns_of_selected_rows_become_parameters(small_cnn):
    imported = zoo.import_small_cnn(small_cnn.path, **RELU, steps=(86, 3))
    rows = [r for r in range(60) if r % 3 != 1 and r // 3 % 2 == 0]
    np.testing.assert_array_equal(rows_of(imported), rows)
    assert imported.architecture == {
        "kind": "cnn",
        "image_shape": [32, 32, 1],
        "channels": [2, 3],
        "num_classes": 4,
        "activation": "relu",
        "kernel_size": [3, 2],
        "stride": 2,
        "readout": "mean",
    }
    places = {
        ("conv_0", "bias"): (0, 2),
        ("conv_0", "kernel"): (2, 20),
        ("conv_1", "bias"): (20, 23),
        ("conv_1", "kernel"): (23, 47),
        ("dense", "bias"): (47, 51),
        ("dense", "kernel"): (51, 63),
    }
    leaves = symmetry.flatten(imported.params)
    assert set(leaves) == set(places)
    for path, (start, stop) in places.items():
        expected = small_cnn.weights[rows, start:stop]
        np.testing.assert_array_equal(leaves[path].reshape(len(rows), -1), expected)
    assert (imported.labels == -1).all() and imported.subsets == ("train",)
    np.testing.assert_array_equal(imported.image_index, np.array(rows) // 3)
    np.testing.assert_array_equal(imported.metrics["step"][:4], [86, 3, 86, 3])
    accuracy = imported.metrics["test_accuracy"]
    np.testing.assert_array_equal(accuracy, np.array(rows) / 256)
    np.testing.assert_allclose(
        imported.metrics["learning_rate"][:3], [1e-3, 1e-3, 3e-3]
    )
    assert np.isinf(imported.metrics["train_loss"][2:4]).all()
    assert np.isnan(imported.metrics["dropout"]).all()
    assert "init_std" not in imported.metrics  # it has no column
    assert json.loads(json.dumps(dict(imported.provenance))) == imported.provenance
    parts = zoo.split(imported, {"a": 0.5, "b": 0.5})
    runs = [set(imported.image_index[part]) for part in parts.values()]
    assert not runs[0] & runs[1]


def test_the_layout_is_followed_whatever_the_order_of_columns(small_cnn):
    tensors = [(e["varname"], ast.literal_eval(e["shape"])) for e in small_cnn.layout]
    small_cnn.set_layout([tensors[i] for i in (1, 0, 3, 2, 5, 4)])  # kernels first
    small_cnn.layout.reverse()  # the lines may come in any order
    small_cnn.write()
    leaves = symmetry.flatten(zoo.import_small_cnn(small_cnn.path, **RELU).params)
    first = {path: leaf[0].ravel() * 128 for path, leaf in leaves.items()}
    np.testing.assert_array_equal(first["conv_0", "kernel"], range(18))
    np.testing.assert_array_equal(first["conv_0", "bias"], [18, 19])
    np.testing.assert_array_equal(first["dense", "bias"], range(59, 63))
    small_cnn.set_layout(tensors[::-1])
    small_cnn.write()
    with pytest.raises(ValueError, match=r"dense has the shapes .*layer 1 of 3"):
        zoo.import_small_cnn(small_cnn.path, **RELU)


@pytest.mark.parametrize("header", [[], [0]])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_division_is_the_published_one_with_the_header_left_out(
    small_cnn, header, suffix
):
    order = np.random.Generator(np.random.PCG64(1)).permutation(60).tolist()
    file = small_cnn.write_order(f"order{suffix}", header + order)
    step = [entry["step"] for entry in small_cnn.metrics]
    wanted = published_parts(order, step)
    assert [len(part) for part in wanted.values()] == [8, 2, 10]
    for offset, activation in enumerate(("relu", "tanh")):
        imported = zoo.import_small_cnn(
            small_cnn.path, activation=activation, split=file
        )
        assert parts_of(imported) == {
            name: [row for row in part if row // 3 % 2 == offset]
            for name, part in wanted.items()
        }
    early = zoo.import_small_cnn(small_cnn.path, **RELU, split=file, steps=(0, 3))
    parts = parts_of(early)
    for name, part in wanted.items():
        runs = [row // 3 for row in part if row // 3 % 2 == 0]
        assert sorted(parts[name]) == [3 * r + k for r in runs for k in (1, 2)]


def test_faithful_order_reads_row_zero_twice(small_cnn):
    order = np.random.Generator(np.random.PCG64(2)).permutation(60).tolist()
    file = small_cnn.write_order("order.csv", [0, *order])
    step = [entry["step"] for entry in small_cnn.metrics]
    for entry in small_cnn.metrics:
        entry["config.activation"] = "tanh"
    small_cnn.write()
    imported = zoo.import_small_cnn(small_cnn.path, split=file, faithful_order=True)
    assert len(imported) == 21 and rows_of(imported).tolist()[:2] == [0, 0]
    assert parts_of(imported) == published_parts([0, *order], step)
    with pytest.raises(ValueError, match="give that file too"):
        zoo.import_small_cnn(small_cnn.path, faithful_order=True)


def test_networks_that_are_not_finite_are_left_out_and_counted(small_cnn):
    small_cnn.weights[6, 30] = np.nan
    small_cnn.weights[12, 62] = -np.inf
    small_cnn.weights[3, 0] = np.nan  # a tanh network: not looked at
    small_cnn.write()
    calls = []
    imported = zoo.import_small_cnn(
        small_cnn.path, **RELU, on_chunk=lambda *call: calls.append(call)
    )
    assert rows_of(imported).tolist() == [0, 18, 24, 30, 36, 42, 48, 54]
    assert imported.image_index.tolist() == [0, 6, 8, 10, 12, 14, 16, 18]
    assert imported.provenance["num_skipped"] == 2
    assert calls == [(0, 10, {}), (10, 10, {"skipped": 2})]
    small_cnn.weights[:] = np.nan
    small_cnn.write()
    with pytest.raises(ValueError, match="All 10 selected networks"):
        zoo.import_small_cnn(small_cnn.path, **RELU)


@pytest.mark.parametrize("name", ["/training/checkpoint-{}", "/training"])
def test_runs_are_told_by_configuration_where_folders_do_not(small_cnn, name):
    for number, entry in enumerate(small_cnn.metrics):
        entry["modeldir"] = name.format(number)
    small_cnn.write()
    imported = zoo.import_small_cnn(small_cnn.path, **RELU, steps=(86, 0, 3))
    assert imported.image_index.tolist() == [r for r in range(0, 20, 2) for _ in "123"]


def test_one_activation_is_taken_and_several_are_refused(small_cnn):
    with pytest.raises(
        ValueError, match=r"relu \(10\), tanh \(10\)\. Choose one.*activation='relu'"
    ):
        zoo.import_small_cnn(small_cnn.path)
    with pytest.raises(ValueError, match=r"'sine' .*has relu \(10\), tanh \(10\)"):
        zoo.import_small_cnn(small_cnn.path, activation="sine")
    small_cnn.metrics = [
        dict(e, **{"config.activation": "tanh"}) for e in small_cnn.metrics
    ]
    small_cnn.write()
    assert zoo.import_small_cnn(small_cnn.path).architecture["activation"] == "tanh"
    small_cnn.metrics = [
        dict(e, **{"config.activation": "selu"}) for e in small_cnn.metrics
    ]
    small_cnn.write()
    with pytest.raises(ValueError, match="Unknown activation 'selu'; known are"):
        zoo.import_small_cnn(small_cnn.path)


def test_it_is_saved_and_described_as_classifiers(small_cnn, tmp_path):
    imported = zoo.import_small_cnn(small_cnn.path, **RELU, steps=(86, 0))
    zoo.save(tmp_path / "a.zoo", imported)
    loaded = zoo.load(tmp_path / "a.zoo")
    text = zoo.summary(loaded)
    for words in (
        "runs          10 distinct",
        "step          10 x 0, 10 x 86",
        "25 % 0.0498, median 0.1074",
        "train_loss    18 x 1, 2 not finite",
        "dropout       20 not finite",
    ):
        assert words in text
    assert "labels" not in text


COLUMNS = (
    "config.activation,config.b_init,config.dataset,config.dnn_architecture,"
    "config.dropout,config.epochs,config.epochs_between_checkpoints,config.init_std,"
    "config.l2reg,config.learning_rate,config.num_layers,config.num_units,"
    "config.optimizer,config.random_seed,config.train_fraction,config.w_init,modeldir,"
    "step,test_accuracy,test_loss,train_accuracy,train_loss"
)


def peak_memory():
    """Return the peak of resident memory in bytes, mapped pages included."""
    status = pathlib.Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


@pytest.mark.slow
def test_a_file_of_full_size_is_not_read_whole(tmp_path, data_dir):
    steps, num_runs = (0, 1, 2, 3, 20, 40, 60, 80, 86), 30_000
    relu = set(range(0, num_runs, 50))
    with gzip.open(tmp_path / "metrics.csv.gz", "wt", compresslevel=1) as file:
        file.write(COLUMNS + "\n")
        for run in range(num_runs):
            start = (
                f"{'relu' if run in relu else 'tanh'},zeros,cifar10,cnn,0.1,86,20,0.05,"
                f"{run * 1e-9},0.001,3,16,adam,42,1.0,he_normal,/training/{run},"
            )
            file.writelines(f"{start}{step},0.5,1.25,0.75,1.0\n" for step in steps)
    shutil.copy(data_dir / "cnn_zoo" / "layout.csv", tmp_path)
    shape = (num_runs * len(steps), 4970)
    weights = np.lib.format.open_memmap(
        tmp_path / "weights.npy", "w+", np.float32, shape
    )
    rows, offset = np.array(sorted(relu)) * len(steps) + 8, weights.offset
    del weights
    with (tmp_path / "weights.npy").open("r+b") as file:
        for row in rows.tolist():  # all else stays a hole
            file.seek(offset + 4 * 4970 * row)
            file.write(np.full(4970, row, np.float32).tobytes())
    reset = pathlib.Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("the peak of memory can be measured on Linux only")
    reset.write_text("5")
    before = peak_memory()
    imported = zoo.import_small_cnn(
        tmp_path, **RELU, split=data_dir / "cnn_zoo" / "cifar10_split.csv.gz"
    )
    used = peak_memory() - before
    np.testing.assert_array_equal(imported.params["dense"]["bias"][:, 9], rows)
    assert len(imported) == 600
    # The weights are 5.4 GB, those selected 12 MB; the table of metrics takes the rest.
    assert used < 300e6, f"{used / 1e6:.0f} MB"
