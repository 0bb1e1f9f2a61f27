"""Make, import or inspect a zoo of image networks.

python launch/make_zoo.py --config=launch/configs/zoo_digits.py --out=digits.zoo
python launch/make_zoo.py --import_dws=FOLDER --out=mnist_inrs.zoo
python launch/make_zoo.py --inspect=digits.zoo
"""

from absl import flags

from symmerge_jax import experiments
from symmerge_jax.experiments import make_zoo

CONFIG = experiments.define_config_flag()
OUT = flags.DEFINE_string("out", None, "Zoo file to make.")
INSPECT = flags.DEFINE_string("inspect", None, "Zoo file to describe.")
IMPORT_DWS = flags.DEFINE_string("import_dws", None, "Folder of INRs to import.")
SKIP_DAMAGED = flags.DEFINE_bool("skip_damaged", False, "Leave bad files out.")


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    out = OUT.value or ""  # the validator below has seen that it is there
    if IMPORT_DWS.value is not None:
        make_zoo.run_import(IMPORT_DWS.value, out, skip_damaged=SKIP_DAMAGED.value)
    elif INSPECT.value is None:
        make_zoo.run(CONFIG.value, out)
    print(make_zoo.describe(INSPECT.value or out))  # noqa: T201


@flags.multi_flags_validator(
    ["config", "out", "inspect", "import_dws"],
    message="Give --inspect=PATH, or --out=PATH with --config=... or --import_dws=...",
)
def _one_job(values):
    jobs = [values[name] is not None for name in ("config", "inspect", "import_dws")]
    return sum(jobs) == 1 and (values["out"] is None) == (values["inspect"] is not None)


if __name__ == "__main__":
    experiments.run_main(main)
