import pytest

from symmerge_jax import files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no sound JSON"),
        (b"\xff\xfe\xff", "no sound JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": 1, "b": {"a": 1, "a": 2}}', "a name twice"),
    ],
    ids=range(4),
)
def test_what_is_no_sound_json_is_refused_by_file(text, message):
    with pytest.raises(ValueError, match=rf"'here' is damaged: .*{message}"):
        files.parse_json(text, "here")


CONTENT = {"b": [1, 2.5, None], "a": {"é": "x"}, "nan": float("nan")}


def test_a_seal_holds_whatever_the_order_and_the_spaces():
    sealed = files.seal(CONTENT)
    files.check_seal(dict(reversed(sealed.items())), "here", required=True)
    assert {**CONTENT, "sha256": sealed["sha256"]} == sealed


@pytest.mark.parametrize(
    "change", [{"a": 1}, {"b": [1, 2.25, None]}, {"c": None}, {"sha256": "0"}], ids=str
)
def test_a_changed_object_is_refused(change):
    with pytest.raises(ValueError, match=r"'here' is damaged: .* checksum"):
        files.check_seal(files.seal(CONTENT) | change, "here", required=False)


def test_an_object_without_a_seal_is_refused_where_it_needs_one():
    files.check_seal(CONTENT, "here", required=False)
    with pytest.raises(ValueError, match="'here' is damaged"):
        files.check_seal(CONTENT, "here", required=True)


@pytest.mark.parametrize(
    ("description", "size"),
    [
        ({"layer_sizes": [2] * 1001}, 1001),
        ({"encoder": {"num_layers": 100_000}}, 100_000),
        ({"a": [[{"no": 1}], [2] * 5000]}, 5000),
        ({"num_blocks": 2**80}, 2**80),
    ],
    ids=range(4),
)
def test_descriptions_of_too_many_layers_are_refused(description, size):
    with pytest.raises(ValueError, match=f"'here' is damaged: .* {size} layers"):
        files.check_lengths(description, "here", num_tensors=8)


def test_as_many_layers_as_tensors_are_fine():
    description = {"layer_sizes": [2] * 3001, "num_layers": 1000, "width": 10**9}
    files.check_lengths(description, "here", num_tensors=3000)
