r"""Draw every figure of finished results again; nothing else is computed.

python launch/plot.py --workdir=runs/orbits
python launch/plot.py --results=runs/orbits/results.json --out=figures \
    --experiment=interpolate

The figures of a run are drawn from its `results.json` and `results.npz`. With --results
they are drawn from any such JSON file, with the arrays in the `.npz` file of the same
name beside it.
"""

import pathlib

from absl import flags

from experiments import harness, registry

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
RESULTS = flags.DEFINE_string("results", None, "Results in a file, instead of a run.")
EXPERIMENT = flags.DEFINE_string("experiment", None, "Experiment that made --results.")
OUT = flags.DEFINE_string("out", None, "Folder of the figures; by default the run's.")


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    if bool(WORKDIR.value) == bool(RESULTS.value):
        raise flags.Error("Say what to draw: --workdir=FOLDER or --results=FILE.json.")
    if WORKDIR.value and EXPERIMENT.value:
        raise flags.Error("--experiment goes with --results; a run knows its own.")
    if RESULTS.value and not (EXPERIMENT.value and OUT.value):
        raise flags.Error("--results needs --experiment=NAME and --out=FOLDER.")
    name = EXPERIMENT.value
    results = pathlib.Path(RESULTS.value or f"{WORKDIR.value}/results.json")
    if WORKDIR.value:
        config = harness.load_config(results.parent / "config.json")
        name = config.get("experiment")
    experiment = registry.find_experiment(name)
    figures = harness.draw(experiment, results, OUT.value or results.parent)
    for path in figures:
        print(f"{path}.png")  # noqa: T201
    if not figures:
        print(f"no figure of {name} can be drawn from {results}")  # noqa: T201


if __name__ == "__main__":
    harness.run_main(main)
