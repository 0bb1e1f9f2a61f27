"""The paper at its own sizes of networks and zoos, on one GPU.

python launch/reproduce.py --config=launch/configs/paper_gpu.py --workdir=runs/paper \
    --time_limit=9m

Boufalis et al. 2025, arXiv 2511.12601: 70,000 INRs of MNIST, 5,000 CNNs of each kind on
grey CIFAR-10, the published encoders, decoders, losses and optimisers. Planned for two
hours of one GPU (not timed yet): the published runs take four times the steps of INRs
and three times those of CNNs set here; change STEPS. All have one seed, so that all
hold out the same networks. Every stage can be stopped and goes on: give the same
command until it no longer ends with code 3. The images are read from $SYMMERGE_DATA_DIR
or downloaded; of Fashion-MNIST the 10,000 test images. `paper_gpu.py:umap` draws
latents with UMAP, too, as published (pip install 'symmerge_jax[umap]').
"""

import pathlib

from symmerge_jax.experiments import reproduce

FOLDER = pathlib.Path(__file__).parent
STEPS = 16_125  # of 64,500
CNN_STEPS = 10_000  # of 30,000
GMN = "mnist_inr.py:faithful"
NG = "mnist_inr.py:neural_graphs"
ENCODERS = {  # by name: label, section of the report, config, options
    "scale_gmn": ("ScaleGMN", "reconstruction", GMN, ()),
    "neural_graphs": ("Neural Graphs", "reconstruction", NG, ()),
    "relational_transformer": (
        "Relational transformer",
        "reconstruction",
        GMN,
        ("encoder.kind=relational_transformer", "encoder.input_value=0.0"),
    ),
    "probes": ("ScaleGMN and outputs at points", "reconstruction", "mnist_inr.py", ()),
    "ablated": (
        "ScaleGMN without canonicaliser",
        "ablation",
        GMN,
        ("encoder.ablate_symmetry=True",),
    ),
    "permutation": (
        "GMN, permutations only",
        "ablation",
        GMN,
        ("encoder.symmetry=permutation",),
    ),
    "neural_graphs_twins": (
        "Neural Graphs with random twins",
        "ablation",
        NG,
        ("augment=True",),
    ),
}
SIZES = {
    "latent_16": ("latent 16", "encoder.latent_size=16"),
    "latent_512": ("latent 512", "encoder.latent_size=512"),
    "decoder_small": ("small decoder", "decoder.hidden_multipliers=(1, 2)"),
    "decoder_large": ("large decoder", "decoder.hidden_multipliers=(8, 16)"),
}
PROBE = ("encoder.dropout=0.0", "encoder.remat=False")
LARGE = ("encoder.width=128", "batch_size=128", f"num_steps={STEPS}")
MNIST = ("data.split=all", "data.num_images=70000", f"val_fraction={5 / 60}")
NEURAL_GRAPHS = ("encoder.kind=neural_graphs", "encoder.input_value=0.0")
PREDICTIONS = {  # by name: label, config, zoo, options
    "classify_mnist": (
        "MNIST",
        "classify_inrs.py",
        "mnist_inrs",
        (*MNIST, *LARGE),
    ),
    "classify_mnist_neural_graphs": (
        "MNIST, Neural Graphs",
        "classify_inrs.py",
        "mnist_inrs",
        (*MNIST, *LARGE, *NEURAL_GRAPHS),
    ),
    "classify_fashion": (
        "Fashion-MNIST",
        "classify_inrs.py:fashion",
        "fashion_inrs",
        LARGE,
    ),
    "predict_relu": (
        "accuracy, relu",
        "predict_accuracy.py:published",
        "cnns_relu",
        (f"num_steps={CNN_STEPS}",),
    ),
    "predict_tanh": (
        "accuracy, tanh",
        "predict_accuracy.py:published",
        "cnns_tanh",
        (f"num_steps={CNN_STEPS}",),
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
            "zoo_mnist.py:all",
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
            f"zoo_cnn.py:cifar10_{kind}",
            section="data",
            label=f"CIFAR-10, {kind} CNNs",
        )
    for name, (label, section, config, options) in ENCODERS.items():
        stages[name] = stage(
            *(config, f"num_steps={STEPS}", "seed=0", *options),
            needs={"zoo": "mnist_inrs"},
            section=section,
            label=label,
        )
    for name, (label, option) in SIZES.items():
        stages[name] = stage(
            *("mnist_inr.py", f"num_steps={STEPS // 4}", "encoder.kind=probe"),
            *(*PROBE, option),
            needs={"zoo": "mnist_inrs"},
            section="ablation",
            label=f"outputs at points, {label}",
        )
    labels = {name: label for name, (label, *_) in ENCODERS.items()}
    options = {"latent_maps": (f"maps={maps[variant]}",)}
    stages |= reproduce.comparisons(labels, DECODED, options)
    for kind in ("relu", "tanh"):
        for encoder, label in (("faithful", ""), ("neural_graphs", ", Neural Graphs")):
            stages[f"cnn_{kind}_{encoder}"] = stage(
                f"cnn_autoencoder.py:{encoder}_{kind}",
                *(f"num_steps={CNN_STEPS}", "seed=0"),
                needs={"zoo": f"cnns_{kind}"},
                section="cnns",
                label=f"{kind}{label}",
            )
    for kind in ("relu", "tanh"):
        for encoder, label in (("faithful", ""), ("neural_graphs", ", Neural Graphs")):
            methods = ("methods=('reconstruct',)",) if label else ()
            stages[f"merge_{kind}_{encoder}"] = stage(
                *("merge_cnns.py", "data.source=cifar10", "num_best=250", *methods),
                *("data.num_test=10000", "split.val_fraction=0.1"),
                "split.test_fraction=0.5",
                needs={
                    "zoo": f"cnns_{kind}",
                    "canonicalizer": f"cnn_{kind}_{encoder}",
                },
                section="cnns",
                label=f"{kind}, merged{label}",
            )
        stages[f"merge_{kind}_single"] = stage(
            *("merge_cnns.py:single", "data.source=cifar10", "data.num_test=10000"),
            *("split.val_fraction=0.1", "split.test_fraction=0.5"),
            needs={"zoo": f"cnns_{kind}", "canonicalizer": f"cnn_{kind}_faithful"},
            section="cnns",
            label=f"{kind}, one pair",
        )
    for name, (label, config, zoo, options) in PREDICTIONS.items():
        stages[name] = stage(
            *(config, *options), needs={"zoo": zoo}, section="prediction", label=label
        )
    return reproduce.make_config("Reproduction on one GPU", FOLDER, stages)
