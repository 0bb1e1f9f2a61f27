import io
import pathlib
import zipfile

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import symmerge_jax

ARCHITECTURE = {"kind": "mlp", "layer_sizes": [3, 2], "activation": "relu"}
BOTH = pytest.mark.parametrize("suffix", [".safetensors", ".npz"])


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


@pytest.mark.parametrize("name", ["a.pkl", "a", "a.pth", "a.NPZ"])
def test_other_suffixes_are_refused(tmp_path, name):
    for call in (lambda p: symmerge_jax.save(p, params_of()), symmerge_jax.load):
        with pytest.raises(ValueError, match=r"\.safetensors or \.npz, got suffix"):
            call(tmp_path / name)


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
    with pytest.raises(ValueError, match="is damaged or no"):
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
