"""What a file of a zoo keeps, and what is noticed when it is damaged."""

import hashlib
import json

import numpy as np
import pytest

from symmerge_jax import zoo
from tests.zoo.zoo_test import full


def without_checksum(raw):
    """Return a file as the first releases of the format wrote it."""
    raw = raw.replace(b'"symmerge_jax.sha256":', b'"symmerge_jax.unused":')
    return raw.replace(b'"version":"2"', b'"version":"1"')


@pytest.mark.parametrize("place", [None, -1, -200])
def test_files_of_version_1_are_read_and_their_data_compared(tmp_path, place):
    path = tmp_path / "a.zoo"
    zoo.save(path, full())
    raw = without_checksum(path.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:start]), bytearray(raw[start:])
    header["__metadata__"]["sha256"] = hashlib.sha256(data).hexdigest()
    if place is not None:
        data[place] ^= 1
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    if place is None:
        assert len(zoo.load(path)) == 6
    else:
        with pytest.raises(ValueError, match=r"a\.zoo' is damaged: .* checksum"):
            zoo.load(path)


def test_one_bit_of_the_metadata_is_noticed(tmp_path):
    path = tmp_path / "a.zoo"
    zoo.save(path, full())
    raw = path.read_bytes()
    assert raw.count(b"20.0") == 1
    path.write_bytes(raw.replace(b"20.0", b"10.0"))
    with pytest.raises(ValueError, match=r"a\.zoo' is damaged: .* checksum"):
        zoo.load(path)


def test_more_layers_than_tensors_are_refused_before_they_are_built(tmp_path):
    path = tmp_path / "a.zoo"
    zoo.save(path, full())
    raw = without_checksum(path.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    description = {"architecture": {"kind": "siren", "layer_sizes": [2] * 200_000}}
    header["__metadata__"]["zoo"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[start:])
    with pytest.raises(ValueError, match=r"a\.zoo' is damaged: .* 200000 layers"):
        zoo.load(path)


def test_a_changed_bit_is_found_when_a_file_is_loaded(tmp_path):
    path = tmp_path / "a.zoo"
    zoo.save(path, full())
    raw = bytearray(path.read_bytes())
    for place in (-1, -200):
        changed = raw.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"a\.zoo' is damaged: .* checksum"):
            zoo.load(path)
        assert len(zoo.load(path, validate=False)) == 6
        path.write_bytes(without_checksum(changed))
        assert len(zoo.load(path)) == 6


def test_bad_weights_in_a_file_are_found_when_it_is_loaded(tmp_path):
    path = tmp_path / "a.zoo"
    kernel = full().params["dense_1"]["kernel"]
    zoo.save(path, full())
    raw = without_checksum(path.read_bytes())
    bad = kernel.copy()
    bad[5, 0, 0] = np.nan
    path.write_bytes(raw.replace(kernel.tobytes(), bad.tobytes()))
    with pytest.raises(ValueError, match=r"a\.zoo' .* Network 5 .*dense_1/kernel"):
        zoo.load(path)
    assert len(zoo.load(path, validate=False)) == 6


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.zoo"
    with pytest.raises(FileNotFoundError, match=r"a\.zoo.*make_zoo"):
        zoo.load(path)
    zoo.save(path, full())
    raw = path.read_bytes()
    for content, message in [
        (raw[:-3], "truncated .* delete it and give the command that makes it again"),
        (raw[:40], "truncated in its header"),
        (raw[:3], "truncated"),
        (b"", "truncated"),
        (raw + b"more", "damaged"),
        (raw[:8] + b"?" * 20 + raw[28:], "no sound JSON"),
        (raw.replace(b'"version":"2"', b'"version":"9"'), "version '9'"),
        (raw.replace(b"symmerge_jax.zoo", b"symmerge_jax.zap"), "holds no zoo"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            zoo.load(path)
        assert str(path) in str(error.value)


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


METADATA = {"format": "symmerge_jax.zoo", "version": "1"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "no header of tensors"),
        ({}, "holds no tensors"),
        ({"__metadata__": METADATA}, "holds no tensors"),
        ({"__metadata__": [], "labels": ENTRY}, "no header of tensors"),
        ({"labels": 3}, "no header of tensors"),
        ({"labels": {**ENTRY, "data_offsets": [0]}}, "no header of tensors"),
        ({"labels": {**ENTRY, "shape": [-1]}}, "no header of tensors"),
        ({"labels": ENTRY}, "holds no zoo"),
        ({"__metadata__": METADATA, "labels": ENTRY}, "no sound JSON"),
        (
            {"__metadata__": {**METADATA, "zoo": "{"}, "labels": ENTRY},
            "no sound JSON",
        ),
        (
            {"__metadata__": {**METADATA, "zoo": "[]"}, "labels": ENTRY},
            r"description is \[\]",
        ),
        (
            {"__metadata__": {**METADATA, "zoo": "{}"}, "labels": ENTRY},
            "not a valid zoo: 'architecture'",
        ),
    ],
)
def test_headers_of_other_files_are_refused_by_name(tmp_path, header, message):
    text = json.dumps(header).encode()
    path = tmp_path / "a.zoo"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ValueError, match=message) as error:
        zoo.load(path)
    assert str(path) in str(error.value)
