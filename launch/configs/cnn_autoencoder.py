r"""Canonicalise CNN classifiers (Boufalis et al. 2025, arXiv 2511.12601, section 5.2).

python launch/train.py --config=launch/configs/cnn_autoencoder.py:mnist_relu \
    --config.zoo=relu.zoo --workdir=runs/cnn_relu

Variants: `digits_relu` (default), `digits_tanh`: 1,000 networks of 8 x 8 digits, made
on the fly; `mnist_relu`, `mnist_tanh`: the zoos of `zoo_cnn.py`, made if `config.zoo`
names no file; `cifar10_relu`, `cifar10_tanh`: the same for grey CIFAR-10, with the
published sizes, meant for a GPU; `faithful_relu`, `faithful_tanh`: the published
configuration on that zoo, which distils on all test images; `neural_graphs_relu`,
`neural_graphs_tanh`: that of the paper's baseline; `smoke` ends in seconds.
"""

from configs import zoo_cnn
from experiments import harness
from experiments.train import autoencode_classifiers

VARIANTS = (
    *zoo_cnn.VARIANTS,
    *("faithful_relu", "faithful_tanh", "neural_graphs_relu", "neural_graphs_tanh"),
    "smoke",
)


@harness.variants(*VARIANTS)
def get_config(variant: str):
    config = autoencode_classifiers.default_config()
    source, _, activation = variant.rpartition("_")
    faithful = source in ("faithful", "neural_graphs")
    made = f"cifar10_{activation}" if faithful else variant
    zoo = zoo_cnn.get_config(made)
    for key in ("num_networks", "data", "architecture", "training"):
        config[key] = zoo[key]
    if variant == "smoke":
        config.num_networks = 12
        config.val_fraction = config.test_fraction = 0.25
        config.data.num_images = 80
        config.images_per_step = 8
        config.encoder.width = 8
        config.encoder.num_probes = 4
        config.decoder.hidden_multipliers = (2,)
        config.num_steps = 4
        config.warmup_steps = 1
        config.batch_size = 4
        config.evaluate_every = config.checkpoint_every = 2
        config.num_orbits = config.num_twins = 2
        return config
    if source == "digits":
        config.num_steps = 400
        config.batch_size = 32
        config.test_fraction = 0.2
    elif source == "mnist":
        config.num_images = 10_000
        config.num_steps = 1500
        config.batch_size = 32
        config.num_microbatches = 4
        config.test_fraction = 0.15
    else:
        config.num_images = None if faithful else 10_000
        config.encoder.width = 256
        config.encoder.dropout = 0.2
        config.num_steps = 30_000
        config.test_fraction = 0.5
    if faithful:
        _set_published(config)
        if source == "faithful":
            _set_scale_gmn(config, activation)
        else:
            _set_neural_graphs(config)
    return config


def _set_published(config):
    """What the published runs have in common."""
    config.encoder.num_probes = 0
    config.encoder.scale_inputs = False
    config.decoder.hidden_multipliers = (2, 4)
    config.decoder.head = "plain"
    config.schedule = "constant"
    config.warmup_steps = 1000
    config.clip_norm = 5.0
    config.distill_on = "test"
    config.images_per_step = 0
    config.val_fraction = 0.1


def _set_scale_gmn(config, activation):
    config.encoder.unit_rows = False
    config.encoder.io = "mlp"
    config.encoder.num_io_mlps = 2 if activation == "tanh" else 1
    config.encoder.edge_embedding = False
    config.encoder.skip = False
    config.encoder.norm_epsilon = 1e-10
    config.learning_rate = 1e-3


def _set_neural_graphs(config):
    """Kofinas et al. 2024 (arXiv 2403.12143), as the paper trains it."""
    config.encoder.kind = "neural_graphs"
    config.encoder.norm = "batch"
    config.encoder.dropout = 0.0
    config.encoder.input_value = 0.0
    config.learning_rate = 1e-4
    config.weight_decay = 5e-4
    config.amsgrad = True
    config.seed = 42
