import collections
import os
import pickle
import struct
import tracemalloc
import types
import zipfile

import numpy as np
import pytest

from symmerge_jax import files
from symmerge_jax.files import _torch_pickle
from tests.zoo.checkpoints import Tensor, global_of, nested, pickle_of, text, write


@pytest.fixture
def array():
    return np.arange(12, dtype=np.float32).reshape(3, 4) / 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("byteorder", [None, "little", "big"])
def test_tensors_are_read(tmp_path, array, dtype, byteorder):
    values = (array * 7).astype(dtype)
    tensors = {"a": Tensor("0", values), "b": Tensor("1", values[0])}
    found = files.load_torch_state_dict(
        write(tmp_path / "a.pth", tensors, byteorder=byteorder)
    )
    assert list(found) == ["a", "b"] and found["a"].dtype == dtype
    np.testing.assert_array_equal(found["a"], values)
    np.testing.assert_array_equal(found["b"], values[0])


def test_offset_and_stride_are_followed(tmp_path, array):
    view = Tensor("0", array, offset=1, shape=(2, 3), stride=(1, 4))
    found = files.load_torch_state_dict(write(tmp_path / "a.pth", {"a": view}))
    np.testing.assert_array_equal(found["a"], array[:, 1:3].T)


def test_empty_and_scalar_tensors_are_read(tmp_path, array):
    tensors = {
        "none": Tensor("0", array, shape=(0, 4), stride=(4, 1)),
        "one": Tensor("1", array, offset=5, shape=(), stride=()),
    }
    found = files.load_torch_state_dict(write(tmp_path / "a.pth", tensors))
    assert found["none"].shape == (0, 4) and found["one"] == array.flat[5]


@pytest.mark.parametrize(
    ("names", "key", "found"),
    [
        (["state_dict"], None, "state_dict"),
        (["state_dict"], "state_dict", "state_dict"),
        (["a.net", "b.c"], "a.net", "a.net"),
        (["a.net", "b.c"], "b.c", "b.c"),
    ],
)
def test_a_state_dict_in_a_checkpoint_is_found(tmp_path, array, names, key, found):
    tensors = {name: {"w": Tensor(str(i), array + i)} for i, name in enumerate(names)}
    entries = {"epoch": 3, "name": "x", "options": {}}
    for name, tensor in tensors.items():
        outer, _, inner = name.partition(".")
        entries[outer] = {inner: tensor, "step": 1} if inner else tensor
    stored = {name: tensor["w"] for name, tensor in tensors.items()}
    path = write(tmp_path / "a.ckpt", stored, nested(**entries))
    where, state_dict = files.find_torch_state_dict(path, key=key)
    assert where == found
    np.testing.assert_array_equal(state_dict["w"], array + names.index(found))


def test_what_is_ambiguous_or_missing_is_listed(tmp_path, array):
    tensors = {"w": Tensor("0", array)}
    content = nested(epoch=3, model=tensors, ema={"net": {"w": Tensor("0", array)}})
    path = write(tmp_path / "a.pth", tensors, content)
    for key, message in [
        (None, r"a\.pth: it holds 2 dicts of tensors.*--key=model or --key=ema\.net"),
        ("models", r"no entry 'models' in it; there are \['model'\]"),
        ("ema.x", r"no entry 'x' in it; there are \['net'\]"),
        ("ema", "entry 'net' is of type dict"),
        ("epoch", "holds a int, expected a dict of tensors"),
    ]:
        with pytest.raises(ValueError, match=message):
            files.load_torch_state_dict(path, key=key)


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
        files.load_torch_state_dict(path)
    assert not os.path.exists("ran")


@pytest.mark.parametrize("content", [b"\x80\x09.", b"I12x\n."])
def test_pickles_that_cannot_be_read_are_named(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.pth: "):
        files.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))


def test_pickle_of_an_object_is_refused(tmp_path):
    content = pickle.dumps({"w": types.SimpleNamespace(a=1)})
    with pytest.raises(ValueError, match="SimpleNamespace"):
        files.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))


def test_pickle_cannot_change_what_it_may_name(tmp_path):
    for target in (
        global_of("collections", "OrderedDict"),
        global_of("torch._utils", "_rebuild_tensor_v2"),
        global_of("torch", "FloatStorage"),
    ):
        # BUILD sets attributes of the object below it.
        content = b"\x80\x02" + target + b"N}(" + text("evil") + b"I1\nu\x86b0}."
        with pytest.raises(ValueError):
            files.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))
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
        files.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))


