"""Measure the trained model of a workdir again and print the table.

python launch/evaluate.py --workdir=runs/digits_inr
"""

from absl import flags

from symmerge_jax import experiments
from symmerge_jax.experiments import autoencode

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
flags.mark_flag_as_required("workdir")


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    print(autoencode.table(autoencode.evaluate(WORKDIR.value or "")))  # noqa: T201


if __name__ == "__main__":
    experiments.run_main(main)
