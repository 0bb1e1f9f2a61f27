"""The whole reproduction at the smallest size: every stage and every table, no meaning.

python launch/reproduce.py --config=launch/configs/paper_smoke.py --workdir=runs/smoke

Minutes on 2 CPU cores, on the digits that scikit-learn ships: nothing is downloaded.
Where an encoder is not what is compared, it is the one that compiles the fastest.
"""

import pathlib

from symmerge_jax.experiments import reproduce

FOLDER = pathlib.Path(__file__).parent
INRS = ("data.num_images=64", "architecture.hidden_sizes=(4,)", "fit.num_steps=10")
CNNS = (
    *("num_networks=16", "training.num_steps=5", "data.num_images=80"),
    "architecture.channels=(4, 4)",
)
PROBE = ("encoder.kind=probe", "encoder.num_probes=8", "encoder.num_layers=4")
ENCODERS = {  # by name: label, section of the report, options
    "scale_gmn": ("ScaleGMN", "reconstruction", ()),
    "neural_graphs": (
        "Neural Graphs",
        "reconstruction",
        ("encoder.kind=neural_graphs", "encoder.input_value=0.0"),
    ),
    "small": ("outputs at points", "ablation", PROBE),
}

FEW = ("num_points=5", "num_random_starts=1")
SMALL = {  # by stage that compares encoders
    "latent_maps": ("num_train=20", "num_orbits=2", "num_twins=4", "num_neighbors=2"),
    "failure_mode": (
        *("num_networks=2", "num_twins=4", "methods=('naive', 'reconstruct')", *FEW),
    ),
    "orbit_interpolation": (
        *("families=('PD',)", "sweep=()", "num_networks=3", "num_members=4"),
        "methods=('naive', 'matching_p', 'matching_pd', 'reconstruct', 'latent')",
        *("chunk_size=16", *FEW),
    ),
    "independent_inrs": (
        *("num_networks=3", "num_members=2", "num_points=5", "chunk_size=16"),
        "methods=('naive', 'reconstruct')",
    ),
}


def get_config():
    stage = reproduce.stage
    stages = {
        "inrs": stage("zoo_digits.py", *INRS, section="data", label="digits, INRs"),
        "cnns": stage("zoo_cnn.py:digits_relu", *CNNS, section="data", label="digits"),
    }
    for name, (label, section, options) in ENCODERS.items():
        stages[name] = stage(
            "smoke.py",
            *("encoder.num_probes=0", *INRS, *options),
            needs={"zoo": "inrs"},
            section=section,
            label=label,
        )
    labels = {name: ENCODERS[name][0] for name in ("scale_gmn", "neural_graphs")}
    stages |= reproduce.comparisons(labels, labels, SMALL)
    stages["cnn_autoencoder"] = stage(
        *("cnn_autoencoder.py:smoke", *CNNS, *PROBE),
        needs={"zoo": "cnns"},
        section="cnns",
        label="ReLU",
    )
    stages["merge_cnns"] = stage(
        *("merge_cnns.py:smoke", "data.num_images=80", "repairs=('none',)"),
        *("split.val_fraction=0.25", "split.test_fraction=0.25"),
        *("methods=('naive', 'reconstruct')", "crowd.methods=('mean',)"),
        needs={"zoo": "cnns", "canonicalizer": "cnn_autoencoder"},
        section="cnns",
        label="ReLU, merged",
    )
    stages["classify"] = stage(
        *("classify_inrs.py:smoke", *INRS, *PROBE),
        needs={"zoo": "inrs"},
        section="prediction",
        label="classes of INRs",
    )
    return reproduce.make_config("Reproduction, smallest size", FOLDER, stages)
