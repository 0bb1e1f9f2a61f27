"""Measure the trained model of a workdir again and print the table.

python launch/evaluate.py --workdir=runs/digits_inr [--config.x=y]
python launch/evaluate.py --config=launch/configs/deep_align_mlp.py

Experiments that keep what they measured in the folder `cells` of the workdir measure
what is missing there; delete it to measure all again.
With --config the workdir is the one of launch/train.py for that config, else the config
is that of the run. Keys that say what is compared, and not what is trained, may differ
from those of the training.
"""

import pathlib

from absl import flags

from experiments import harness, registry

CONFIG = harness.ConfigFlag()
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of a finished run; by default that of the config."
)
flags.register_validator(
    "workdir", lambda value: value != "", "is empty: give a folder, or omit it"
)


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    if WORKDIR.value is None and not CONFIG.name:
        raise flags.Error("Say which run: --workdir=FOLDER or --config=file.py.")
    workdir = pathlib.Path(WORKDIR.value or pathlib.Path("runs", CONFIG.name))
    trained = harness.load_config(workdir / "config.json")
    experiment = registry.find_experiment(trained.get("experiment"))
    config = CONFIG.value if CONFIG.name else CONFIG.override(trained)
    results = harness.evaluate(experiment, workdir, config)
    print(harness.to_text(experiment.tables(results)))  # noqa: T201
    print(f"figures and results are in {workdir}")  # noqa: T201


if __name__ == "__main__":
    harness.run_main(main)
