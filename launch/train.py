"""Train what a config describes, then print its results.

python launch/train.py
python launch/train.py --config=launch/configs/mnist_inr_cpu.py --workdir=runs/mnist
python launch/train.py --config=launch/configs/smoke.py --workdir=/path --config.seed=1
"""

import pathlib

from absl import flags

from experiments import harness, registry

CONFIG = harness.ConfigFlag("launch/configs/digits_inr.py")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; by default runs/ and the config's name."
)
flags.register_validator(
    "workdir", lambda value: value != "", "is empty: give a folder, or omit it"
)


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    config = CONFIG.value
    registry.check_script(config, "train.py")
    experiment = registry.find_experiment(config.get("experiment"))
    workdir = WORKDIR.value or pathlib.Path("runs", CONFIG.name)
    results = harness.run(experiment, config, workdir)
    print(harness.to_text(experiment.tables(results)))  # noqa: T201
    print(f"figures and results are in {workdir}")  # noqa: T201


if __name__ == "__main__":
    harness.run_main(main)
