"""The paper on two CPU cores: smaller zoos and fewer steps, every experiment.

python launch/reproduce.py --config=launch/configs/paper_cpu.py --workdir=runs/paper

Boufalis et al. 2025, arXiv 2511.12601, and what its encoders were published with. About
3 hours of two quiet cores; INRs are encoded from weights alone. MNIST and
Fashion-MNIST are read from $SYMMERGE_DATA_DIR, or downloaded. `paper_cpu.py:umap` draws
latents with UMAP, too, as published (pip install 'symmerge_jax[umap]').
"""

import pathlib

from symmerge_jax.experiments import reproduce

FOLDER = pathlib.Path(__file__).parent
ENCODERS = {  # by name: label and section of the report
    "scale_gmn": ("ScaleGMN", "reconstruction"),
    "neural_graphs": ("Neural Graphs", "reconstruction"),
    "relational_transformer": ("Relational transformer", "reconstruction"),
    "ablated": ("ScaleGMN without canonicaliser", "ablation"),
    "permutation": ("GMN, permutations only", "ablation"),
    "neural_graphs_twins": ("Neural Graphs with random twins", "ablation"),
}
SIZES = {
    "latent_16": ("latent 16", "encoder.latent_size=16"),
    "latent_256": ("latent 256", "encoder.latent_size=256"),
    "decoder_small": ("small decoder", "decoder.hidden_multipliers=(2, 4)"),
    "decoder_large": ("large decoder", "decoder.hidden_multipliers=(16, 32)"),
}
PREDICTIONS = {  # by name: label, config, steps, what it needs
    "classify_mnist": (
        "MNIST",
        "classify_inrs.py:pretrained",
        3000,
        {"zoo": "mnist_inrs", "pretrained": "scale_gmn"},
    ),
    "classify_mnist_neural_graphs": (
        "MNIST, Neural Graphs",
        "classify_inrs.py:pretrained",
        3000,
        {"zoo": "mnist_inrs", "pretrained": "neural_graphs"},
    ),
    "classify_fashion": (
        "Fashion-MNIST",
        "classify_inrs.py:pretrained_fashion",
        1500,
        {"zoo": "fashion_inrs", "pretrained": "scale_gmn"},
    ),
    "predict_relu": (
        "accuracy, relu",
        "predict_accuracy.py",
        1000,
        {"zoo": "cnns_relu"},
    ),
    "predict_tanh": (
        "accuracy, tanh",
        "predict_accuracy.py",
        1000,
        {"zoo": "cnns_tanh"},
    ),
}
DECODED = ("scale_gmn", "neural_graphs", "ablated")


def get_config(variant: str = "default"):
    maps = {"default": "('tsne',)", "umap": "('tsne', 'umap')"}
    if variant not in maps:
        raise ValueError(f"Variants are {sorted(maps)}, not {variant!r}.")
    stage = reproduce.stage
    stages = {
        "mnist_inrs": stage(
            "zoo_mnist.py",
            "data.num_images=12000",
            section="data",
            label="MNIST, INRs",
        ),
        "fashion_inrs": stage(
            "zoo_mnist.py",
            *("data.source=fashion_mnist", "data.split=test", "data.num_images=10000"),
            section="data",
            label="Fashion-MNIST, INRs",
        ),
    }
    for kind in ("relu", "tanh"):
        stages[f"cnns_{kind}"] = stage(
            f"zoo_cnn.py:mnist_{kind}",
            section="data",
            label=f"MNIST, {kind} CNNs",
        )
    for name, (label, section) in ENCODERS.items():
        stages[name] = stage(
            f"inr_encoders.py:{name}",
            needs={"zoo": "mnist_inrs"},
            section=section,
            label=label,
        )
    for name, (label, option) in SIZES.items():
        stages[name] = stage(
            "inr_encoders.py:probe",
            *("num_steps=750", "evaluate_every=150", option),
            needs={"zoo": "mnist_inrs"},
            section="ablation",
            label=f"outputs at points, {label}",
        )
    labels = {name: label for name, (label, _) in ENCODERS.items()}
    options = {
        "latent_maps": (f"maps={maps[variant]}",),
        "orbit_interpolation": ("num_members=128",),
    }
    stages |= reproduce.comparisons(labels, DECODED, options)
    for kind in ("relu", "tanh"):
        stages[f"cnn_{kind}"] = stage(
            f"cnn_autoencoder.py:mnist_{kind}",
            needs={"zoo": f"cnns_{kind}"},
            section="cnns",
            label=f"{kind}",
        )
    for kind in ("relu", "tanh"):
        stages[f"merge_{kind}"] = stage(
            "merge_cnns.py",
            needs={"zoo": f"cnns_{kind}", "canonicalizer": f"cnn_{kind}"},
            section="cnns",
            label=f"{kind}, merged",
        )
        stages[f"merge_{kind}_single"] = stage(
            "merge_cnns.py:single",
            needs={"zoo": f"cnns_{kind}", "canonicalizer": f"cnn_{kind}"},
            section="cnns",
            label=f"{kind}, one pair",
        )
    for name, (label, config, num_steps, needs) in PREDICTIONS.items():
        stages[name] = stage(
            *(config, f"num_steps={num_steps}"),
            needs=needs,
            section="prediction",
            label=label,
        )
    return reproduce.make_config("Reproduction on two CPU cores", FOLDER, stages)
