"""Weights that others wrote, in several files, or that lie about their size."""

import io
import json
import pickle
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import symmerge_jax


def zipped(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": 1}), "a Python pickle, which is never read"),
        (zipped(["archive/data.pkl", "archive/data/0"]), "opcode b'x' unknown"),
        (b"\x93NUMPY\x01\x00" + bytes(100), "one array of numpy.save"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"", "none of safetensors, .*, npz"),
        (b"\xff" * 100, "none of safetensors, .*, npz"),
    ],
    ids=range(6),
)
def test_files_of_others_are_told_by_their_content(tmp_path, content, message):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        symmerge_jax.load(tmp_path / "a.bin")
    assert "a.bin" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.bool_, np.uint8])
def test_safetensors_of_and_for_others(tmp_path, dtype):
    params = {"model.weight": np.arange(6).reshape(2, 3).astype(dtype)}
    safetensors.numpy.save_file(params, tmp_path / "theirs", metadata={"format": "pt"})
    symmerge_jax.save(tmp_path / "ours.safetensors", params)
    found = [
        symmerge_jax.load(tmp_path / "theirs"),
        safetensors.numpy.load_file(tmp_path / "ours.safetensors"),
    ]
    for tree in found:
        assert tree.keys() == params.keys()
        assert tree["model.weight"].dtype == dtype
        np.testing.assert_array_equal(tree["model.weight"], params["model.weight"])


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_of_and_for_others(tmp_path, compressed):
    params = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.float32(3)}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", **params)
    symmerge_jax.save(tmp_path / "b.npz", params)
    with np.load(tmp_path / "b.npz") as theirs:
        assert sorted(theirs.files) == ["a", "b"]
        for found in (symmerge_jax.load(tmp_path / "a.npz"), theirs):
            jax.tree.map(np.testing.assert_array_equal, dict(found), params)


def test_names_of_others_are_taken_as_they_are(tmp_path):
    np.savez(tmp_path / "a.npz", **{"mlp/~/linear~1": np.ones(1)})
    assert symmerge_jax.load(tmp_path / "a.npz")["mlp"]["~"]["linear~1"] == 1.0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a/b"], "'a/b' lies within another"),
        (["a/b", "a"], "another tensor lies within 'a'"),
        (["a/" * 3000 + "a"], "nested more than 100 deep"),
    ],
    ids=range(3),
)
def test_names_that_cannot_be_a_tree_are_refused(tmp_path, names, message):
    np.savez(tmp_path / "a.npz", **dict.fromkeys(names, np.ones(1)))
    with pytest.raises(ValueError, match=rf"a\.npz': .*{message}"):
        symmerge_jax.load(tmp_path / "a.npz")


def shard(folder, name="model", tensors=("a.weight", "a.bias", "b.weight")):
    """Write a model in three files and their index, as others publish them."""
    places = {}
    for number, tensor in enumerate(tensors, 1):
        file = f"{name}-{number:05d}-of-{len(tensors):05d}.safetensors"
        array = {tensor: np.full(2, number, np.float32)}
        safetensors.numpy.save_file(array, folder / file)
        places[tensor] = file
    index = folder / f"{name}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_a_model_in_several_files_is_read_by_its_index_or_folder(tmp_path):
    index = shard(tmp_path)
    for path in (index, tmp_path):
        found = symmerge_jax.load(path)
        assert {name: x[0] for name, x in found.items()} == {
            "a.weight": 1, "a.bias": 2, "b.weight": 3,
        }  # fmt: skip
        assert symmerge_jax.load_architecture(path) is None


