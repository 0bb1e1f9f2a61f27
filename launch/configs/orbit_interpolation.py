r"""Interpolate between members of an orbit (Boufalis et al. 2025, arXiv 2511.12601).

python launch/train.py --config=launch/configs/orbit_interpolation.py \
    --config.canonicalizer=runs/mnist_inr_cpu

10 held-out INRs of the autoencoder run that `config.canonicalizer` names, 512 twins of
each, paired by a cyclic shift, noise on the second network of a pair; 40 points per
path, nine methods. Without a canonicalizer that of `digits_inr.py:probes` is trained.
`orbit_interpolation.py:smoke` makes its own tiny one and ends in a minute.
"""

from experiments import harness
from experiments.compare import interpolate


@harness.variants("default", "smoke")
def get_config(variant: str):
    config = interpolate.default_config()
    config.sweep = (0.001, 0.002, 0.01)
    if variant == "smoke":
        config = shorten(config)
        config.sweep = (0.01,)
        config.num_members = 4
        config.autoencoder.encoder.width = 8
        config.autoencoder.update(num_orbits=2, num_twins=2)
    return config


def shorten(config):
    """Let a run end in a minute, with a tiny autoencoder of its own; in place."""
    config.update(num_networks=3, num_points=5, num_random_starts=1, chunk_size=8)
    autoencoder = config.autoencoder
    autoencoder.data.num_images = 32
    autoencoder.architecture.hidden_sizes = (6, 5)
    autoencoder.fit.num_steps = 10
    autoencoder.encoder.update(kind="probe", num_probes=16)
    autoencoder.val_fraction = autoencoder.test_fraction = 0.2
    autoencoder.update(num_steps=4, warmup_steps=1, batch_size=8)
    autoencoder.update(evaluate_every=2, checkpoint_every=2)
    return config
