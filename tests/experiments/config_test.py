import pytest
from ml_collections import ConfigDict, config_dict

from experiments import harness


@pytest.fixture
def defaults():
    return ConfigDict(
        {
            "num_steps": 100,
            "learning_rate": 1e-3,
            "shuffle": True,
            "model": {"width": 32, "layer_sizes": (2, 32, 1), "kind": "siren"},
            "clip_norm": None,
            "seed": config_dict.placeholder(int),
        }
    )


def test_defaults_are_filled_in(defaults):
    given = ConfigDict({"model": {"width": 64}, "learning_rate": 1})
    config = harness.check_config(given, defaults)
    assert config.model.width == 64
    assert config.model.kind == "siren"
    assert config.num_steps == 100
    assert config.learning_rate == 1.0
    assert isinstance(config.learning_rate, float)
    assert defaults.model.width == 32
    assert "num_steps" not in given


def test_values_that_fit_are_taken(defaults):
    given = ConfigDict(
        {"model": {"layer_sizes": [2, 8, 1]}, "clip_norm": "any", "seed": 3}
    )
    config = harness.check_config(given, defaults)
    assert config.model.layer_sizes == (2, 8, 1)
    assert config.clip_norm == "any"
    assert config.seed == 3
    assert defaults.seed is None
    assert harness.check_config(ConfigDict({"seed": None}), defaults).seed is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_step": 1}, r"unknown config key 'num_step': did you mean 'num_steps'\?"),
        ({"width": 1}, r"'width': did you mean 'model.width'\?"),
        ({"model": {"widht": 1}}, r"'model.widht': did you mean 'model.width'"),
        ({"num_steps": {"x": 1}}, r"unknown config key 'num_steps.x'"),
        ({"zzz": 1}, r"the keys are clip_norm, learning_rate, model.kind,"),
    ],
)
def test_unknown_keys_are_refused(defaults, given, message):
    with pytest.raises(ValueError, match=message):
        harness.check_config(ConfigDict(given), defaults)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_steps": "many"}, r"'num_steps' must be of type int, got 'many' \(str\)"),
        ({"num_steps": 1.5}, r"'num_steps' must be of type int, got 1.5 \(float\)"),
        ({"num_steps": True}, r"'num_steps' must be of type int, got True \(bool\)"),
        ({"shuffle": 1}, r"'shuffle' must be of type bool"),
        ({"num_steps": None}, r"'num_steps' must be of type int, got None"),
        ({"model": 3}, r"'model' must be a group of keys, got 3"),
        ({"seed": "x"}, r"'seed' must be of type int"),
        ({"model": {"layer_sizes": 3}}, r"'model.layer_sizes' must be of type tuple"),
    ],
)
def test_values_of_another_type_are_refused(defaults, given, message):
    with pytest.raises(TypeError, match=message):
        harness.check_config(ConfigDict(given), defaults)


def test_overrides_are_typed_by_the_config(defaults):
    config = harness.override_config(
        defaults,
        {
            "num_steps": "7",
            "learning_rate": "2e-2",
            "shuffle": "false",
            "model.layer_sizes": "2,8,1",
            "model.kind": "1",
            "clip_norm": "0.5",
            "seed": "none",
        },
    )
    assert config.num_steps == 7
    assert config.learning_rate == 0.02
    assert config.shuffle is False
    assert config.model.layer_sizes == (2, 8, 1)
    assert config.model.kind == "1"
    assert config.clip_norm == 0.5
    assert config.seed is None
    assert config.model.width == 32
    assert defaults.num_steps == 100
    with pytest.raises(ValueError, match=r"'model.widht': did you mean"):
        harness.override_config(defaults, {"model.widht": "1"})
    with pytest.raises(TypeError, match="'num_steps' must be of type int, got 'x'"):
        harness.override_config(defaults, {"num_steps": "x"})
    with pytest.raises(TypeError, match="'model' must be a group of keys"):
        harness.override_config(defaults, {"model": "x"})


def test_none_empties_a_key_that_was_set():
    defaults = ConfigDict({"zoo": config_dict.placeholder(str), "seed": 0})
    given = ConfigDict({"zoo": "a.zoo", "seed": 1})
    emptied = harness.override_config(given, {"zoo": "none"})
    assert emptied.zoo is None and given.zoo == "a.zoo"
    assert harness.check_config(emptied, defaults).zoo is None
    emptied = harness.override_config(given, {"seed": "None"})
    with pytest.raises(TypeError, match="'seed' must be of type int, got None"):
        harness.check_config(emptied, defaults)


