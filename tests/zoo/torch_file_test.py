"""Checkpoints made by hand, because torch is not needed and may be missing."""

import collections
import os
import pickle
import struct
import types
import zipfile

import numpy as np
import pytest

from symmerge_jax import zoo
from symmerge_jax.zoo import _torch_file

TYPES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Tensor:
    """Pickles as a torch tensor does."""

    def __init__(self, name, array, offset=0, shape=None, stride=None):
        self.name, self.array, self.offset = name, array, offset
        self.shape = array.shape if shape is None else shape
        contiguous = np.cumprod([1, *array.shape[:0:-1]])[::-1]
        self.stride = tuple(contiguous.tolist()) if stride is None else stride


def global_of(module, name):
    """Return a pickle of the global `module.name`, which need not exist."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def numbers(values):
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def pickle_of(tensors, prefix=b"", suffix=b""):
    """Return the pickle of an OrderedDict of tensors, as torch writes it."""
    out = b"\x80\x02" + prefix + global_of("collections", "OrderedDict") + b")R("
    for key, tensor in tensors.items():
        storage = TYPES[str(tensor.array.dtype)]
        out += text(key) + global_of("torch._utils", "_rebuild_tensor_v2") + b"(("
        out += text("storage") + global_of("torch", storage) + text(tensor.name)
        out += text("cpu") + b"I%d\ntQ" % tensor.array.size
        out += b"I%d\n" % tensor.offset
        out += numbers(tensor.shape) + numbers(tensor.stride) + b"\x89"
        out += global_of("collections", "OrderedDict") + b")RtR"
    return out + b"u" + suffix + b"."


def write(path, tensors, content=None, byteorder=None):
    with zipfile.ZipFile(path, "w") as archive:
        content = pickle_of(tensors) if content is None else content
        archive.writestr("archive/data.pkl", content)
        if byteorder is not None:
            archive.writestr("archive/byteorder", byteorder)
        for tensor in tensors.values():
            order = ">" if byteorder == "big" else "<"
            data = tensor.array.astype(tensor.array.dtype.newbyteorder(order))
            archive.writestr(f"archive/data/{tensor.name}", data.tobytes())
    return path


@pytest.fixture
def array():
    return np.arange(12, dtype=np.float32).reshape(3, 4) / 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("byteorder", [None, "little", "big"])
def test_tensors_are_read(tmp_path, array, dtype, byteorder):
    values = (array * 7).astype(dtype)
    tensors = {"a": Tensor("0", values), "b": Tensor("1", values[0])}
    found = zoo.load_torch_state_dict(
        write(tmp_path / "a.pth", tensors, byteorder=byteorder)
    )
    assert list(found) == ["a", "b"] and found["a"].dtype == dtype
    np.testing.assert_array_equal(found["a"], values)
    np.testing.assert_array_equal(found["b"], values[0])


def test_offset_and_stride_are_followed(tmp_path, array):
    view = Tensor("0", array, offset=1, shape=(2, 3), stride=(1, 4))
    found = zoo.load_torch_state_dict(write(tmp_path / "a.pth", {"a": view}))
    np.testing.assert_array_equal(found["a"], array[:, 1:3].T)


def test_empty_and_scalar_tensors_are_read(tmp_path, array):
    tensors = {
        "none": Tensor("0", array, shape=(0, 4), stride=(4, 1)),
        "one": Tensor("1", array, offset=5, shape=(), stride=()),
    }
    found = zoo.load_torch_state_dict(write(tmp_path / "a.pth", tensors))
    assert found["none"].shape == (0, 4) and found["one"] == array.flat[5]


def test_nested_state_dict_is_named_by_key(tmp_path, array):
    inner = pickle_of({"w": Tensor("0", array)})[2:-1]
    content = b"\x80\x02}(" + text("epoch") + b"I3\n" + text("model") + inner + b"u."
    path = write(tmp_path / "a.pth", {"w": Tensor("0", array)}, content)
    np.testing.assert_array_equal(
        zoo.load_torch_state_dict(path, key="model")["w"], array
    )
    with pytest.raises(ValueError, match=r"a\.pth.*'epoch' is of type int.*key="):
        zoo.load_torch_state_dict(path)
    with pytest.raises(ValueError, match="no entry 'net'"):
        zoo.load_torch_state_dict(path, key="net")


@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_code_is_refused_and_not_run(tmp_path, module, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = global_of(module, name) + b"(" + text("touch ran") + b"tR0"
    path = write(tmp_path / "a.pth", {}, pickle_of({}, prefix=call))
    with pytest.raises(ValueError, match=rf"a\.pth: refused.*{module}\.{name}"):
        zoo.load_torch_state_dict(path)
    assert not os.path.exists("ran")


def test_pickle_of_an_object_is_refused(tmp_path):
    content = pickle.dumps({"w": types.SimpleNamespace(a=1)})
    with pytest.raises(ValueError, match="SimpleNamespace"):
        zoo.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))


def test_pickle_cannot_change_what_it_may_name(tmp_path):
    for target in (
        global_of("collections", "OrderedDict"),
        global_of("torch._utils", "_rebuild_tensor_v2"),
        global_of("torch", "FloatStorage"),
    ):
        # BUILD sets attributes of the object below it.
        content = b"\x80\x02" + target + b"N}(" + text("evil") + b"I1\nu\x86b0}."
        with pytest.raises(ValueError):
            zoo.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))
    assert not hasattr(collections.OrderedDict, "evil")


@pytest.mark.parametrize(
    "message, content",
    [
        ("list", b"\x80\x02]."),
        ("dict of tensors", b"\x80\x02}."),
        ("a.pth", b""),
        ("a.pth", b"\x80\x02garbage"),
        ("a.pth", pickle.dumps({"a": 1})[:-4]),
        ("unknown reference", b"\x80\x02" + text("x") + b"Q."),
        (
            "without a storage",
            b"\x80\x02"
            + global_of("torch._utils", "_rebuild_tensor_v2")
            + b"(I1\nI0\n))tR.",
        ),
    ],
)
def test_other_content_is_refused(tmp_path, message, content):
    with pytest.raises(ValueError, match=message):
        zoo.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))


def test_impossible_layouts_are_refused(tmp_path, array):
    for message, layout in [
        ("truncated", {"offset": 1}),
        ("truncated", {"shape": (3, 5), "stride": (4, 1)}),
        ("expanded", {"shape": (10**12,), "stride": (0,)}),
        ("truncated", {"shape": (3,), "stride": (10**12,)}),
        ("impossible", {"offset": -1}),
        ("impossible", {"stride": (-4, 1)}),
        ("impossible", {"stride": (1,)}),
    ]:
        path = write(tmp_path / "a.pth", {"a": Tensor("0", array, **layout)})
        with pytest.raises(ValueError, match=rf"a\.pth.*{message}"):
            zoo.load_torch_state_dict(path)


def test_damaged_files_are_named(tmp_path, array):
    path = write(tmp_path / "a.pth", {"a": Tensor("0", array)})
    raw = path.read_bytes()
    middle = raw.index(array.tobytes())
    flipped = bytearray(raw)
    flipped[middle] ^= 255
    for content, message in [
        (raw[:-30], "truncated"),
        (b"old format", "older than PyTorch 1.6"),
        (bytes(flipped), "damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            zoo.load_torch_state_dict(path)
        assert str(path) in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"b\.pth"):
        zoo.load_torch_state_dict(tmp_path / "b.pth")


def test_missing_storage_and_foreign_zip_are_refused(tmp_path, array):
    content = pickle_of({"a": Tensor("7", array)})
    with pytest.raises(ValueError, match="data/7"):
        zoo.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(ValueError, match="no checkpoint"):
        zoo.load_torch_state_dict(tmp_path / "b.pth")


def test_all_storage_types_have_names_of_torch():
    assert all(name.endswith("Storage") for name in _torch_file._DTYPES)
