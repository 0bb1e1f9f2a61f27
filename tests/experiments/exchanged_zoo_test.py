"""The zoo file of a finished run was exchanged for one of another architecture."""

import json
import pathlib

import pytest

from experiments import harness
from experiments.compare import failure_mode, interpolate
from experiments.latents import map_latents
from experiments.train import autoencode, autoencode_classifiers
from tests.experiments import encoders

SIREN = {**encoders.SIREN, "layer_sizes": [2, 5, 1]}
CNN = {**encoders.CNN, "image_shape": [8, 8, 1]}


def interpolate_them(run, workdir):
    config = interpolate.default_config()
    config.canonicalizer = run
    harness.run(interpolate.EXPERIMENT, config, workdir)


def compare_them(experiment):
    def compare(run, workdir):
        config = experiment.default_config()
        config.canonicalizers = {"ScaleGMN": run}
        harness.run(experiment.EXPERIMENT, config, workdir)

    return compare


USES = {
    "evaluate": lambda run, _: harness.evaluate(autoencode.EXPERIMENT, run),
    "interpolate": interpolate_them,
    "map_latents": compare_them(map_latents),
    "failure_mode": compare_them(failure_mode),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.slow
def test_inrs_of_other_sizes_are_refused(tmp_path, use):
    path = encoders.save_zoo(tmp_path / "inrs.zoo")
    run = encoders.save_run(tmp_path / "gmn", path)
    pathlib.Path(path).unlink()
    encoders.save_zoo(path, architecture=SIREN)
    before = json.loads((tmp_path / "gmn" / "results.json").read_text())
    message = r"layer_sizes is \[2, 5, 1\], wanted \[2, 4, 1\]"
    with pytest.raises(ValueError, match=message):
        use(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert json.loads((tmp_path / "gmn" / "results.json").read_text()) == before


def test_cnns_of_other_widths_are_refused(tmp_path):
    path = encoders.save_zoo(tmp_path / "cnns.zoo", architecture=CNN)
    run = encoders.save_run(tmp_path / "cnn", path)
    pathlib.Path(path).unlink()
    encoders.save_zoo(path, architecture={**CNN, "channels": [5]})
    with pytest.raises(ValueError, match=r"channels is \[5\], wanted \[3\]"):
        harness.evaluate(autoencode_classifiers.EXPERIMENT, run)