def test_an_empty_group_takes_text_under_any_names():
    defaults = ConfigDict({"num_steps": 1, "runs": {}})
    given = ConfigDict({"runs": {"Neural Graphs": "a", "b": "c"}})
    checked = harness.check_config(given, defaults)
    assert checked.to_dict() == {"num_steps": 1, **given.to_dict()}
    assert harness.check_config(ConfigDict(), defaults) == defaults
    for overrides in (
        {"runs": "{'Neural Graphs': 'a', 'b': 'c'}"},
        {"runs.Neural Graphs": "a", "runs.b": "c"},
    ):
        assert harness.override_config(defaults, overrides) == checked
    with pytest.raises(TypeError, match=r"'runs\.b' must be of type str, got 3"):
        harness.check_config(ConfigDict({"runs": {"b": 3}}), defaults)
    with pytest.raises(TypeError, match="'runs' must be a group of keys, got 'a'"):
        harness.override_config(defaults, {"runs": "a"})
    with pytest.raises(ValueError, match=r"without dots, got 'a\.b'"):
        harness.override_config(defaults, {"runs": "{'a.b': 'c'}"})
    with pytest.raises(ValueError, match="'run': did you mean 'runs'"):
        harness.override_config(defaults, {"run": "a"})
    with pytest.raises(ValueError, match=r"unknown config key 'runs\.a\.b'"):
        harness.override_config(defaults, {"runs.a.b": "c"})


def test_hash_depends_on_values_alone(defaults):
    a = ConfigDict({"x": 1, "y": {"z": (1, 2)}})
    b = ConfigDict({"y": {"z": [1, 2]}, "x": 1})
    c = ConfigDict({"y": {"z": [1, 3]}, "x": 1})
    assert harness.config_hash(a) == harness.config_hash(b)
    assert harness.config_hash(a) != harness.config_hash(c)
    assert len(harness.config_hash(defaults)) == 12


def test_json_round_trip(defaults, tmp_path):
    harness.save_config(tmp_path / "config.json", defaults)
    loaded = harness.load_config(tmp_path / "config.json")
    assert harness.check_config(loaded, defaults) == defaults
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_bad_json_is_named(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(FileNotFoundError, match=r"no config in .*config.json"):
        harness.load_config(path)
    path.write_text('{"a": ')
    with pytest.raises(
        ValueError, match=r"config.json is not JSON .* delete its whole folder"
    ):
        harness.load_config(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="not a JSON object"):
        harness.load_config(path)


def test_config_files(tmp_path):
    body = "from ml_collections import ConfigDict\n"
    (tmp_path / "digits.py").write_text(
        f"{body}def get_config():\n    return ConfigDict({{'a': 1}})\n"
    )
    (tmp_path / "mnist.py").write_text(
        f"{body}def get_config(variant=''):\n    return ConfigDict({{'v': variant}})\n"
    )
    (tmp_path / "empty.py").write_text("")
    assert harness.load_config_file(tmp_path / "digits.py").a == 1
    assert harness.load_config_file(tmp_path / "mnist.py").v == ""
    assert harness.load_config_file(f"{tmp_path}/mnist.py:smoke").v == "smoke"
    with pytest.raises(FileNotFoundError, match=r"did you mean digits.py"):
        harness.load_config_file(tmp_path / "digit.py")
    with pytest.raises(ValueError, match="no variants: omit ':smoke'"):
        harness.load_config_file(f"{tmp_path}/digits.py:smoke")
    with pytest.raises(ValueError, match="has no function get_config"):
        harness.load_config_file(tmp_path / "empty.py")


def test_what_is_sealed_comes_back_and_a_changed_digit_is_noticed(tmp_path):
    path = tmp_path / "a.json"
    content = {"curve": [0.25, float("inf")], "name": "é"}
    harness.write_sealed(path, content)
    assert harness.read_sealed(path) == content
    path.write_text(path.read_text().replace("0.25", "0.75"))
    with pytest.raises(ValueError, match=r"a\.json' is damaged: .* checksum"):
        harness.read_sealed(path)
    harness.write_json(path, content)  # as earlier versions did
    assert harness.read_sealed(path) == content
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"a\.json is not a JSON object"):
        harness.read_sealed(path)
