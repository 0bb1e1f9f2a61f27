r"""The paper at its own sizes of networks and zoos, on one GPU.

python launch/reproduce.py --config=launch/configs/paper_gpu.py --workdir=runs/paper \
    --time_limit=9m

Boufalis et al. 2025, arXiv 2511.12601: 70,000 INRs of MNIST, 5,000 CNNs of each kind on
grey CIFAR-10, the published encoders, decoders, losses and optimisers. Planned for two
hours of one GPU (not timed yet): the published runs take four times the steps of INRs
and three times those of CNNs set here; change STEPS. All have one seed, so that all
hold out the same networks. A stage that was stopped resumes: give the same command
until it no longer ends with code 3. The images are read from $SYMMERGE_DATA_DIR or
downloaded; of Fashion-MNIST the 10,000 test images. `paper_gpu.py:umap` draws
latents with UMAP, too, as published (pip install 'symmerge_jax[umap]').
"""

import pathlib

from experiments import harness
from experiments.paper import reproduce

FOLDER = pathlib.Path(__file__).parent
STEPS = 16_125  # of 64,500
CNN_STEPS = 10_000  # of 30,000
KINDS = ("relu", "tanh")
FASHION = ("data.source=fashion_mnist", "data.split=test", "data.num_images=10000")
ZOOS = {  # by name, here and below: label, what it needs, config, options
    "mnist_inrs": ("MNIST, INRs", {}, "zoo_mnist.py:all"),
    "fashion_inrs": ("Fashion-MNIST, INRs", {}, "zoo_mnist.py", *FASHION),
    "cnns_relu": ("CIFAR-10, relu CNNs", {}, "zoo_cnn.py:cifar10_relu"),
    "cnns_tanh": ("CIFAR-10, tanh CNNs", {}, "zoo_cnn.py:cifar10_tanh"),
}
INRS = {"zoo": "mnist_inrs"}
SEEDED = (f"num_steps={STEPS}", "seed=0")
GMN = (INRS, "mnist_inr.py:faithful", *SEEDED)
NG = (INRS, "mnist_inr.py:neural_graphs", *SEEDED)
TRANSFORMER = ("encoder.kind=relational_transformer", "encoder.input_value=0.0")
ENCODERS = {
    "scale_gmn": ("ScaleGMN", *GMN),
    "neural_graphs": ("Neural Graphs", *NG),
    "relational_transformer": ("Relational transformer", *GMN, *TRANSFORMER),
    "probes": ("ScaleGMN and outputs at points", INRS, "mnist_inr.py", *SEEDED),
}
ABLATED = {
    "ablated": (
        "ScaleGMN without canonicaliser",
        *(*GMN, "encoder.ablate_symmetry=True"),
    ),
    "permutation": ("GMN, permutations only", *GMN, "encoder.symmetry=permutation"),
    "neural_graphs_twins": ("Neural Graphs with random twins", *NG, "augment=True"),
}
SIZES = {
    name: (
        *(f"outputs at points, {label}", INRS, "mnist_inr.py"),
        *(f"num_steps={STEPS // 4}", "encoder.kind=probe"),
        *("encoder.dropout=0.0", "encoder.remat=False", option),
    )
    for name, label, option in (
        ("latent_16", "latent 16", "encoder.latent_size=16"),
        ("latent_512", "latent 512", "encoder.latent_size=512"),
        ("decoder_small", "small decoder", "decoder.hidden_multipliers=(1, 2)"),
        ("decoder_large", "large decoder", "decoder.hidden_multipliers=(8, 16)"),
    )
}
LARGE = ("encoder.width=128", "batch_size=128", f"num_steps={STEPS}")
MNIST = ("data.split=all", "data.num_images=70000", f"val_fraction={5 / 60}")
CLASSES = (INRS, "classify_inrs.py", *MNIST, *LARGE)
NEURAL_GRAPHS = ("encoder.kind=neural_graphs", "encoder.input_value=0.0")
PREDICTIONS = {
    "classify_mnist": ("MNIST", *CLASSES),
    "classify_mnist_neural_graphs": ("MNIST, Neural Graphs", *CLASSES, *NEURAL_GRAPHS),
    "classify_fashion": (
        *("Fashion-MNIST", {"zoo": "fashion_inrs"}),
        *("classify_inrs.py:fashion", *LARGE),
    ),
    **{
        f"predict_{kind}": (
            *(f"accuracy, {kind}", {"zoo": f"cnns_{kind}"}),
            *("predict_accuracy.py:published", f"num_steps={CNN_STEPS}"),
        )
        for kind in KINDS
    },
}
DECODED = ("scale_gmn", "neural_graphs", "ablated")
MAPS = {"default": "('tsne',)", "umap": "('tsne', 'umap')"}


@harness.variants(*MAPS)
def get_config(variant: str):
    labels = {name: label for name, (label, *_) in (ENCODERS | ABLATED).items()}
    options = {"latent_maps": (f"maps={MAPS[variant]}",)}
    cnns, merged = {}, {}
    for kind in KINDS:
        zoo = {"zoo": f"cnns_{kind}"}
        for encoder, label in (("faithful", ""), ("neural_graphs", ", Neural Graphs")):
            name = f"cnn_{kind}_{encoder}"
            methods = ("methods=('reconstruct',)",) if label else ()
            cnns[name] = (
                *(f"{kind}{label}", zoo, f"cnn_autoencoder.py:{encoder}_{kind}"),
                *(f"num_steps={CNN_STEPS}", "seed=0"),
            )
            merged[f"merge_{kind}_{encoder}"] = (
                *(f"{kind}, merged{label}", {**zoo, "canonicalizer": name}),
                *("merge_cnns.py", "data.source=cifar10", "num_best=250", *methods),
                *("data.num_test=10000", "split.val_fraction=0.1"),
                "split.test_fraction=0.5",
            )
        merged[f"merge_{kind}_single"] = (
            *(f"{kind}, one pair", {**zoo, "canonicalizer": f"cnn_{kind}_faithful"}),
            *("merge_cnns.py:single", "data.source=cifar10", "data.num_test=10000"),
            *("split.val_fraction=0.1", "split.test_fraction=0.5"),
        )
    stages = {
        **reproduce.stages("data", ZOOS),
        **reproduce.stages("reconstruction", ENCODERS),
        **reproduce.stages("ablation", ABLATED | SIZES),
        **reproduce.comparisons(labels, DECODED, options),
        **reproduce.stages("cnns", cnns | merged),
        **reproduce.stages("prediction", PREDICTIONS),
    }
    return reproduce.make_config("Reproduction on one GPU", FOLDER, stages)
