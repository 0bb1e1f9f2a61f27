"""Train what a config describes, then print its results.

python launch/train.py
python launch/train.py --config=launch/configs/mnist_inr_cpu.py --workdir=runs/mnist
python launch/train.py --config=launch/configs/smoke.py --workdir=/path --config.seed=1
"""

import pathlib

import jax
from absl import flags

from experiments import harness, registry
from symmerge_jax import training

CONFIG = harness.ConfigFlag("launch/configs/digits_inr.py")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; by default runs/ and the config's name."
)
flags.register_validator(
    "workdir", lambda value: value != "", "is empty: give a folder, or omit it"
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Makes this process one of many that share the training: HOST:PORT of process 0, or"
    " auto where JAX finds it, as on TPUs, under Slurm, MPI and Kubernetes.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "With --coordinator=HOST:PORT: their number.", 1
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "With --coordinator=HOST:PORT: which one this is, from 0.", 0
)


def join_processes():
    """Make this process one of many, if the flags say so."""
    address, num, index = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    numbered = num is not None and index is not None and index < num
    if address in (None, "auto") and (num, index) == (None, None):
        if address:
            jax.distributed.initialize()
    elif address in (None, "", "auto") or not numbered:
        raise flags.Error(
            "Many processes: give --coordinator=auto alone, or --coordinator=HOST:PORT,"
            " --num_processes and --process_id, which is less than their number."
        )
    else:
        jax.distributed.initialize(address, num, index)


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    config = CONFIG.value
    registry.check_script(config, "train.py")
    experiment = registry.find_experiment(config.get("experiment"))
    workdir = WORKDIR.value or pathlib.Path("runs", CONFIG.name)
    join_processes()
    results = harness.run(experiment, config, workdir)
    if not training.is_first():
        return
    print(harness.to_text(experiment.tables(results)))  # noqa: T201
    print(f"figures and results are in {workdir}")  # noqa: T201


if __name__ == "__main__":
    harness.run_main(main)