def edit_index(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "weight_map": changes}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.with_name("model-00002-of-00003.safetensors").unlink(),
         "1 of 3 shards are missing, as '.*00002-of-00003.*copy the whole folder"),
        (lambda i: edit_index(i, a="../model.safetensors"), "not a file in its folder"),
        (lambda i: edit_index(i, a="/etc/passwd"), "not a file in its folder"),
        (lambda i: edit_index(i, a=3), "names 3, which is not a file"),
        (lambda i: edit_index(i, a=".."), "not a file in its folder"),
        (lambda i: edit_index(i), "it has no weight_map"),
        (lambda i: edit_index(i, c="model-00001-of-00003.safetensors"),
         "holds besides tensor 'a.weight'"),
        (lambda i: edit_index(i, **{"a.weight": "model-00001-of-00003.safetensors",
                                    "c": "model-00001-of-00003.safetensors"}),
         "lacks tensor 'c'"),
        (lambda i: i.write_text('{"weight_map": {"a": "x", "a": "y"}}'),
         "a name twice"),
        (lambda i: i.write_text("["), "no sound JSON"),
        (lambda i: shard(i.parent, "other"), "name one of model.* other"),
    ],
    ids=range(11),
)  # fmt: skip
def test_shards_that_do_not_fit_are_refused(tmp_path, change, message):
    index = shard(tmp_path)
    change(index)
    with pytest.raises(ValueError, match=message) as caught:
        symmerge_jax.load(tmp_path if "name one" in message else index)
    assert str(tmp_path) in str(caught.value)


def test_one_of_several_files_is_no_model(tmp_path):
    index = shard(tmp_path)
    one = tmp_path / "model-00001-of-00003.safetensors"
    with pytest.raises(ValueError, match=r"part 1 of 3 .*: read '.*index\.json'"):
        symmerge_jax.load(one)
    index.unlink()
    with pytest.raises(ValueError, match=r"part 1 of 3 .*index\.json' is missing"):
        symmerge_jax.load(one)
    one.rename(tmp_path / "model-00001-of-00001.safetensors")
    symmerge_jax.load(tmp_path / "model-00001-of-00001.safetensors")


def npz_of(content, **options):
    """Return an npz whose one member is not what numpy would write."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as file:
        file.writestr("a.npy", content)
    return buffer.getvalue()


def npy_header(shape, dtype="<f4"):
    buffer = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def safetensors_of(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def entry(shape, end, dtype="F32"):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz_of(npy_header((2**45,))), "35184372088832,.* in 0 bytes"),
        (npz_of(npy_header((2**62, 0, 2**62))), "damaged"),
        (npz_of(npy_header((2,), "|O") + bytes(16)), "array of object"),
        (npz_of(b"\x93NUMPY\x01\x00\x60\xea" + b"(" * 60_000), "damaged"),
        (npz_of(bytes(100), compression=zipfile.ZIP_LZMA), "unknown compression 14"),
        (safetensors_of(b'{"a":' + b"[" * 200_000), "nested too deeply"),
        (safetensors_of(entry([2**45], 2**47)), "expected 140737488355"),
        (safetensors_of(entry([0, 2**61, 2**61], 0)), "size of its shape"),
        (safetensors_of(entry([1] * 40, 4) | {}) + bytes(4), "no header of tensors"),
        (safetensors_of(entry([4], 4, "F3")) + bytes(4), "type 'F3', .* known are BOO"),
        ((2**60).to_bytes(8, "little") + b"{" + bytes(100), "truncated in its header"),
        (safetensors_of({}), "holds no tensors"),
        (zipped([]), "holds no tensors"),
    ],
    ids=range(13),
)
def test_what_a_file_declares_is_compared_with_its_size(tmp_path, content, message):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        symmerge_jax.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_small_file_of_many_zeros_is_refused_before_memory_is_taken(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(10_000_000, np.uint8))
    assert path.stat().st_size < 100_000
    assert symmerge_jax.load(path)["a"].shape == (10_000_000,)
    monkeypatch.setattr("symmerge_jax.files._npz._MAX_DECLARED", 5_000_000)
    message = r"a\.npz' is damaged .*\d{8} bytes of arrays in a file of \d{4,5}, which"
    with pytest.raises(ValueError, match=message):
        symmerge_jax.load(path)
