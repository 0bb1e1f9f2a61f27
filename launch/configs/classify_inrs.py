r"""Classify INRs by their weights (Kalogeropoulos et al. 2024, arXiv 2406.10685).

Their Table 1; on two CPU cores, zoo included.

python launch/train.py --config=launch/configs/classify_inrs.py:pretrained

Makes 10,000 SIRENs of the test images of MNIST in a minute, then trains a ScaleGMN
classifier on 8,500 of them, on weights alone, in four. It starts from the encoder of
the autoencoder that comes with the library, which has seen no labels and only networks
of training images. From scratch (`mnist`, 12,000 SIRENs of training images) few
networks are slow to start.

python launch/train.py --config=launch/configs/mnist_inr_cpu.py:no_probes \
    --config.data.source=fashion_mnist --config.data.split=test \
    --config.data.num_images=10000 --config.fits_per_image=3 --workdir=runs/fashion
python launch/train.py --config=launch/configs/classify_inrs.py:pretrained_fashion \
    --config.pretrained=runs/fashion --config.zoo=runs/fashion/inrs.zoo \
    --config.fits_per_image=3 --config.label_smoothing=0.1 --config.num_steps=6000

The same for Fashion-MNIST, with an autoencoder of one's own, which takes half an hour;
both hold out the same images.

Variants: `mnist` (default) and `pretrained`; `fashion` and `pretrained_fashion`, the
10,000 test images of Fashion-MNIST, as the training images are not always at hand (with
them: `--config.data.split=train --config.data.num_images=12000`); `digits`,
scikit-learn's 8 x 8 digits; `smoke`. Other encoders, as
`--config.encoder.kind=neural_graphs`, with random twins `--config.augment=True`;
outputs at learned points besides with `--config.encoder.num_probes=256`; images turned
and moved in every step with `--config.distort.rotation=15`.
"""

from configs import zoo_mnist
from experiments import harness
from experiments.train import predict


@harness.variants(
    "mnist", "fashion", "pretrained", "pretrained_fashion", "digits", "smoke"
)
def get_config(variant: str):
    config = predict.default_config()
    config.encoder.width = 16
    config.batch_size = 32
    config.warmup_steps = 200
    if variant == "smoke":
        config.data.num_images = 64
        config.architecture.hidden_sizes = (4,)
        config.fit.num_steps = 5
        config.encoder.width = 4
        config.encoder.num_layers = 1
        config.val_fraction = config.test_fraction = 0.2
        config.num_steps = 4
        config.warmup_steps = 1
        config.batch_size = 8
        config.log_every = 1
        config.evaluate_every = config.checkpoint_every = 2
        return config
    config.evaluate_every = config.checkpoint_every = 400
    if variant == "digits":
        config.num_steps = 2500
        config.test_fraction = 0.2
        return config
    config.update(zoo_mnist.get_config().to_dict())
    config.data.num_images = 12_000
    if variant.endswith("fashion"):
        config.data.source = "fashion_mnist"
    if variant != "mnist":
        config.data.split = "test"
        config.data.num_images = 10_000
    config.num_steps = 8000
    if variant.startswith("pretrained"):
        config.encoder.width = predict.default_config().encoder.width
        config.pretrained = "mnist-siren-32"
        config.num_steps = 3000
        config.learning_rate = 1e-3
        config.distort.rotation = 15.0
        config.distort.scale = 0.1
        config.distort.shift = 0.1
    return config
