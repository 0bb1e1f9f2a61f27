"""Measure the trained model of a workdir again and print the table.

python launch/evaluate.py --workdir=runs/digits_inr
"""

import pathlib

from absl import flags

from symmerge_jax import experiments

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
flags.mark_flag_as_required("workdir")


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    workdir = pathlib.Path(WORKDIR.value or "")
    name = experiments.load_config(workdir / "config.json").get("experiment")
    experiment = experiments.find_experiment(name)
    if not hasattr(experiment, "evaluate"):
        raise flags.Error(
            f"{workdir} is a run of {name!r}, which leaves no model to measure again:"
            f" see {workdir / 'results.json'}."
        )
    print(experiment.table(experiment.evaluate(workdir)))  # noqa: T201


if __name__ == "__main__":
    experiments.run_main(main)
