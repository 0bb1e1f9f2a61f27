"""Two MLP classifiers trained apart, aligned by every method, and what lies between.

python launch/train.py --config=launch/configs/merge_mlps.py

The default is small: digits of scikit-learn, MLPs 64-32-32-10. Variants on MNIST, as in
Ainsworth et al. 2023 (arXiv 2209.04836): `merge_mlps.py:mnist_512` (784-512-512-512-10,
Adam, 100 epochs) and `:mnist_narrow` (784-400-200-100-10 without bias, AdamW, 60
epochs). `:smoke` ends in seconds. The images are read from $SYMMERGE_DATA_DIR/mnist, or
are downloaded.
"""

import os

from experiments import harness
from experiments.compare import merge_mlps


@harness.variants("default", "mnist_512", "mnist_narrow", "smoke")
def get_config(variant: str):
    config = merge_mlps.default_config()
    if variant.startswith("mnist"):
        config.data.source = "mnist"
        config.data.dir = os.environ.get("SYMMERGE_DATA_DIR")
        config.training.num_epochs = 100
        config.training.batch_size = 500
        config.architecture.hidden_sizes = (512, 512, 512)
    else:
        config.training.batch_size = 100
        config.sinkhorn.update(batch_size=100, eval_size=500)
        config.straight_through.update(batch_size=100, eval_size=500)
    if variant == "mnist_512":
        often = {"eval_size": 500, "eval_every": 10}
        config.sinkhorn.update(cost="random_lambda", learning_rate=0.1, **often)
        config.straight_through.update(num_steps=1000, learning_rate=0.01, **often)
    if variant == "mnist_narrow":
        config.architecture.hidden_sizes = (400, 200, 100)
        config.architecture.use_bias = False
        # Weight decay brings narrow networks close enough to be merged.
        config.training.num_epochs = 60
        config.training.schedule = "cosine"
        config.training.weight_decay = 0.6
    if variant == "smoke":
        config.architecture.hidden_sizes = (8,)
        config.training.num_epochs = 3
        config.num_points = 3
        config.log_every = config.checkpoint_every = 2
        config.matching_best.num_random_starts = 1
        for group in (config.sinkhorn, config.straight_through):
            group.num_steps = group.eval_every = 2
    return config
