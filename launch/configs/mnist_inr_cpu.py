"""A ScaleGMN autoencoder of MNIST INRs on two CPU cores, zoo included.

python launch/train.py --config=launch/configs/mnist_inr_cpu.py

The zoo is that of `zoo_mnist.py`, with 12,000 images; it is made in a minute.

Variants at the same size: `mnist_inr_cpu.py:faithful_decoder` has the published decoder
head (plain; widths 256 and 512 as in all variants) and learning rate; `:faithful` the
published encoder, decoder and schedule; `:probe` reads outputs at learned points only.
`:no_probes` has weights as the only input of the encoder, 60,000 images, linear
messages, and many small steps on a quarter of the pixels, in which images are turned,
scaled and moved.
"""

from configs import zoo_mnist
from experiments import harness
from experiments.train import autoencode


@harness.variants("default", "faithful_decoder", "faithful", "no_probes", "probe")
def get_config(variant: str):
    config = autoencode.default_config()
    config.update(zoo_mnist.get_config().to_dict())
    config.data.num_images = 12_000
    config.encoder.width = 32
    config.encoder.latent_size = 64
    config.encoder.num_probes = 256
    config.decoder.hidden_multipliers = (8, 16)
    config.num_steps = 1500
    config.num_microbatches = 8
    config.log_every = 20
    config.evaluate_every = 150
    if variant == "faithful_decoder":
        config.decoder.head = "plain"
        config.learning_rate = 1e-3
    elif variant == "faithful":
        config.encoder.num_probes = 0
        config.encoder.scale_inputs = False
        config.encoder.dropout = 0.2
        config.decoder.head = "plain"
        config.learning_rate = 1e-3
        config.schedule = "constant"
    elif variant == "no_probes":
        config.encoder.num_probes = 0
        config.encoder.messages = "linear"
        config.data.num_images = 60_000
        config.distort.update(rotation=3.0, scale=0.03, shift=0.03)
        # More and smaller steps: weights alone are learned more slowly.
        config.num_steps, config.num_points = 60_000, 196
        config.batch_size = 32
        config.num_microbatches = 1
        config.log_every = 100
        config.evaluate_every = config.checkpoint_every = 2500
    elif variant == "probe":
        config.encoder.kind = "probe"
    return config
