"""Learn to align CNN classifiers, and compare with every other way (Deep-Align).

python launch/train.py --config=launch/configs/deep_align_cnn.py

The networks of zoo_cnn.py, as those of the Small CNN Zoo, each with hyper-parameters of
its own. Variants: `digits_relu` (default) and `digits_tanh`, 1,000 networks, trained
first; `mnist_relu` and `mnist_tanh`, 1,200 (their zoos can be made before and named by
--config.zoo); `smoke` ends in seconds.
"""

from configs import zoo_cnn
from experiments import harness
from experiments.compare import deep_align

VARIANTS = ("digits_relu", "digits_tanh", "mnist_relu", "mnist_tanh", "smoke")


@harness.variants(*VARIANTS)
def get_config(variant: str):
    config = deep_align.default_config("cnn")
    config.population = zoo_cnn.get_config(variant)
    config.num_train_inputs = config.num_test_inputs = 2000
    for model in (config.deep_align, config.ours):
        model.weight_decay, model.clip_norm = 5e-4, 1.0
    config.deep_align.update(num_steps=1000, learning_rate=1e-3)
    config.deep_align.features.update(width=16, feature_size=64)
    config.ours.update(num_steps=600, batch_size=16, learning_rate=3e-3)
    config.ours.features.num_rounds = 1
    config.sinkhorn.num_steps = 300
    # As published: neither scales nor pruning for CNNs.
    config.augment.update(scale=0.0, prune=0.0)
    if variant == "smoke":
        config = deep_align.shorten(config)
        config.population.num_networks = 20
    return config
