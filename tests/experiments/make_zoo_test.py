import importlib.util
import pathlib

import pytest

from symmerge_jax import zoo
from symmerge_jax.experiments import make_zoo

CONFIGS = pathlib.Path(__file__).parents[2] / "launch" / "configs"


def config_of(name, variant):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def test_smoke_config_makes_a_zoo_and_finds_it_again(tmp_path, capsys):
    config = config_of("zoo_digits", "smoke")
    config.architecture.hidden_sizes = (5,)
    config.fits_per_image = 2
    made = make_zoo.run(config, tmp_path / "a.zoo")
    assert len(made) == 16
    assert made.architecture["layer_sizes"] == [2, 5, 1]
    assert "16/16 network" in capsys.readouterr().err
    again = make_zoo.run(config, tmp_path / "a.zoo")
    assert again.provenance == made.provenance
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_mnist_smoke_config_runs(tmp_path, data_dir):
    made = make_zoo.run(config_of("zoo_mnist", "smoke"), tmp_path / "a.zoo")
    assert len(made) == 8 and made.images.shape == (8, 28, 28)


def test_unknown_key_is_refused_with_the_nearest(tmp_path):
    config = make_zoo.default_config()
    config.fit.num_step = 3
    with pytest.raises(ValueError, match=r"fit\.num_step'.*fit\.num_steps"):
        make_zoo.run(config, tmp_path / "a.zoo")
    assert not list(tmp_path.iterdir())


def test_unknown_variants_are_refused():
    for name in ("zoo_digits", "zoo_mnist"):
        with pytest.raises(ValueError, match="Variants"):
            config_of(name, "huge")


def test_import_writes_one_file(tmp_path, data_dir):
    path = tmp_path / "a.zoo"
    imported = make_zoo.run_import(data_dir / "mnist_inrs", path)
    assert len(imported) == len(zoo.load(path)) == 32
    with pytest.raises(ValueError, match="exists"):
        make_zoo.run_import(data_dir / "mnist_inrs", path)
