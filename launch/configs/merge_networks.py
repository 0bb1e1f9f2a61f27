"""Real networks that were trained apart, merged and repaired in every way.

python launch/train.py --config=launch/configs/merge_networks.py:splice
python launch/train.py --config=launch/configs/merge_networks.py:splice \
    --config.files="('a.pt', 'b.pt', 'c.pt')" --workdir=runs/three

Variants, each with the networks that it merges:

    default           small convolutions with BatchNorm, digits of scikit-learn
    splice            OpenSpliceAI, seeds 10 and 11: nothing is trained; other
                      checkpoints of 400 nucleotides, any number, as `files`
    mlp               784-400-200-100-10 without bias, MNIST (the pair of OT-Fusion)
    resnet20_mnist    ResNet-20, BatchNorm, MNIST at 14 x 14 pixels
    resnet20_layer    the same with LayerNorm
    resnet20_cifar    ResNet-20, BatchNorm, grey CIFAR-10 at 16 x 16 pixels
    resnet20_fashion  ResNet-20, BatchNorm, the 10,000 test images of Fashion-MNIST,
                      9,000 of them for training, at 14 x 14 pixels
    vgg11_batch       VGG-11 of a quarter of the channels, BatchNorm, MNIST, 14 x 14
    vgg11_plain       the same without a norm
    smoke             seconds

`--config.width=4` makes networks wider, `--config.sizes="(2, 5)" --config.num_groups=3`
merges pairs and fives of 15 networks. Images and checkpoints are read from
$SYMMERGE_DATA_DIR. Images are small and trainings short because they are for two CPU
cores: minutes for each variant, half an hour for CIFAR-10; with `--config.data.pool=1`
and more steps they are those of the publications.
"""

import os

from experiments import harness
from experiments.real import merge_networks


@harness.variants(
    *("default", "splice", "mlp", "resnet20_mnist", "resnet20_layer", "resnet20_cifar"),
    *("resnet20_fashion", "vgg11_batch", "vgg11_plain", "smoke"),
)
def get_config(variant: str):
    config = merge_networks.default_config()
    if variant in ("default", "smoke"):
        config.data.num_train = 1400
        config.training.update(
            optimizer="adam",
            learning_rate=3e-3,
            weight_decay=0.0,
            schedule="constant",
            num_steps=250,
            batch_size=64,
        )
    else:
        config.data.dir = os.environ.get("SYMMERGE_DATA_DIR")
    if variant == "splice":
        config.family = "splice"
        config.closed_forms = ()  # variances of a stream have none
        config.partial.methods = ()
        config.path.methods = ("activations_balanced",)
        config.path.repairs = (
            *("none", "statistics"),
            "statistics+mapped_least_squares",
        )
        config.path.num_points = 5
    elif variant not in ("default", "smoke"):
        config.family = variant.partition("_")[0]
        config.data.source, config.data.pool = "mnist", 2
        config.data.num_test = 2000
        config.training.update(num_steps=800, batch_size=64, warmup_steps=50)
    if variant == "mlp":
        config.norm = "none"
        config.data.pool, config.data.num_test = 1, None
        config.training.update(
            learning_rate=0.02,
            momentum=0.5,
            weight_decay=0.0,
            warmup_steps=0,
            num_steps=18_000,
        )
    if variant == "resnet20_cifar":
        config.data.source = "cifar10"
        config.training.update(num_steps=2000, weight_decay=5e-4, flip=True, shift=1)
    if variant == "resnet20_fashion":
        config.data.source, config.data.num_train = "fashion_mnist/test", 9000
        config.data.num_test = None
        config.training.update(flip=True)
    if variant == "vgg11_batch":
        config.width, config.training.learning_rate = 0.25, 0.05
    if variant == "vgg11_plain":
        config.width, config.norm = 0.25, "none"
    if variant == "resnet20_layer":
        config.norm = "layer"
    if config.norm != "batch":
        config.closed_forms = ("rescale",)
        config.repairs = (
            *("none", "temperature", "rescale", "repair", "bias", "least_squares"),
            "mapped_least_squares",
        )
        config.path.repairs = ("none", "repair", "least_squares")
    if variant in ("vgg11_plain", "resnet20_layer"):
        config.training.update(optimizer="adam", learning_rate=1e-3, weight_decay=0.0)
    if variant == "smoke":
        config.width = 0.25
        config.data.num_test, config.data.num_unlabelled = 50, 20
        config.training.num_steps = 20
        config.repairs = ("none", "statistics")
        config.closed_forms = ()
        config.path.repairs, config.path.num_points = ("statistics",), 3
        config.methods = config.path.methods = ("naive", "ours")
        config.partial.methods, config.partial.shares = ("naive",), (0.0, 0.5)
    return config
