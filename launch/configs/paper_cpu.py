"""The paper on two CPU cores: smaller zoos and fewer steps, every experiment.

python launch/reproduce.py --config=launch/configs/paper_cpu.py --workdir=runs/paper

Boufalis et al. 2025, arXiv 2511.12601, and what its encoders were published with. About
3 hours of two quiet cores; INRs are encoded from weights alone. MNIST and
Fashion-MNIST are read from $SYMMERGE_DATA_DIR, or downloaded. `paper_cpu.py:umap` draws
latents with UMAP, too, as published (pip install 'symmerge_jax[umap]').
"""

import pathlib

from experiments import harness
from experiments.paper import reproduce

FOLDER = pathlib.Path(__file__).parent
KINDS = ("relu", "tanh")
FASHION = ("data.source=fashion_mnist", "data.split=test", "data.num_images=10000")
ZOOS = {  # by name: label, what it needs, config, options
    "mnist_inrs": ("MNIST, INRs", {}, "zoo_mnist.py", "data.num_images=12000"),
    "fashion_inrs": ("Fashion-MNIST, INRs", {}, "zoo_mnist.py", *FASHION),
    "cnns_relu": ("MNIST, relu CNNs", {}, "zoo_cnn.py:mnist_relu"),
    "cnns_tanh": ("MNIST, tanh CNNs", {}, "zoo_cnn.py:mnist_tanh"),
}
INRS = {"zoo": "mnist_inrs"}
ENCODERS = {  # labels of variants of inr_encoders.py
    "scale_gmn": "ScaleGMN",
    "neural_graphs": "Neural Graphs",
    "relational_transformer": "Relational transformer",
}
ABLATED = {
    "ablated": "ScaleGMN without canonicaliser",
    "permutation": "GMN, permutations only",
    "neural_graphs_twins": "Neural Graphs with random twins",
}
SIZES = {
    name: (
        *(f"outputs at points, {label}", INRS, "inr_encoders.py:probe"),
        *("num_steps=750", "evaluate_every=150", option),
    )
    for name, label, option in (
        ("latent_16", "latent 16", "encoder.latent_size=16"),
        ("latent_256", "latent 256", "encoder.latent_size=256"),
        ("decoder_small", "small decoder", "decoder.hidden_multipliers=(2, 4)"),
        ("decoder_large", "large decoder", "decoder.hidden_multipliers=(16, 32)"),
    )
}
PRETRAINED = "classify_inrs.py:pretrained"
OF_TRAIN = ("data.split=train", "data.num_images=12000")
PREDICTIONS = {
    "classify_mnist": (
        *("MNIST", {**INRS, "pretrained": "scale_gmn"}),
        *(PRETRAINED, *OF_TRAIN),
    ),
    "classify_mnist_neural_graphs": (
        *("MNIST, Neural Graphs", {**INRS, "pretrained": "neural_graphs"}),
        *(PRETRAINED, *OF_TRAIN),
    ),
    "classify_fashion": (
        *("Fashion-MNIST", {"zoo": "fashion_inrs", "pretrained": "scale_gmn"}),
        *(f"{PRETRAINED}_fashion", "num_steps=1500"),
    ),
    **{
        f"predict_{kind}": (
            *(f"accuracy, {kind}", {"zoo": f"cnns_{kind}"}),
            *("predict_accuracy.py", "num_steps=1000"),
        )
        for kind in KINDS
    },
}
DECODED = ("scale_gmn", "neural_graphs", "ablated")
MAPS = {"default": "('tsne',)", "umap": "('tsne', 'umap')"}


@harness.variants(*MAPS)
def get_config(variant: str):
    options = {
        "latent_maps": (f"maps={MAPS[variant]}",),
        "orbit_interpolation": ("num_members=128",),
    }
    cnns, merged = {}, {}
    for kind in KINDS:
        needs = {"zoo": f"cnns_{kind}"}
        cnns[f"cnn_{kind}"] = (kind, needs, f"cnn_autoencoder.py:mnist_{kind}")
        needs = {**needs, "canonicalizer": f"cnn_{kind}"}
        merged[f"merge_{kind}"] = (f"{kind}, merged", needs, "merge_cnns.py")
        label = f"{kind}, one pair"
        merged[f"merge_{kind}_single"] = (label, needs, "merge_cnns.py:single")
    stages = {
        **reproduce.stages("data", ZOOS),
        **reproduce.stages("reconstruction", _rows(ENCODERS)),
        **reproduce.stages("ablation", _rows(ABLATED) | SIZES),
        **reproduce.comparisons(ENCODERS | ABLATED, DECODED, options),
        **reproduce.stages("cnns", cnns | merged),
        **reproduce.stages("prediction", PREDICTIONS),
    }
    return reproduce.make_config("Reproduction on two CPU cores", FOLDER, stages)


def _rows(encoders):
    return {
        name: (label, INRS, f"inr_encoders.py:{name}")
        for name, label in encoders.items()
    }
