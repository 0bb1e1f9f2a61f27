r"""Merge the networks of two or more weight files into one.

python launch/merge.py a.safetensors b.safetensors --out=merged.safetensors
python launch/merge.py a.npz b.npz c.npz --out=merged.npz --aligned_dir=aligned \
    --architecture='{"kind": "mlp", "layer_sizes": [2, 8, 1], "activation": "relu"}'
python launch/merge.py a.pth b.pth --out=merged.npz --architecture=mlp.json --data=mnist
python launch/merge.py a.npz b.npz --out=merged.npz --data=mnist --repair=least_squares

A description has to say what the weights do not tell and the function depends on: see
launch/canonicalize.py --help, also for the names of the tensors.
"""

from absl import flags

from experiments import harness
from experiments.commands import merge

OUT = flags.DEFINE_string("out", None, ".safetensors or .npz for the merged network.")
ALIGNED_DIR = flags.DEFINE_string(
    "aligned_dir", None, "Folder for the aligned networks, which keep their function."
)
ARCHITECTURE = flags.DEFINE_string(
    "architecture", None, "JSON, or a file with it, where the weights do not say it."
)
KEY = flags.DEFINE_string(
    "key", None, "Part of the files with the weights, as state_dict or a.b."
)
ALIGNER = flags.DEFINE_enum(
    "aligner", "weight_matching", sorted(merge.ALIGNERS), "How to align."
)
NUM_RANDOM_STARTS = flags.DEFINE_integer(
    "num_random_starts", None, "Further starts of weight_matching."
)
MATCHER = flags.DEFINE_string(
    "matcher",
    None,
    "Folder of a trained matcher, which the alignment starts from:"
    " models/ours_0 in the workdir of a deep_align run.",
)
REPAIR = flags.DEFINE_list(
    "repair",
    [],
    "What is done to the mean, as statistics,least_squares; most need --data.",
)
WEIGHTS = flags.DEFINE_list("weights", None, "Weights of the mean, as 0.3,0.7.")
DATA = flags.DEFINE_string(
    "data", None, "Measure losses on .npz with x and y, digits, mnist or fashion_mnist."
)
DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the images; $SYMMERGE_DATA_DIR, or a download."
)
SEED = flags.DEFINE_integer("seed", 0, "Random seed of the solver.", lower_bound=0)
flags.mark_flags_as_required(["out"])


def main(argv):
    if len(argv) < 3:
        raise flags.Error("Name at least two weight files to merge.")
    report = merge.run(
        argv[1:],
        OUT.value or "",
        aligned_dir=ALIGNED_DIR.value,
        architecture=ARCHITECTURE.value,
        key=KEY.value,
        aligner=ALIGNER.value or "",
        num_random_starts=NUM_RANDOM_STARTS.value,
        matcher=MATCHER.value,
        repair=REPAIR.value or (),
        weights=WEIGHTS.value,
        data=DATA.value,
        data_dir=DATA_DIR.value,
        seed=SEED.value or 0,
    )
    print(harness.to_text([harness.measures("", report)]))  # noqa: T201


if __name__ == "__main__":
    harness.run_main(main)
