"""Make, import or inspect a zoo of image or signal networks, or of classifiers.

python launch/make_zoo.py --config=launch/configs/zoo_digits.py --out=digits.zoo
python launch/make_zoo.py --config=launch/configs/zoo_waves.py --out=waves.zoo
python launch/make_zoo.py --config=launch/configs/zoo_cnn.py:mnist_relu --out=relu.zoo
python launch/make_zoo.py --config=launch/configs/zoo_mlp.py:mnist --out=mlps.zoo
python launch/make_zoo.py --import_dws=FOLDER --out=mnist_inrs.zoo
python launch/make_zoo.py --import_small_cnn=FOLDER --activation=relu --out=relu.zoo
python launch/make_zoo.py --inspect=digits.zoo
"""

import os

from absl import flags

from experiments import harness, registry
from experiments.populations import make_classifier_zoo, make_zoo
from symmerge_jax import zoo

CONFIG = harness.ConfigFlag()
OUT = flags.DEFINE_string("out", None, "Zoo file to make.")
INSPECT = flags.DEFINE_string("inspect", None, "Zoo file to describe.")
IMPORT_DWS = flags.DEFINE_string("import_dws", None, "Folder of INRs to import.")
SMALL_CNN = flags.DEFINE_string("import_small_cnn", None, "Small CNN Zoo to import.")
ACTIVATION = flags.DEFINE_string(
    "activation", None, "Activation of the networks to import."
)
STEPS = flags.DEFINE_multi_integer("step", None, "Epochs (86), one flag for each.")
SPLIT = flags.DEFINE_string("split", None, "Row-order file of the Small CNN Zoo.")
SKIP_DAMAGED = flags.DEFINE_bool("skip_damaged", False, "Skip damaged files.")


def main(argv):
    if len(argv) > 1:
        raise flags.Error(f"Unknown argument {argv[1]!r}; all arguments are flags.")
    out = OUT.value or ""  # the validator below has seen that it is there
    for name in ("out", "inspect"):
        path = flags.FLAGS[name].value
        if path and os.path.isdir(path) and not zoo.is_sharded(path):
            raise flags.Error(f"--{name}={path} is a folder: name a file, as in a.zoo.")
    if IMPORT_DWS.value is not None:
        make_zoo.run_import(IMPORT_DWS.value, out, skip_damaged=SKIP_DAMAGED.value)
    elif SMALL_CNN.value is not None:
        chosen = {"activation": ACTIVATION.value, "steps": STEPS.value or [86]}
        make_zoo.run_import_small_cnn(SMALL_CNN.value, out, split=SPLIT.value, **chosen)
    elif INSPECT.value is None:
        config = CONFIG.value
        registry.check_script(config, "make_zoo.py")
        is_classifiers = config.get("experiment") == "make_classifier_zoo"
        (make_classifier_zoo if is_classifiers else make_zoo).run(config, out)
    print(zoo.summary(zoo.load(INSPECT.value or out)))  # noqa: T201


@flags.multi_flags_validator(
    ["config", "out", "inspect", "import_dws", "import_small_cnn"],
    message="Give --inspect=PATH, or --out=PATH with --config=... or --import_...=...",
)
def _one_job(values):
    jobs = [values[name] is not None for name in values if name != "out"]
    return sum(jobs) == 1 and (values["out"] is None) == (values["inspect"] is not None)


@flags.multi_flags_validator(
    ["import_small_cnn", "activation", "step", "split"],
    message="--activation, --step and --split go with --import_small_cnn.",
)
def _used(values):
    return values["import_small_cnn"] is not None or not any(values.values())


if __name__ == "__main__":
    harness.run_main(main)
