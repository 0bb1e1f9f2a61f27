"""Checkpoints of every format: what is not changed survives bit for bit."""

import json

import h5py
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
from flax import serialization

import symmerge_jax
from symmerge_jax import files, networks, storage, symmetry
from tests.zoo import checkpoints

KERNEL = "b/kernel"
BFLOAT16, FLOAT8 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn


def arrays_of(*more):
    """Return tensors in an order of their own, by names with a slash."""
    random = np.random.default_rng(0)
    found = {
        "z/bias": random.normal(size=3),
        KERNEL: random.normal(size=(3, 2)).astype(np.float32),
        "count": np.array(2**40 + 3),
        "b/empty": np.zeros((0, 4), np.float16),
        "a/flags": np.array([True, False]),
    }
    return found | {f"x/{t.__name__}": random.normal(size=5).astype(t) for t in more}


def nested(arrays):
    tree = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = array
    return tree


def write_safetensors(path):
    found = arrays_of(BFLOAT16, FLOAT8)
    safetensors.numpy.save_file(found, path, metadata={"format": "pt", "e": "é"})
    return found


def write_ours(path):
    found = arrays_of(BFLOAT16)
    symmerge_jax.save(path, nested(found), architecture={"kind": "mlp"})
    return found


def write_shards(path, arrays=None):
    path.mkdir()
    found = arrays or arrays_of(BFLOAT16, FLOAT8)
    names, places = list(found), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        safetensors.numpy.save_file({n: found[n] for n in part}, path / file)
        places |= dict.fromkeys(part, file)
    order = {name: places[name] for name in names}
    index = {"metadata": {"total_size": 99}, "weight_map": order}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return found


def write_npz(path, save=np.savez):
    found = arrays_of()
    with path.open("wb") as file:
        save(file, **found)
    return found


def write_msgpack(path):
    found = arrays_of(BFLOAT16, FLOAT8)
    tree = {**nested(found), "step": 3, "rate": 0.5, "none": None, "dropout": {}}
    path.write_bytes(serialization.msgpack_serialize(tree))
    return found


def write_orbax(path):
    found = arrays_of(BFLOAT16, FLOAT8)
    del found["b/empty"]  # which tensorstore does not store
    with files.quiet_orbax() as checkpointer:
        tree = {**nested(found), "step": 3, "list": [np.ones(2)], "dropout": {}}
        checkpointer.save(path.absolute(), args=ocp.args.StandardSave(tree))
    return found | {"list/0": np.ones(2)}


def write_hdf5(path):
    found = arrays_of()
    with h5py.File(path, "w") as file:
        for name, array in found.items():
            options = {"compression": "gzip"} if name == "z/bias" else {}
            file.create_dataset(name, data=array, **options)
        half = np.arange(4).astype(BFLOAT16)
        file.create_dataset("x/half", data=half.view("V2")).attrs["dtype"] = "bfloat16"
        file["b"].attrs["name"] = "dense"
    return found | {"x/half": half}


FORMATS = {
    "safetensors": ("a.safetensors", write_safetensors),
    "our safetensors": ("ours.safetensors", write_ours),
    "shards": ("a", write_shards),
    "npz": ("a.npz", write_npz),
    "packed npz": ("p.npz", lambda path: write_npz(path, np.savez_compressed)),
    "msgpack": ("a.ckpt", write_msgpack),
    "orbax": ("a", write_orbax),
    "hdf5": ("a.weights.h5", write_hdf5),
}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        got, tensor = np.asarray(found[name]), found[name]
        assert (tensor.shape, tensor.dtype) == (array.shape, array.dtype), name
        assert got.tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_as_it_was_read(tmp_path, name):
    file, write = FORMATS[name]
    path, out = tmp_path / file, tmp_path / f"new{(tmp_path / file).suffix}"
    expected = write(path)
    old = storage.open_checkpoint(path)
    assert_same(old.tensors, expected)
    if old.format != "flax msgpack":  # read when asked for, or mapped
        mapped = np.memmap | files.LazyArray
        assert all(isinstance(x, mapped) or not x.nbytes for x in old.tensors.values())
    for _ in range(2):  # the second time over the first
        kernel = np.full((3, 2), 7, np.float32)
        storage.write_checkpoint(out, old, iter([(KERNEL, kernel)]))
    new = storage.open_checkpoint(out)
    assert_same(new.tensors, expected | {KERNEL: kernel})
    assert list(new.tensors) == list(old.tensors)
    assert (new.metadata, new.format) == (old.metadata, old.format)
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, out.name}


@pytest.mark.parametrize("name", ["safetensors", "our safetensors", "shards"])
def test_unchanged_safetensors_are_the_same_bytes(tmp_path, name):
    file, write = FORMATS[name]
    path, out = tmp_path / file, tmp_path / f"new{(tmp_path / file).suffix}"
    write(path)
    storage.write_checkpoint(out, storage.open_checkpoint(path), [])

    def content(place):
        found = sorted(place.iterdir()) if place.is_dir() else [place]
        return [x.read_bytes() for x in found]

    assert content(out) == content(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".msgpack", ".orbax"])
