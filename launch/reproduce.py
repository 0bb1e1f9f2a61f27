r"""Reproduce the paper: every zoo, model and experiment, and one report of them.

python launch/reproduce.py --config=launch/configs/paper_smoke.py --workdir=runs/smoke
python launch/reproduce.py --config=launch/configs/paper_cpu.py --workdir=runs/paper
python launch/reproduce.py --config=launch/configs/paper_cpu.py --workdir=runs/paper \
    --list
python launch/reproduce.py --config=launch/configs/paper_gpu.py --workdir=runs/gpu \
    --time_limit=9m

The same command resumes a run that was stopped. Code 3 says that the time limit came
and stages are left.
"""

import shlex

from absl import flags

from experiments import harness, registry
from experiments.paper import reproduce

CONFIG = harness.ConfigFlag()
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the reproduction.")
ONLY = flags.DEFINE_list("only", [], "Stages to run alone: a,b.")
REDO = flags.DEFINE_list("redo", [], "Stages to make again.")
LIST = flags.DEFINE_bool("list", False, "Show what there is of each stage.")
REPORT = flags.DEFINE_bool("report", False, "Write the report of what there is.")
LIMIT = flags.DEFINE_string("time_limit", None, "Stop cleanly after, e.g., 9m, 540s.")
flags.register_validator(
    "workdir", lambda value: value != "", "is empty: give a folder, or omit it"
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    config, workdir = CONFIG.value, WORKDIR.value or ""
    registry.check_script(config, "reproduce.py")
    if (LIST.value or REPORT.value) and (ONLY.value or REDO.value or LIMIT.value):
        raise flags.Error(
            "--only, --redo and --time_limit have no effect with --list and --report:"
            " omit them."
        )
    overrides = [f"--config.{text}" for text in flags.FLAGS.config_override]
    words = [f"--config={flags.FLAGS.config}", *overrides, f"--workdir={workdir}"]
    command = shlex.join(["python", "launch/reproduce.py", *words])
    if LIST.value:
        print(reproduce.list_stages(config, workdir))  # noqa: T201
        return 0
    left, rest = (), ""
    if REPORT.value:
        report = reproduce.write_report(config, workdir, command=command)
    else:
        rest = f" --only={','.join(ONLY.value)}" if ONLY.value else ""
        left, report = reproduce.run(
            config, workdir, only=ONLY.value or (), redo=REDO.value or (),
            time_limit=LIMIT.value, command=command,
        )  # fmt: skip
    print(f"the report is {report}, and .html beside it")  # noqa: T201
    if left:
        print(f"the time is up; left are {', '.join(left)}: {command}{rest}")  # noqa: T201
    return 3 if left else 0


if __name__ == "__main__":
    harness.run_main(main)
