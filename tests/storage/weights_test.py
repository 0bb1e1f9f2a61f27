import io
import os
import pathlib
import zipfile

import flax
import jax
import jax.numpy as jnp
import jaxtyping
import ml_dtypes
import numpy as np
import pytest

import symmerge_jax

ARCHITECTURE = {"kind": "mlp", "layer_sizes": [3, 2], "activation": "relu"}
BOTH = pytest.mark.parametrize("suffix", [".safetensors", ".npz"])


@pytest.fixture
def unchecked():
    """Switch jaxtyping's checks off, which would answer before our own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def params_of(dtype=np.float32, batch=()):
    kernel = np.arange(6 * max(1, *batch, 1)).reshape(*batch, 3, 2)
    return {"dense_0": {"kernel": kernel.astype(dtype), "bias": np.ones(2, dtype)}}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a["dense_0"]:
        one, two = np.asarray(a["dense_0"][name]), b["dense_0"][name]
        assert one.dtype == two.dtype and one.shape == two.shape
        assert one.tobytes() == two.tobytes()


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32])
def test_round_trip_keeps_every_bit(tmp_path, suffix, dtype):
    path = tmp_path / f"a{suffix}"
    symmerge_jax.save(path, params_of(dtype))
    assert_same(params_of(dtype), symmerge_jax.load(path))
    assert symmerge_jax.load_architecture(path) is None
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@BOTH
def test_architecture_is_kept_and_no_tensor(tmp_path, suffix):
    path = tmp_path / "new/folder" / f"a{suffix}"
    symmerge_jax.save(str(path), params_of(batch=(4,)), architecture=ARCHITECTURE)
    assert symmerge_jax.load_architecture(path) == ARCHITECTURE
    assert_same(params_of(batch=(4,)), symmerge_jax.load(path))


@BOTH
def test_scalars_transposes_and_jax_arrays_are_kept(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    transposed = np.arange(6.0).reshape(2, 3).T
    scalar = jnp.float32(3.0)
    symmerge_jax.save(path, {"a": {"b": {"scale": scalar}}, "kernel": transposed})
    loaded = symmerge_jax.load(path)
    assert loaded["a"]["b"]["scale"].shape == ()
    np.testing.assert_array_equal(loaded["kernel"], transposed)


@BOTH
def test_files_have_the_mode_of_other_new_files(tmp_path, suffix):
    symmerge_jax.save(tmp_path / f"a{suffix}", params_of())
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1, [oct(mode) for mode in modes]


def test_bfloat16_is_kept_by_safetensors_and_refused_by_npz(tmp_path):
    params = params_of(ml_dtypes.bfloat16)
    symmerge_jax.save(tmp_path / "a.safetensors", params)
    assert_same(params, symmerge_jax.load(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match=r"'dense_0/kernel' of type bfloat16.*\.safet"):
        symmerge_jax.save(tmp_path / "a.npz", params)
    assert not (tmp_path / "a.npz").exists()


@BOTH
def test_objects_are_refused_before_anything_is_written(tmp_path, suffix):
    params = {"a": np.array([None])}
    with pytest.raises(ValueError, match="cannot hold 'a' of type object"):
        symmerge_jax.save(tmp_path / f"a{suffix}", params)
    assert not list(tmp_path.iterdir())


def test_names_that_npz_needs_itself_are_refused(tmp_path):
    with pytest.raises(ValueError, match="called 'architecture'"):
        symmerge_jax.save(tmp_path / "a.npz", {"architecture": np.ones(1)})


@BOTH
def test_an_older_file_is_replaced(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    symmerge_jax.save(path, params_of(np.float64))
    symmerge_jax.save(path, params_of())
    assert_same(params_of(), symmerge_jax.load(path))


@pytest.mark.parametrize("name", ["a.pkl", "a", "a.pth"])
def test_other_suffixes_are_not_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz, got suffix"):
        symmerge_jax.save(tmp_path / name, params_of())


@BOTH
def test_missing_file_is_named(tmp_path, suffix):
    for call in (symmerge_jax.load, symmerge_jax.load_architecture):
        with pytest.raises(FileNotFoundError, match=f"nowhere{suffix}"):
            call(tmp_path / f"nowhere{suffix}")


@BOTH
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, suffix, kept):
    path = tmp_path / f"a{suffix}"
    symmerge_jax.save(path, params_of(), architecture=ARCHITECTURE)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match="damaged"):
        symmerge_jax.load(path)


@BOTH
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path, suffix, monkeypatch
):
    path = tmp_path / f"a{suffix}"
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=f"a{suffix}"):
        symmerge_jax.load(path)
    path.rmdir()
    symmerge_jax.save(path, params_of())

    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pathlib.Path, "open", forbidden)
    with pytest.raises(PermissionError, match=f"a{suffix}"):
        symmerge_jax.load(path)


def test_flipped_bits_in_npz_are_noticed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **{"dense_0/bias": np.arange(1000.0)})
    content = bytearray(path.read_bytes())
    content[200:220] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        symmerge_jax.load(path)


def test_an_npz_with_a_pickle_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{"not": "data"}], dtype=object))
    with pytest.raises(ValueError, match="is damaged"):
        symmerge_jax.load(path)


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="is damaged"):
        symmerge_jax.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"no array")
    with pytest.raises(ValueError, match="is damaged"):
        symmerge_jax.load(path)


def test_a_damaged_architecture_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(1), architecture=np.array("{"))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"a\.npz' is damaged"):
        symmerge_jax.load_architecture(path)


@BOTH
@pytest.mark.parametrize(
    "keys",
    [
        ("mlp/~/linear_0", "w"),
        ("a~1b", "~", "~0/~1"),
        ("", "w"),
        ("a.npy", "kernel.npy"),
        ("é数", "λ " * 50),
        ("back\\slash", "new\nline"),
        ("nested",) * 99 + ("w",),
    ],
    ids=range(7),
)
def test_every_key_comes_back_as_it_is(tmp_path, suffix, keys):
    path = tmp_path / f"a{suffix}"
    params = {"other": np.zeros(1)}
    node = params
    for key in keys[:-1]:
        node = node.setdefault(key, {})
    node[keys[-1]] = np.arange(3.0)
    symmerge_jax.save(path, params)
    assert jax.tree.structure(symmerge_jax.load(path)) == jax.tree.structure(params)


def cyclic():
    tree = {}
    tree["a"] = tree
    return tree


@BOTH
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([(1.0, 2.0)], TypeError, r"nested dicts of arrays, got list: give .* a name"),
        (np.ones(3), TypeError, "nested dicts of arrays, got ndarray"),
        (None, TypeError, "got NoneType"),
        ({"a": [np.ones(1)]}, TypeError, "'a' is of type list, not an array"),
        ({"a": {"b": None}}, TypeError, "'a/b' is of type NoneType"),
        ({"a": "text"}, TypeError, "'a' is of type str"),
        ({1: np.ones(1), "1": np.ones(2)}, ValueError, "key 1 .* rename it to '1'"),
        ({"a": {("b",): np.ones(1)}}, ValueError, r"key \('b',\) of 'a' is of type t"),
        ({"a": np.ones(1), "dropout": {}}, ValueError, "'dropout' is an empty dict"),
        ({}, ValueError, "the whole is an empty dict"),
        ({"a\0b": np.ones(1)}, ValueError, r"no file can hold the key 'a\\x00b'"),
        ({"\ud800": np.ones(1)}, ValueError, r"no file can hold the key '\\ud800'"),
        ({"k" * 70_000: np.ones(1)}, ValueError, "no file can hold the key 'kkk"),
        (cyclic(), ValueError, "nested more than 100 deep at 'a/a/"),
    ],
    ids=range(14),
)
def test_what_would_not_come_back_is_refused_by_name(
    tmp_path, suffix, params, error, message, unchecked
):
    with pytest.raises(error, match=message) as caught:
        symmerge_jax.save(tmp_path / f"a{suffix}", params)
    assert f"a{suffix}" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_frozen_dicts_come_back_as_dicts(tmp_path):
    path = tmp_path / "a.npz"
    symmerge_jax.save(path, flax.core.freeze(params_of()))
    assert_same(params_of(), symmerge_jax.load(path))


@BOTH
@pytest.mark.parametrize("name", ["{}", "n" * 240 + "{}", "a.b{}", "é λ 数{}"])
@pytest.mark.parametrize("upper", [False, True])
def test_any_file_name_is_written_and_read(tmp_path, monkeypatch, suffix, name, upper):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = "a" + name.format(suffix.upper() if upper else suffix)
    for path in (os.path.join("~", name), os.fsencode(tmp_path / name)):
        symmerge_jax.save(path, params_of())
        assert_same(params_of(), symmerge_jax.load(path))
    assert [file.name for file in tmp_path.iterdir()] == [name]


@BOTH
def test_names_that_no_file_may_have_end_in_one_line(tmp_path, suffix):
    path = tmp_path / f"{'n' * 300}{suffix}"
    with pytest.raises(OSError, match=f"name too long: .*nnn{suffix}'") as caught:
        symmerge_jax.save(path, params_of())
    assert ".part" not in str(caught.value)


@BOTH
def test_a_file_is_what_its_content_says(tmp_path, suffix):
    symmerge_jax.save(tmp_path / f"a{suffix}", params_of(), architecture=ARCHITECTURE)
    for name in ("a.bin", "a", "a.safetensors", "a.npz"):
        (tmp_path / f"a{suffix}").rename(tmp_path / name)
        assert_same(params_of(), symmerge_jax.load(tmp_path / name))
        assert symmerge_jax.load_architecture(tmp_path / name) == ARCHITECTURE
        (tmp_path / name).rename(tmp_path / f"a{suffix}")


@BOTH
def test_a_description_that_is_no_json_is_refused(tmp_path, suffix):
    with pytest.raises(TypeError, match="architecture is not valid JSON"):
        symmerge_jax.save(tmp_path / f"a{suffix}", params_of(), architecture={"a": {1}})
    assert not list(tmp_path.iterdir())


@BOTH
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_order_of_bytes_is_that_of_the_machine_or_kept(tmp_path, suffix, order):
    """Arrays of a zoo are little-endian by name."""
    path = tmp_path / f"a{suffix}"
    kernel = np.arange(3.0).astype(np.dtype(np.float32).newbyteorder(order))
    symmerge_jax.save(path, {"a": kernel})
    loaded = symmerge_jax.load(path)["a"]
    assert loaded.dtype.newbyteorder("=") == np.float32
    np.testing.assert_array_equal(loaded, kernel)