@pytest.mark.parametrize(
    ("message", "layout"),
    [
        ("truncated", {"offset": 1}),
        ("truncated", {"shape": (3, 5), "stride": (4, 1)}),
        ("expanded", {"shape": (10**12,), "stride": (0,)}),
        ("truncated", {"shape": (3,), "stride": (10**12,)}),
        ("impossible", {"offset": -1}),
        ("impossible", {"stride": (-4, 1)}),
        ("impossible", {"stride": (1,)}),
        ("impossible", {"shape": (1,) * 65, "stride": (1,) * 65}),
        ("impossible", {"shape": (0, 2**64)}),
    ],
)
def test_impossible_layouts_are_refused(tmp_path, array, message, layout):
    path = write(tmp_path / "a.pth", {"a": Tensor("0", array, **layout)})
    with pytest.raises(ValueError, match=rf"a\.pth.*{message}"):
        files.load_torch_state_dict(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-30], r"no PyTorch checkpoint, or truncated"),
        (lambda raw: b"old format", "no PyTorch checkpoint"),
        (
            lambda raw: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
            "older than PyTorch 1",
        ),
        (lambda raw: raw.replace(b"\x25\x49\x12", b"\x25\x49\x13"), "damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, array, change, message):
    path = write(tmp_path / "a.pth", {"a": Tensor("0", array)})
    changed = change(path.read_bytes())
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=rf"a\.pth.*{message}"):
        files.load_torch_state_dict(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b\.pth"):
        files.load_torch_state_dict(tmp_path / "b.pth")


def test_no_damage_raises_another_error(tmp_path, array):
    """Single flipped bytes and cut ends; zip checks the numbers by their CRC."""
    tensors = {"a.weight": Tensor("0", array), "a.bias": Tensor("1", array[0])}
    path = write(tmp_path / "a.pth", tensors, byteorder="little")
    raw, expected = path.read_bytes(), files.load_torch_state_dict(path)
    generator = np.random.default_rng(0)
    variants = [raw[: generator.integers(len(raw))] for _ in range(100)]
    for _ in range(200):
        flipped = bytearray(raw)
        flipped[generator.integers(len(raw))] ^= 1 << generator.integers(8)
        variants.append(bytes(flipped))
    num_equal = 0
    for variant in variants:
        path.write_bytes(variant)
        files.is_torch_file(path)
        try:
            found = files.load_torch_state_dict(path)
        except ValueError as error:
            assert str(path) in str(error)
            continue
        num_equal += 1
        for name, value in found.items():
            np.testing.assert_array_equal(value, expected[name])
    assert num_equal < 100


GREEDY = {
    "a storage of zeros, packed": (zipfile.ZIP_DEFLATED, "'archive/data/0' is comp"),
    "a packed storage that lies": (zipfile.ZIP_BZIP2, "'archive/data/0' is compressed"),
    "a storage that lies": (zipfile.ZIP_STORED, "or damaged"),
    "100 tensors of one storage": (None, "too many of them share their data"),
    "a memo of 2**28 entries": (b"Nr\xff\xff\xff\x0f.", "holds a NoneType"),
    "an array of 2**60 bytes": (b"\x96" + bytes(7) + b"\x10.", "bytes"),
    "text of 2**60 bytes": (b"\x8d" + bytes(7) + b"\x10.", "bytes"),
    "a number of 2**30 digits": (b"\x8b\xff\xff\xff\x3f.", "not enough"),
    "nested lists": (b"(" * 5000 + b"l" * 5000 + b".", "opcode LIST"),
    "nested dicts": (b"}" + b"X\1\0\0\0a}" * 5000 + b"s" * 5000 + b".", "dict"),
    "a tuple of tuples": (b")" + b"q\0h\0\x86" * 64 + b"N}q\1h\0Ns.", "type tuple"),
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_small_file_takes_little_memory(tmp_path, array, name):
    content, message = GREEDY[name]
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        write(path, {}, content)
    elif content is None:
        big = np.ones(10_000, np.float32)
        shared = {f"w{i}": Tensor("0", big) for i in range(100)}
        write(path, {"0": Tensor("0", big)}, pickle_of(shared))
    else:
        zeros = np.zeros(2**22, np.float32)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(
                "archive/data.pkl", pickle_of({"w": Tensor("0", zeros[:4])})
            )
            archive.writestr("archive/data/0", zeros.tobytes(), content)
        if "lies" in name:  # the directory at the end says that it has 16 bytes
            raw = path.read_bytes()
            place = raw.rindex(b"PK\1\2") + 24
            path.write_bytes(raw[:place] + struct.pack("<I", 16) + raw[place + 4 :])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"a\.pth.*{message}"):
            files.load_torch_state_dict(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_missing_storage_and_foreign_zip_are_refused(tmp_path, array):
    content = pickle_of({"a": Tensor("7", array)})
    with pytest.raises(ValueError, match="data/7"):
        files.load_torch_state_dict(write(tmp_path / "a.pth", {}, content))
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(ValueError, match="no checkpoint"):
        files.load_torch_state_dict(tmp_path / "b.pth")


def test_all_storage_types_have_names_of_torch():
    assert all(name.endswith("Storage") for name in _torch_pickle.DTYPES)
