r"""What random twins cost who reads weights: the ladder of orbit noise.

python launch/train.py --config=launch/configs/orbit_noise.py

Classifies 12,000 MNIST INRs by their weights: as fitted, permuted, with signs flipped,
with phases turned by half turns; by an MLP on weights, on their closed form, and on
weights aligned to one network; and by ScaleGMN. With a finished autoencoder of such
networks, `--config.canonicalizer=runs/mnist_inr_cpu_no_probes`, its networks
`--config.zoo=runs/mnist_inr_cpu_no_probes/inrs.zoo`, and
`--config.readers="('template', 'decoded')"`, also on weights aligned to what it
decodes, and on the decoded weights. About half an hour of one CPU core.

Variants: `own`, networks that start apart, which is why their weights are a riddle from
the beginning; `shared`, all start from one initialisation; `smoke`.
"""

from configs import zoo_mnist
from experiments import harness
from experiments.train import orbit_noise


@harness.variants("own", "shared", "smoke")
def get_config(variant: str):
    config = orbit_noise.default_config()
    config.readers = ("weights", "closed", "aligned", "scale_gmn")
    config.encoder.messages = "linear"
    if variant == "smoke":
        config.data.num_images = 64
        config.architecture.hidden_sizes = (4,)
        config.fit.num_steps = 5
        config.val_fraction = config.test_fraction = 0.2
        config.mlp.update(width=4, num_epochs=2)
        config.encoder.update(width=4, num_layers=1)
        config.update(batch_size=8, num_steps=4, warmup_steps=1, log_every=1)
        config.evaluate_every = config.checkpoint_every = 2
        return config
    config.update(zoo_mnist.get_config().to_dict())
    config.data.num_images = 12_000
    config.fit.shared_init = variant == "shared"
    config.encoder.width = 32
    config.distort.update(rotation=15.0, scale=0.1, shift=0.1)
    config.batch_size = 32
    config.warmup_steps = 200
    config.num_steps = 3000
    config.evaluate_every = config.checkpoint_every = 500
    return config
