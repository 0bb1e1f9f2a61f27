import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from symmerge_jax import autoencoders, files, networks, symmetry

FILES = ["canonicalizer.json", "weights.safetensors"]


@pytest.fixture
def saved(tmp_path, canonicalizer):
    folder = tmp_path / "run" / "canonicalizer"
    autoencoders.save_canonicalizer(folder, canonicalizer)
    return folder


def edit(folder, **changes):
    """Write another description, as another writer would: with its own digest."""
    path = folder / "canonicalizer.json"
    content = json.loads(path.read_text()) | changes
    del content["sha256"]
    path.write_text(json.dumps(files.seal(content)))


@pytest.mark.slow
def test_batches_of_any_size_give_the_same(canonicalizer, population):
    whole = canonicalizer.encode(population)
    parts = canonicalizer.encode(population, batch_size=3)
    assert isinstance(whole, np.ndarray) and whole.shape == (7, 4)
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-4)
    one = jax.tree.map(lambda x: x[5], population)
    alone = canonicalizer.encode(one, batch_size=3)
    np.testing.assert_allclose(alone, whole[5], rtol=1e-4, atol=1e-4)
    decoded = canonicalizer.reconstruct(population, batch_size=3)
    assert jax.tree.map(np.shape, decoded) == jax.tree.map(np.shape, population)
    alone = canonicalizer.reconstruct(one)
    for a, b in zip(*map(jax.tree.leaves, (alone, decoded)), strict=True):
        np.testing.assert_allclose(a, b[5], rtol=1e-4, atol=1e-4)


def test_networks_that_do_not_fit_are_refused(canonicalizer, population, key):
    encode = canonicalizer.encode
    with pytest.raises(ValueError, match=r"'hidden_0': 5.*'hidden_0': 4"):
        encode(networks.siren((2, 5, 4, 1)).init(key))
    with pytest.raises(ValueError, match="missing"):
        encode(networks.siren((2, 4, 1)).init(key))
    with pytest.raises(ValueError, match=r"one batch axis, got axes \(1, 7\)"):
        encode(jax.tree.map(lambda x: x[None], population))
    with pytest.raises(ValueError, match="zero networks"):
        encode(jax.tree.map(lambda x: x[:0], population))
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        encode(population, batch_size=0)
    broken = jax.tree.map(np.copy, population)
    broken["dense_1"]["bias"][6, 2] = np.inf
    with pytest.raises(ValueError, match=r"dense_1/bias' is not finite.*\(6, 2\)"):
        canonicalizer.reconstruct(broken)


def test_it_is_shown_without_its_numbers(canonicalizer):
    assert "architecture={'kind': " in repr(canonicalizer)
    assert "variables" not in repr(canonicalizer)


def test_round_trip_is_bitwise(saved, canonicalizer, population):
    assert sorted(file.name for file in saved.iterdir()) == FILES
    for path in (saved, str(saved.parent)):  # the folder, or the workdir
        loaded = autoencoders.load_canonicalizer(path)
        for field in (
            "architecture",
            "encoder_options",
            "decoder_options",
            "statistics",
            "metadata",
        ):
            assert getattr(loaded, field) == getattr(canonicalizer, field)
        old, new = map(symmetry.flatten, (canonicalizer.variables, loaded.variables))
        assert old.keys() == new.keys()
        for name, leaf in old.items():
            assert np.asarray(leaf).tobytes() == np.asarray(new[name]).tobytes()
    np.testing.assert_array_equal(
        loaded.encode(population), canonicalizer.encode(population)
    )


def test_an_older_canonicalizer_is_replaced_as_a_whole(saved, canonicalizer):
    autoencoders.save_canonicalizer(
        saved, dataclasses.replace(canonicalizer, metadata={"n": 2})
    )
    assert autoencoders.load_canonicalizer(saved).metadata == {"n": 2}
    assert [path.name for path in saved.parent.iterdir()] == ["canonicalizer"]
    (saved / "canonicalizer.json").unlink()  # damaged: may be exported again
    autoencoders.save_canonicalizer(saved, canonicalizer)
    assert sorted(file.name for file in saved.iterdir()) == FILES


