"""The whole reproduction at the smallest size: every stage and every table, no meaning.

python launch/reproduce.py --config=launch/configs/paper_smoke.py --workdir=runs/smoke

Minutes on 2 CPU cores, on the digits that scikit-learn ships: nothing is downloaded.
"""

import pathlib

from symmerge_jax.experiments import reproduce

FOLDER = pathlib.Path(__file__).parent
ENCODERS = {
    "scale_gmn": ("ScaleGMN", "reconstruction", ()),
    "ablated": ("ScaleGMN, no canonicaliser", "ablation", ("ablate_symmetry=True",)),
    "permutation": ("GMN, permutations only", "ablation", ("symmetry=permutation",)),
}


def get_config():
    stages = {
        "inrs": reproduce.stage(
            "zoo_digits.py",
            *("data.num_images=64", "architecture.hidden_sizes=(8, 8)"),
            "fit.num_steps=10",
            section="data",
            label="digits, INRs",
        ),
        "cnns_relu": reproduce.stage(
            "zoo_cnn.py:digits_relu",
            *("num_networks=16", "training.num_steps=5", "data.num_images=80"),
            section="data",
            label="digits, ReLU",
        ),
    }
    for name, (label, section, options) in ENCODERS.items():
        stages[name] = reproduce.stage(
            "smoke.py",
            *("encoder.num_probes=0", *(f"encoder.{option}" for option in options)),
            needs={"zoo": "inrs"},
            section=section,
            label=label,
        )
    stages["orbit_interpolation"] = reproduce.stage(
        "orbit_interpolation.py",
        *("families=('PD',)", "sweep=(0.01,)", "num_networks=3", "num_members=4"),
        *("num_points=5", "num_random_starts=1", "chunk_size=16"),
        needs={"canonicalizer": "scale_gmn"},
        section="interpolation",
        label="twins",
    )
    stages["independent_inrs"] = reproduce.stage(
        "independent_inrs.py",
        *("num_networks=3", "num_members=2", "num_points=5", "num_random_starts=1"),
        "methods=('naive', 'matching_pd', 'reconstruct')",
        needs={"canonicalizer": "scale_gmn"},
        section="interpolation",
        label="separate fits",
    )
    stages["cnn_relu"] = reproduce.stage(
        "cnn_autoencoder.py:smoke",
        "num_networks=16",
        *("training.num_steps=5", "data.num_images=80"),
        needs={"zoo": "cnns_relu"},
        section="cnns",
        label="ReLU",
    )
    stages["merge_relu"] = reproduce.stage(
        "merge_cnns.py:smoke",
        *("split.val_fraction=0.25", "split.test_fraction=0.25", "data.num_images=80"),
        "methods=('naive', 'matching', 'reconstruct')",
        needs={"zoo": "cnns_relu", "canonicalizer": "cnn_relu"},
        section="cnns",
        label="ReLU, merged",
    )
    return reproduce.make_config("Reproduction, smallest size", FOLDER, stages)
