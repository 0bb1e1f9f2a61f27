"""Zoos in many files are read as one, and only where somebody looks."""

import json

import jax
import numpy as np
import pytest

from symmerge_jax import learning, symmetry, zoo
from symmerge_jax.zoo import _rows
from tests.learning import small
from tests.zoo import generate_sirens_test as sirens

image_set = sirens.image_set


@pytest.fixture
def sharded(tmp_path):
    """A zoo in three files, and the same in one piece."""
    whole = small.make_zoo(small.SIREN)
    parts = np.split(np.arange(len(whole)), [7, 8])
    zoo.save_shards(tmp_path / "a.zoo", (zoo.select(whole, x) for x in parts))
    return tmp_path / "a.zoo", whole


@pytest.mark.parametrize(
    "numbers",
    [
        *(slice(3, 9), slice(None, None, -2), slice(5, 5), 8, np.int32(-1)),
        *(np.array([9, 0, 7, 7]), np.arange(20) % 3 == 0, np.array([], int)),
    ],
    ids=str,
)
def test_rows_are_indexed_as_their_concatenation(numbers):
    array = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    rows = zoo.Rows(np.split(array, [7, 8]))
    np.testing.assert_array_equal(rows[numbers], array[numbers])
    if np.ndim(array[numbers]) == 3:
        taken = rows.take(numbers)
        assert taken.shape == array[numbers].shape and taken.ndim == 3
        np.testing.assert_array_equal(np.asarray(taken), array[numbers])
        np.testing.assert_array_equal(taken[::2], array[numbers][::2])


def test_rows_outside_are_an_error_and_arrays_have_to_be_alike():
    rows = zoo.Rows([np.zeros((3, 2)), np.zeros((1, 2))])
    with pytest.raises(IndexError):
        rows[4]
    with pytest.raises(IndexError):
        rows.take(np.array([0, 4]))
    with pytest.raises(ValueError, match="cannot be joined"):
        zoo.Rows([np.zeros((3, 2)), np.zeros((1, 2), np.float32)])


def test_shards_are_one_zoo(sharded):
    path, whole = sharded
    found = zoo.load(path)
    assert len(found) == 20 and found.architecture == whole.architecture
    for name in ("labels", "image_index", "subset_index"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    pixels = [np.asarray(x.images)[x.image_row] for x in (found, whole)]
    np.testing.assert_array_equal(*pixels)
    jax.tree.map(np.testing.assert_array_equal, found.params, whole.params)
    assert zoo.statistics(found) == zoo.statistics(whole)
    assert zoo.summary(found).splitlines()[0] == "networks      20"


def test_a_part_of_shards_stays_on_disk(sharded):
    path, whole = sharded
    chosen = np.array([19, 3, 7])
    found = zoo.select(zoo.load(path), chosen)
    for leaf in jax.tree.leaves(found.params):
        assert isinstance(leaf, zoo.Rows)
    again = zoo.select(found, np.array([2, 0]))
    wanted = symmetry.rows(whole.params, chosen[[2, 0]])
    jax.tree.map(np.testing.assert_array_equal, again.params, wanted)


def test_statistics_are_those_of_all_rows(monkeypatch):
    monkeypatch.setattr(_rows, "CHUNK", 3)
    whole = small.make_zoo(small.SIREN)
    for path, found in zoo.statistics(whole).items():
        leaf = symmetry.flatten(whole.params)[path].astype(float)
        np.testing.assert_allclose(found, (leaf.mean(), leaf.std()), rtol=1e-12)


def test_an_autoencoder_learns_the_same_from_shards(sharded, tmp_path):
    path, whole = sharded
    options = {"encoder": small.PROBE, "options": small.options(num_steps=2)}
    found = [
        learning.fit_canonicalizer(networks, tmp_path / name, **options)
        for name, networks in (("one", whole), ("many", zoo.load(path)))
    ]
    assert found[0].metadata["val_mse"] == found[1].metadata["val_mse"]


def test_shards_hold_the_networks_of_one_file_and_are_resumed(image_set, tmp_path):
    arguments = {"seed": 3, "architecture": sirens.SMALL, "options": sirens.OPTIONS}
    arguments |= {"fits_per_image": 2, "chunk_size": 4}
    calls = []

    def make():
        return zoo.load_or_fit_sirens(
            tmp_path / "a.zoo",
            image_set,
            shard_size=6,
            on_chunk=lambda *call: calls.append(call[:2]),
            **arguments,
        )

    made = make()
    whole = zoo.generate_siren_zoo(image_set, **arguments)
    sirens.assert_same_weights(whole, made)
    np.testing.assert_array_equal(whole.labels, made.labels)
    np.testing.assert_array_equal(whole.image_index, made.image_index)
    pixels = [np.asarray(x.images)[x.image_row] for x in (whole, made)]
    np.testing.assert_array_equal(*pixels)
    assert made.provenance == whole.provenance
    assert calls[0] == (0, 10) and calls[-1] == (10, 10)

    names = sorted(file.name for file in (tmp_path / "a.zoo").iterdir())
    assert names == ["00000.zoo", "00001.zoo", "index.json"]
    (tmp_path / "a.zoo/00001.zoo").unlink()
    calls.clear()
    sirens.assert_same_weights(make(), whole)
    assert calls == [(6, 10), (10, 10)]
    with pytest.raises(ValueError, match=r"00000.zoo holds another zoo: its seed is 3"):
        arguments["seed"] = 4
        make()


def test_numbers_outside_are_refused(image_set):
    with pytest.raises(ValueError, match=r"numbers must be a range within range\(0, 5"):
        zoo.generate_siren_zoo(image_set, numbers=range(4, 6))
    with pytest.raises(ValueError, match="shard_size must be at least 1, got 0"):
        zoo.load_or_fit_sirens("a.zoo", image_set, shard_size=0)


def test_a_folder_that_is_no_zoo_or_incomplete_is_refused(sharded, tmp_path):
    path, whole = sharded
    with pytest.raises(ValueError, match=r"a\.zoo' holds a zoo: remove it"):
        zoo.save_shards(path, [whole])
    with pytest.raises(ValueError, match="at least one zoo"):
        zoo.save_shards(tmp_path / "none.zoo", [])
    with pytest.raises(ValueError, match=r"without index\.json, no zoo or an inc"):
        zoo.load(tmp_path)
    index = path / "index.json"
    text = index.read_text()
    index.write_text(text.replace('"00000.zoo": 7', '"00000.zoo": 8'))
    with pytest.raises(ValueError, match=r"index\.json' is damaged"):
        zoo.load(path)
    index.write_text(json.dumps([]))
    with pytest.raises(ValueError, match=r"index\.json' is not the index of a zoo"):
        zoo.load(path)
    index.write_text(text)
    zoo.save(path / "00001.zoo", zoo.select(whole, np.arange(3)))
    with pytest.raises(ValueError, match=r"00001\.zoo' holds 3 networks, .* says 1"):
        zoo.load(path)
    (path / "00001.zoo").unlink()
    with pytest.raises(FileNotFoundError, match=r"00001\.zoo"):
        zoo.load(path)


def test_damage_of_a_shard_is_noticed(sharded):
    path, _ = sharded
    raw = bytearray((path / "00002.zoo").read_bytes())
    raw[-300] ^= 1  # a weight
    (path / "00002.zoo").write_bytes(raw)
    assert len(zoo.load(path, validate=False)) == 20
    with pytest.raises(ValueError, match=r"00002\.zoo' is damaged"):
        zoo.load(path)
