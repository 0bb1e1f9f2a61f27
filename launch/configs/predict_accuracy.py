"""Predict the accuracy of CNNs from their weights (ScaleGMN, arXiv 2406.10685).

python launch/make_zoo.py --config=launch/configs/zoo_cnn.py:mnist_relu --out=relu.zoo
python launch/train.py --config=launch/configs/predict_accuracy.py --config.zoo=relu.zoo

A ScaleGMN encoder on weights alone and a sigmoid, trained with binary cross-entropy on
the accuracies of 1,200 MNIST classifiers; Kendall's tau on held-out ones, which is
0.72 after 500 steps and still rises. `small` is for a thousand networks of digits,
`zoo_cnn.py:digits_relu`; `published`, meant for a GPU, has the size of the published
runs. Networks of any architecture will do. Outputs at learned images besides with
`--config.encoder.num_probes=128`.
"""

from experiments import harness
from experiments.train import predict


@harness.variants("mnist", "small", "published")
def get_config(variant: str):
    config = predict.default_config()
    config.task = "accuracy"
    config.encoder.input_value = 0.0
    config.encoder.num_probes = 0
    config.encoder.width = 32
    config.batch_size = 32
    config.num_steps = 2000
    config.learning_rate = 1e-3
    config.warmup_steps = 100
    config.val_fraction = 0.1
    config.test_fraction = 0.15
    if variant == "small":
        config.num_steps = 1000
    elif variant == "published":
        config.encoder.width = 128
        config.encoder.dropout = 0.2
        config.batch_size = 64
        config.num_steps = 40_000
        config.test_fraction = 0.5
        config.evaluate_every = config.checkpoint_every = 1000
    return config
