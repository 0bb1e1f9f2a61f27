"""Damaged or ill-fitting files of the Small CNN Zoo are refused by name."""

import gzip
import math

import numpy as np
import pytest

from symmerge_jax import zoo

RELU = {"activation": "relu"}


def test_steps_that_are_not_there_are_refused(small_cnn):
    for steps in ((86, 85), ()):
        with pytest.raises(ValueError, match=r"at the steps 0, 3, 86; got steps"):
            zoo.import_small_cnn(small_cnn.path, **RELU, steps=steps)


def test_missing_files_are_named_and_the_metrics_may_be_unpacked(small_cnn, tmp_path):
    path = small_cnn.path
    with pytest.raises(FileNotFoundError, match=r"No folder .*download_small_cnn_zoo"):
        zoo.import_small_cnn(tmp_path / "nowhere", **RELU)
    with pytest.raises(FileNotFoundError, match=r"No file .*x\.csv.*cifar10_split"):
        zoo.import_small_cnn(path, **RELU, split=tmp_path / "x.csv")
    packed = path / "metrics.csv.gz"
    (path / "metrics.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert len(zoo.import_small_cnn(path, **RELU)) == 10
    for name in ("metrics.csv", "layout.csv", "weights.npy"):
        (path / name).unlink()
        with pytest.raises(FileNotFoundError, match=name):
            zoo.import_small_cnn(path, **RELU)


def cut(name):
    def damage(folder):
        file = folder.path / name
        file.write_bytes(file.read_bytes()[:-40])

    return damage


def change(**columns):
    """Return what changes entries of one tensor, e.g. `dense_bias={"size": 5}`."""

    def damage(folder):
        for name, entries in columns.items():
            name = f"sequential/{name.replace('__', '/')}:0"
            [tensor] = [t for t in folder.layout if t["varname"] == name]
            tensor.update(entries)
        folder.write()

    return damage


def rewrite(weights):
    def damage(folder):
        folder.weights = weights(folder.weights)
        folder.write()

    return damage


def shapes(**shapes):
    def damage(folder):
        tensors = [
            (f"sequential/{name.replace('__', '/')}:0", shape)
            for name, shape in shapes.items()
        ]
        folder.set_layout(tensors)
        num_columns = sum(math.prod(shape) for _, shape in tensors)
        folder.weights = np.zeros((60, num_columns), np.float32)
        folder.write()

    return damage


def metrics(**entries):
    def damage(folder):
        folder.metrics[7].update(entries)
        folder.write()

    return damage


def drop_column(folder):
    for entry in folder.metrics:
        del entry["modeldir"]
    folder.write()


def drop_line(folder):
    del folder.metrics[4]
    folder.write()


def object_array(folder):
    np.save(folder.path / "weights.npy", np.array([{}]), allow_pickle=True)


def ragged(folder):
    file = folder.path / "metrics.csv.gz"
    text = gzip.decompress(file.read_bytes()).decode()
    file.write_bytes(gzip.compress((text + "relu,86\n").encode()))


def endless(name, start=""):
    """Return what makes a small file of a huge line."""

    def damage(folder):
        content = (start + "1" * 10**7).encode()
        is_packed = name.endswith(".gz")
        (folder.path / name).write_bytes(
            gzip.compress(content) if is_packed else content
        )

    return damage


def many_rows(folder):
    file = folder.path / "metrics.csv.gz"
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    file.write_bytes(gzip.compress("\n".join([*lines, *lines[1:] * 2000]).encode()))


def header(old, new):
    def damage(folder):
        file = folder.path / "weights.npy"
        raw = file.read_bytes()
        changed = raw.replace(old, new)
        assert changed != raw
        file.write_bytes(changed)

    return damage


def no_gzip(folder):
    (folder.path / "metrics.csv.gz").write_text("<html>")


BAD = {
    "weights cut": (cut("weights.npy"), r"weights\.npy is truncated.*fetch it again"),
    "weights of objects": (object_array, r"weights\.npy is truncated or no npy"),
    "weights of doubles": (rewrite(np.float64), r"float32 matrix .*got float64 of"),
    "weights in a row": (rewrite(np.ravel), r"float32 matrix .*shape \(3780,\)"),
    "weights by column": (rewrite(np.asfortranarray), r"matrix in C order"),
    "weights of 2**64": (
        header(b"(60, 63), }     ", b"(2**64, 1), }   "),
        "truncated or",
    ),
    "weights of nothing": (header(b"(60, 63)", b"(60, 63("), "truncated or no npy"),
    "weights of a word": (header(b"(60, 63)", b"[60, (0)"), "truncated or no npy"),
    "weights of a flag": (header(b"(60, 63)", b"(True,6)"), "truncated or no npy"),
    "metrics endless": (endless("metrics.csv.gz"), "a line is longer than 100000"),
    "metrics long": (many_rows, "has more rows, but the weights beside it have 60"),
    "layout endless": (endless("layout.csv", "varname\n"), "a line is longer than"),
    "layout deep": (change(dense__bias={"shape": "-" * 9000 + "1"}), r"line 6: expect"),
    "metrics cut": (cut("metrics.csv.gz"), r"metrics\.csv\.gz is truncated"),
    "metrics of a page": (no_gzip, r"metrics\.csv\.gz is truncated or damaged"),
    "metrics ragged": (ragged, r"line 62: 2 entries for 11 columns"),
    "metrics short": (drop_line, r"59 rows, but the weights beside it have 60"),
    "metrics narrow": (drop_column, r"lacks the columns modeldir; it has config"),
    "metrics no number": (metrics(test_loss="x"), r"line 9: test_loss is 'x'"),
    "metrics no step": (metrics(step=""), "every step must be a whole number"),
    "layout cut": (cut("layout.csv"), r"layout\.csv"),
    "layout gap": (
        change(conv2d_1__bias={"start_idx": 21}),
        r"conv2d_1/bias:0 takes the columns 21\.\.23, size 3.*3 columns from 20 on",
    ),
    "layout shifted": (
        change(dense__bias={"start_idx": 48, "end_idx": 52}),
        r"dense/bias:0 takes the columns 48\.\.52",
    ),
    "layout shape": (
        change(dense__bias={"shape": "(5,)"}),
        r"dense/bias:0 .*size 4, for the shape \(5,\)",
    ),
    "layout size": (change(dense__bias={"size": 5}), r"dense/bias:0 .*size 5, for the"),
    "layout no number": (
        change(dense__bias={"size": "five"}),
        r"line 6: expected varn",
    ),
    "layout long": (rewrite(lambda w: w[:, :-1].copy()), r"63 columns, .*have 62"),
    "layout name": (
        change(dense__bias={"varname": "dense/gamma:0"}),
        "dense/gamma:0 is not a kernel or bias",
    ),
    "layout twice": (
        change(dense__bias={"varname": "sequential/dense/kernel:0"}),
        "or a second one of its layer",
    ),
    "no bias": (
        shapes(conv2d__kernel=(3, 3, 1, 2), dense__bias=(4,), dense__kernel=(2, 4)),
        r"conv2d has the shapes .*layer 1 of 2 of a CNN",
    ),
    "chain broken": (
        shapes(
            conv2d__bias=(2,),
            conv2d__kernel=(3, 3, 1, 2),
            dense__bias=(4,),
            dense__kernel=(3, 4),
        ),
        r"dense has the shapes .*\[I, O\] with I = 2",
    ),
    "colour": (
        shapes(
            conv2d__bias=(2,),
            conv2d__kernel=(3, 3, 3, 2),
            dense__bias=(4,),
            dense__kernel=(2, 4),
        ),
        r"conv2d has .*with I = 1",
    ),
    "kernel not square": (
        shapes(
            conv2d__bias=(2,),
            conv2d__kernel=(3, 2, 1, 2),
            dense__bias=(4,),
            dense__kernel=(2, 4),
        ),
        r"conv2d has the shapes .*\[k, k, I, O\]",
    ),
    "no convolution": (
        shapes(dense__bias=(4,), dense__kernel=(1, 4)),
        "describes 1 layers",
    ),
    "kernel too large": (
        shapes(
            conv2d__bias=(1,),
            conv2d__kernel=(33, 33, 1, 1),
            dense__bias=(2,),
            dense__kernel=(1, 2),
        ),
        "33 x 33 does not fit",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_named_before_any_weights_are_read(small_cnn, damage, message):
    damage(small_cnn)

    def on_chunk(done, total, stats):
        raise AssertionError("weights are read")

    with pytest.raises(ValueError, match=message):
        zoo.import_small_cnn(small_cnn.path, **RELU, on_chunk=on_chunk)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (range(59), "not an order of the 60 rows .*its 59 numbers"),
        ([*range(59), 3], "not an order of the 60 rows"),
        ([*range(60), 60], "not an order of the 60 rows"),
        ([1, *range(60)], "not an order of the 60 rows .*its 61"),
        (["row", *range(60)], "must hold a row number per line"),
    ],
)
def test_an_order_that_is_no_permutation_is_refused(small_cnn, numbers, message):
    file = small_cnn.write_order("order.csv", numbers)
    with pytest.raises(ValueError, match=message):
        zoo.import_small_cnn(small_cnn.path, **RELU, split=file)


def test_a_damaged_order_is_named(small_cnn):
    file = small_cnn.write_order("order.csv.gz", range(60))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"order\.csv\.gz is truncated"):
        zoo.import_small_cnn(small_cnn.path, **RELU, split=file)
