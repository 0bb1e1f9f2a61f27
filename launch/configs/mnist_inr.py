"""The paper's MNIST-INR autoencoder (Boufalis et al. 2025, arXiv 2511.12601).

python launch/train.py --config=launch/configs/mnist_inr.py --config.zoo=mnist-inrs

`config.zoo` names the MNIST-INRs of Navon et al. 2023 (arXiv 2301.12780): the folder of
checkpoints, by default `mnist-inrs`, or a zoo file. In their place, 70,000 SIRENs, of
which those of the test images are held out:

python launch/make_zoo.py --config=launch/configs/zoo_mnist.py:all --out=mnist.zoo

Encoder width 128, 4 layers, batch 128, 150 epochs of 55,000 networks: meant for one
GPU. Published early figure: MSE 0.015 against the image; the INR's own is 0.005.

The default is our better autoencoder at that size. `mnist_inr.py:faithful` has the
published options throughout: plain decoder head, raw inputs, no probes, dropout 0.2,
constant learning rate 1e-3 after 1,000 steps of warm-up, clip 10.
`mnist_inr.py:neural_graphs` is the paper's baseline (Kofinas et al. 2024, arXiv
2403.12143): 300 epochs, AMSGrad, a norm over the whole batch.
"""

from experiments import harness
from experiments.train import autoencode


@harness.variants("default", "faithful", "neural_graphs")
def get_config(variant: str):
    config = autoencode.default_config()
    config.zoo = "mnist-inrs"
    config.encoder.width = 128
    config.encoder.num_probes = 256
    config.encoder.dropout = 0.2
    config.encoder.remat = True
    config.val_fraction = 5 / 60
    config.batch_size = 128
    config.num_steps = 150 * 430
    config.warmup_steps = 1000
    config.learning_rate = 1e-3
    config.log_every = 100
    config.evaluate_every = 430
    config.checkpoint_every = 430
    if variant == "faithful":
        config.encoder.num_probes = 0
        config.encoder.scale_inputs = False
        config.decoder.hidden_multipliers = (2, 4)
        config.decoder.head = "plain"
        config.schedule = "constant"
    elif variant == "neural_graphs":
        config.encoder.kind = "neural_graphs"
        config.encoder.norm = "batch"
        config.encoder.num_probes = 0
        config.encoder.dropout = 0.0
        config.encoder.input_value = 0.0
        config.decoder.hidden_multipliers = (2, 4)
        config.decoder.head = "plain"
        config.num_steps = 300 * 430
        config.schedule = "constant"
        config.weight_decay = 5e-4
        config.amsgrad = True
        config.seed = 42
        config.evaluate_every = config.checkpoint_every = 2150
    return config
