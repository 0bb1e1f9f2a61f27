r"""Twins that an encoder takes for the least alike (Boufalis et al. 2025, 2511.12601).

python launch/train.py --config=launch/configs/failure_mode.py \
    --config.canonicalizers="{'ScaleGMN': 'runs/mnist_inr_cpu'}" --workdir=runs/failure

Any number of finished autoencoder runs on the same INRs, by the names that they get in
the table and the figures. For each, 10 held-out networks with 512 twins each: the path
of 40 points between the two twins whose latents are farthest apart (cosine), as they
are, matched, and decoded. About a minute per encoder on two CPU cores.
"""

from experiments.compare import failure_mode


def get_config():
    return failure_mode.default_config()
