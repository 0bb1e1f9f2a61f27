"""Learn to align MLP classifiers, and compare with every other way (Deep-Align).

python launch/train.py --config=launch/configs/deep_align_mlp.py
python launch/evaluate.py --config=launch/configs/deep_align_mlp.py

Navon et al. 2024 (arXiv 2310.13397), section 5. Variants: `digits` (default), 500
networks 64-64-64-10 of scikit-learn's 8 x 8 digits, trained first; `mnist`, the
published 784-128-128-128-10, 1,000 of them (their zoo can be made before, with
zoo_mlp.py:mnist, and named by --config.zoo), a deep weight space network of a tenth of
the published width and few steps, for 2 CPU cores; `mnist_published`, 10,000 networks,
the published network of 31,873,905 parameters and its training, for a GPU; `smoke` ends
in seconds. Images of MNIST are read from $SYMMERGE_DATA_DIR, or are downloaded.
"""

from configs import zoo_mlp
from experiments import harness
from experiments.compare import deep_align

VARIANTS = ("digits", "mnist", "mnist_published", "smoke")
OTHER_METHODS = (
    "naive",
    "matching_p",
    "matching_best",
    "deep_align",
    "deep_align_sweeps",
    "ours",
    "ours_sweeps",
    "activation_matching",
)


def published(model):
    """Return the published network and its training: 100 epochs of 8,000 networks."""
    model.features.update(faithful=True, width=64, feature_size=128, num_layers=5)
    model.features.scale_inputs = False
    model.update(num_steps=25_000, batch_size=32, learning_rate=5e-4, amsgrad=True)
    model.update(schedule="constant", warmup_steps=0, evaluate_every=1250)
    return model


@harness.variants(*VARIANTS)
def get_config(variant: str):
    config = deep_align.default_config()
    source = "mnist" if variant == "mnist_published" else variant
    config.population = zoo_mlp.get_config(source)
    config.rotated = True
    # Sinkhorn takes a second for each pair: not on every population.
    config.other_methods = OTHER_METHODS
    for model in (config.deep_align, config.ours):
        model.batch_size, model.weight_decay, model.clip_norm = 16, 5e-4, 1.0
    config.deep_align.update(num_steps=500, learning_rate=1e-3)
    config.deep_align.features.update(width=16, feature_size=64)
    config.ours.update(num_steps=1000, learning_rate=3e-3)
    config.ours.features.num_rounds = 1
    config.other_width.hidden_sizes = (96, 96)
    config.crowds.sizes = (3, 5, 10)
    if variant == "mnist_published":
        config.population.num_networks = 10_000
        config.deep_align = published(config.deep_align)
        config.ours.update(num_steps=25_000, batch_size=32)
    if variant == "mnist":
        config.deep_align.update(num_steps=400, batch_size=8)
        config.ours.num_steps = 600
        config.sinkhorn.update(num_steps=300, eval_every=50)
    if source == "mnist":
        config.num_train_inputs, config.num_test_inputs = 10_000, 2_000
        config.other_data.source = "fashion_mnist/test"
        config.other_width.hidden_sizes = (192, 192, 192)
    if variant == "smoke":
        config = deep_align.shorten(config)
        config.population.num_networks = 20
        config.rotated, config.other_width.hidden_sizes = False, ()
        config.crowds.sizes = ()
    return config
