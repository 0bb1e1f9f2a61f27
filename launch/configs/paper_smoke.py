"""The whole reproduction at the smallest size: every stage and every table, no meaning.

python launch/reproduce.py --config=launch/configs/paper_smoke.py --workdir=runs/smoke

Minutes on 2 CPU cores, on the digits that scikit-learn ships: nothing is downloaded.
Where an encoder is not what is compared, it is the one that compiles the fastest.
"""

import pathlib

from experiments.paper import reproduce

FOLDER = pathlib.Path(__file__).parent
INRS = ("data.num_images=64", "architecture.hidden_sizes=(4,)", "fit.num_steps=10")
CNNS = (
    *("num_networks=16", "training.num_steps=5", "data.num_images=80"),
    "architecture.channels=(4, 4)",
)
PROBE = ("encoder.kind=probe", "encoder.num_probes=8", "encoder.num_layers=4")
ENCODER = ({"zoo": "inrs"}, "smoke.py", "encoder.num_probes=0", *INRS)
ENCODERS = {  # by name: label, what it needs, config, options
    "scale_gmn": ("ScaleGMN", *ENCODER),
    "neural_graphs": (
        *("Neural Graphs", *ENCODER),
        *("encoder.kind=neural_graphs", "encoder.input_value=0.0"),
    ),
}

FEW = ("num_points=5", "num_random_starts=1")
SMALL = {  # by stage that compares encoders
    "latent_maps": ("num_train=20", "num_orbits=2", "num_twins=4", "num_neighbors=2"),
    "failure_mode": (
        *("num_networks=2", "num_twins=4", "methods=('naive', 'reconstruct')", *FEW),
    ),
    "orbit_interpolation": (
        *("families=('PD',)", "sweep=()", "num_networks=3", "num_members=4"),
        "methods=('naive', 'matching_p', 'matching', 'reconstruct', 'latent')",
        *("chunk_size=16", *FEW),
    ),
    "independent_inrs": (
        *("num_networks=3", "num_members=2", "num_points=5", "chunk_size=16"),
        "methods=('naive', 'reconstruct')",
    ),
}


def get_config():
    zoos = {
        "inrs": ("digits, INRs", {}, "zoo_digits.py", *INRS),
        "cnns": ("digits", {}, "zoo_cnn.py:digits_relu", *CNNS),
    }
    cnns = {
        "cnn_autoencoder": (
            *("ReLU", {"zoo": "cnns"}, "cnn_autoencoder.py:smoke", *CNNS, *PROBE),
        ),
        "merge_cnns": (
            *("ReLU, merged", {"zoo": "cnns", "canonicalizer": "cnn_autoencoder"}),
            *("merge_cnns.py:smoke", "data.num_images=80"),
            *("repairs=('none',)", "closed_forms=()"),
            *("split.val_fraction=0.25", "split.test_fraction=0.25"),
            *("methods=('naive', 'reconstruct')", "crowd.methods=('naive',)"),
        ),
    }
    labels = {name: label for name, (label, *_) in ENCODERS.items()}
    source = ({"zoo": "inrs"}, "classify_inrs.py:smoke", *INRS, *PROBE)
    stages = {
        **reproduce.stages("data", zoos),
        **reproduce.stages("reconstruction", ENCODERS),
        **reproduce.stages(
            "ablation", {"small": ("outputs at points", *ENCODER, *PROBE)}
        ),
        **reproduce.comparisons(labels, labels, SMALL),
        **reproduce.stages("cnns", cnns),
        **reproduce.stages("prediction", {"classify": ("classes of INRs", *source)}),
    }
    note = (
        "Networks of this size, trained for some steps, mean nothing: this shows that"
        " every part works, and no number can be compared with a published one."
    )
    title = "Reproduction, smallest size"
    return reproduce.make_config(title, FOLDER, stages, note=note)