def test_a_failed_write_leaves_the_older_one(saved, canonicalizer, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files, "write_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        autoencoders.save_canonicalizer(saved, canonicalizer)
    monkeypatch.undo()
    autoencoders.load_canonicalizer(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["canonicalizer"]


def test_an_interrupted_replacement_puts_the_older_one_back(
    saved, canonicalizer, monkeypatch
):
    rename, calls = pathlib.Path.rename, []

    def stop_at_second(path, target):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", stop_at_second)
    newer = dataclasses.replace(canonicalizer, metadata={"n": 2})
    with pytest.raises(KeyboardInterrupt):
        autoencoders.save_canonicalizer(saved, newer)
    monkeypatch.undo()
    assert autoencoders.load_canonicalizer(saved).metadata == canonicalizer.metadata
    assert [path.name for path in saved.parent.iterdir()] == ["canonicalizer"]


def test_other_folders_are_not_replaced(saved, canonicalizer):
    for path in (saved.parent, saved / "canonicalizer.json"):
        with pytest.raises(ValueError, match="is not replaced"):
            autoencoders.save_canonicalizer(path, canonicalizer)
    autoencoders.load_canonicalizer(saved)


def test_missing_files_are_named(tmp_path, saved):
    with pytest.raises(FileNotFoundError, match=r"No canonicaliser in .*train\.py"):
        autoencoders.load_canonicalizer(tmp_path / "nowhere")
    (saved / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors' does not"):
        autoencoders.load_canonicalizer(saved)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated_files_are_refused(saved, name, kept):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"is damaged .*export it again"):
        autoencoders.load_canonicalizer(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "version 3; this release reads .* version 2"),
        ({"format": "other"}, "has format 'other'"),
        ({"encoder": None}, "is damaged"),
        ({"statistics": {"dense_0/bias": 3}}, "is damaged"),
    ],
)
def test_other_contents_are_refused(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(ValueError, match=message):
        autoencoders.load_canonicalizer(saved)


def test_json_that_is_no_canonicalizer_is_refused(saved):
    (saved / "canonicalizer.json").write_text("[1]")
    with pytest.raises(ValueError, match="is damaged"):
        autoencoders.load_canonicalizer(saved)
    (saved / "canonicalizer.json").write_text("{}")
    with pytest.raises(ValueError, match="has format None"):
        autoencoders.load_canonicalizer(saved)
    (saved / "canonicalizer.json").write_text(
        json.dumps({"format": "symmerge_jax.canonicalizer", "version": 1})
    )
    with pytest.raises(ValueError, match=r"is damaged .*'architecture'"):
        autoencoders.load_canonicalizer(saved)


def test_weights_of_another_description_are_refused(saved, canonicalizer):
    edit(saved, encoder={**canonicalizer.encoder_options, "width": 5})
    with pytest.raises(ValueError, match=r"tensor 'decoder/.* has shape .*describes"):
        autoencoders.load_canonicalizer(saved)
    edit(saved, encoder={**canonicalizer.encoder_options, "num_probes": 0})
    with pytest.raises(ValueError, match=r"'probe/params/.*describes None"):
        autoencoders.load_canonicalizer(saved)


@pytest.mark.parametrize(
    "change", [("0.2", "8.2"), ("siren", "sirex"), ("0.25", "0.15")]
)
def test_a_description_that_was_changed_is_refused(saved, change):
    path = saved / "canonicalizer.json"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ValueError, match=r"r\.json' is damaged: .*checksum"):
        autoencoders.load_canonicalizer(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"kind": "scale_gmn", "num_layers": 100_000}}, "100000 layers"),
        (
            {"architecture": {"kind": "siren", "layer_sizes": [2] * 200_000}},
            "200000 la",
        ),
        ({"architecture": {"kind": "x"}}, "describes no canonicaliser: .*'x'"),
        ({"encoder": {"kind": "scale_gmn", "no": 1}}, "describes no canonicaliser"),
    ],
    ids=range(4),
)
def test_descriptions_of_strangers_are_bounded_and_named(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(ValueError, match=rf"canonicalizer\.json' .*{message}"):
        autoencoders.load_canonicalizer(saved)


def test_a_description_that_is_nested_too_deeply_is_refused(saved):
    (saved / "canonicalizer.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"is damaged .*json' .* nested too deeply"):
        autoencoders.load_canonicalizer(saved)


def test_canonicalisers_of_version_1_are_read(saved, canonicalizer):
    path = saved / "canonicalizer.json"
    content = json.loads(path.read_text()) | {"version": 1}
    del content["sha256"]
    path.write_text(json.dumps(content))
    loaded = autoencoders.load_canonicalizer(saved)
    assert loaded.encoder_options == canonicalizer.encoder_options
    path.write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(ValueError, match=r"canonicalizer\.json' is damaged"):
        autoencoders.load_canonicalizer(saved)
