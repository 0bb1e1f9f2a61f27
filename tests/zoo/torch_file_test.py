import collections
import os
import pickle
import types
import zipfile

import numpy as np
import pytest

from symmerge_jax import zoo
from symmerge_jax.zoo import _torch_file
from tests.zoo.checkpoints import Tensor, global_of, pickle_of, text, write


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


@pytest.mark.parametrize("content", [b"\x80\x09.", b"I12x\n."])
def test_pickles_that_cannot_be_read_are_named(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.pth: "):
        zoo.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))


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