def test_formats_are_converted_or_refuse_what_they_cannot_hold(tmp_path, suffix):
    tensors = {
        "fc.weight": checkpoints.Tensor("0", np.ones((2, 3), np.float32)),
        "a~/b": checkpoints.Tensor("1", np.arange(3)),
    }
    checkpoints.write(tmp_path / "a.pth", tensors)
    source = storage.open_checkpoint(tmp_path / "a.pth")
    storage.write_checkpoint(tmp_path / f"b{suffix}", source, [])
    tree = symmerge_jax.load(tmp_path / f"b{suffix}")
    assert_same(
        {symmetry.name(path): x for path, x in symmetry.flatten(tree).items()},
        {name: np.asarray(tensor) for name, tensor in source.tensors.items()},
    )
    write_msgpack(tmp_path / "c.msgpack")
    other = storage.open_checkpoint(tmp_path / "c.msgpack")
    if suffix in (".safetensors", ".npz"):
        with pytest.raises(ValueError, match="cannot hold"):
            storage.write_checkpoint(tmp_path / f"d{suffix}", other, [])
        assert not (tmp_path / f"d{suffix}").exists()
    for out, message in (
        ("e.pth", "torch are not written: .*safetensors"),
        ("e.h5", "HDF5 are written from their like only"),
        ("e.txt", r"suffix '\.txt'"),
    ):
        with pytest.raises(ValueError, match=message):
            storage.write_checkpoint(tmp_path / out, source, [])


@pytest.mark.parametrize("name", ["safetensors", "shards", "npz", "msgpack"])
def test_what_stops_half_way_leaves_the_old_file(tmp_path, name):
    file, write = FORMATS[name]
    path, out = tmp_path / file, tmp_path / f"new{(tmp_path / file).suffix}"
    write(path)
    old = storage.open_checkpoint(path)

    def stopping():
        yield KERNEL, np.zeros((3, 2), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write_checkpoint(out, old, stopping())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([("c", np.ones(1))], "'c' is given and is not in"),
        ([(KERNEL, np.ones((3, 2), np.float32))] * 2, "given twice"),
        ([(KERNEL, np.ones((3, 2)))], r"is float64 \(3, 2\), and float32"),
        ([(KERNEL, np.ones((2, 3), np.float32))], r"is float32 \(2, 3\), and"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    write_safetensors(tmp_path / "a.safetensors")
    old = storage.open_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=message):
        storage.write_checkpoint(tmp_path / "b.safetensors", old, arrays)
    with pytest.raises(ValueError, match="over itself"):
        storage.write_checkpoint(tmp_path / "a.safetensors", old, [])
    assert not (tmp_path / "b.safetensors").exists()


def test_folders_with_other_things_are_not_replaced(tmp_path):
    write_shards(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    old = storage.open_checkpoint(tmp_path / "a")
    with pytest.raises(ValueError, match="holds more than a checkpoint"):
        storage.write_checkpoint(tmp_path / "b", old, [])
    (tmp_path / "c").touch()
    with pytest.raises(NotADirectoryError, match="name a folder"):
        storage.write_checkpoint(tmp_path / "c", old, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x81\xa1a\xc7\x05\x01\x93\x91\x02\xa3f", "no msgpack of flax"),
        (b"\x82\xa1a\x01\xa1b\x02", "holds no tensors"),
    ],
)
def test_damaged_trees_are_refused(tmp_path, content, message):
    (tmp_path / "a.msgpack").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        storage.open_checkpoint(tmp_path / "a.msgpack")
    (tmp_path / "step" / "default").mkdir(parents=True)
    (tmp_path / "step" / "default" / "_METADATA").write_text("{")
    with pytest.raises(IsADirectoryError, match="name one in it: default"):
        storage.open_checkpoint(tmp_path / "step")
    with pytest.raises(ValueError, match="no checkpoint of orbax"):
        storage.open_checkpoint(tmp_path / "step" / "default")


def test_initialisers_of_onnx_are_weights_in_a_graph_that_stays(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, arrays = onnx.helper, arrays_of(BFLOAT16)
    outputs = [helper.make_tensor_value_info(KERNEL, onnx.TensorProto.FLOAT, [3, 2])]
    initialisers = [onnx.numpy_helper.from_array(x, n) for n, x in arrays.items()]
    graph = helper.make_graph([], "net", [], outputs, initialisers)
    model = helper.make_model(graph)
    onnx.helper.set_model_props(model, {"author": "é"})
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    old = storage.open_checkpoint(tmp_path / "a.onnx")
    assert_same(old.tensors, arrays)
    kernel = np.zeros((3, 2), np.float32)
    storage.write_checkpoint(tmp_path / "b.onnx", old, [(KERNEL, kernel)])
    new = storage.open_checkpoint(tmp_path / "b.onnx")
    assert_same(new.tensors, arrays | {KERNEL: kernel})
    assert new.metadata == {"author": "é"} and list(new.tensors) == list(arrays)
    (tmp_path / "c.onnx").write_bytes(b"\x08\x0a\x3a\xff")
    with pytest.raises(ValueError, match="no ONNX model"):
        storage.open_checkpoint(tmp_path / "c.onnx")


def test_specs_come_back_from_files(tmp_path):
    axis = symmetry.Axis("h", -1, 2, also=(("norm", 1),))
    spaces = [
        symmetry.Space("h", "permutation"),
        symmetry.Space("norm", "scale", follows="h"),
        symmetry.Space("o", "trivial", size=3),
    ]
    axes = {
        "a": {"w": (None, symmetry.Blocks(((symmetry.Axis("h"), 2), (4,))))},
        "b": (axis, symmetry.Axis("o")),
    }
    specs = [networks.cnn((8, 8, 1), (3, 4), 5).spec, networks.siren((2, 3, 1)).spec]
    specs.append(symmetry.SymmetrySpec.create(axes, spaces))
    for spec in specs:
        storage.save_spec(tmp_path / "spec.json", spec)
        assert storage.load_spec(tmp_path / "spec.json") == spec
    text = (tmp_path / "spec.json").read_text()
    (tmp_path / "spec.json").write_text(text.replace('"scale"', '"sign"'))
    with pytest.raises(ValueError, match="does not have the checksum"):
        storage.load_spec(tmp_path / "spec.json")
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(ValueError, match="no spec of version 1"):
        storage.load_spec(tmp_path / "spec.json")
