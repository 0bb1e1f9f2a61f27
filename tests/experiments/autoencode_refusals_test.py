"""Configs of the main experiment that are refused before any work."""

import pytest

from experiments.train import autoencode
from symmerge_jax import zoo
from tests.experiments import configs
from tests.experiments.autoencode_test import probe_config, run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "mse"}, r"loss is 'mse', known are.*'weights'"),
        ({"num_step": 3}, "unknown config key 'num_step': did you mean 'num_steps'"),
        ({"encoder.widht": 3}, r"did you mean 'encoder\.width'"),
        ({"pixel_expansion": 0}, r"pixel_expansion must be >= 1, got 0"),
        ({"batch_size": 0}, r"config\.batch_size must be >= 1, got 0"),
        ({"num_probe_networks": 0}, r"num_probe_networks must be >= 1, got 0"),
        ({"num_orbits": 0}, r"num_orbits must be >= 1, got 0"),
        ({"num_twins": 0}, r"num_twins must be >= 1, got 0"),
        ({"data.num_images": 0}, r"num_images must lie in 1\.\.1797, .* got 0"),
        (
            {"encoder.num_layers": 3, "encoder.skip": False},
            r"num_layers=3, encoder\.skip=False would .* encoder\.kind='probe'",
        ),
        (
            {"loss": "weights", "num_points": 5, "pixel_expansion": 2},
            "num_points=5, pixel_expansion=2 would be ignored with loss='weights'",
        ),
    ],
)
def test_wrong_values_are_refused_before_any_work(tmp_path, changes, message):
    config = probe_config()
    with config.unlocked():
        config.update_from_flattened_dict(changes)
        for key, value in changes.items():
            *groups, name = key.split(".")
            group = config[groups[0]] if groups else config
            group[name] = value
    with pytest.raises(ValueError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_with_one_image_cannot_be_divided(tmp_path, data_dir):
    config = probe_config(zoo=str(data_dir / "mnist_inrs"))
    with pytest.raises(ValueError, match=r"hidden_sizes=\(4,\), data\.num_images=64"):
        run(config, tmp_path)
    assert not list(tmp_path.iterdir())
    for group in ("data", "architecture", "fit"):
        config[group] = autoencode.default_config()[group]
    for _ in range(2):  # imported once, then read from the workdir
        with pytest.raises(ValueError, match=r"Part .* would be empty: .* of 1 images"):
            run(config, tmp_path)
    assert len(zoo.load(tmp_path / "inrs.zoo")) == 32


def test_keys_of_another_encoder_are_refused(tmp_path):
    config = configs.load("smoke")
    config.encoder.kind = "neural_graphs"
    config.encoder.io = "mlp"
    with pytest.raises(ValueError, match=r"io='mlp' would .*'neural_graphs'"):
        run(config, tmp_path)
