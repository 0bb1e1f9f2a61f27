r"""Latents of autoencoders in the plane (Boufalis et al. 2025, arXiv 2511.12601).

python launch/train.py --config=launch/configs/latent_maps.py \
    --config.canonicalizers="{'ScaleGMN': 'runs/mnist_inr_cpu'}" --workdir=runs/maps

Any number of finished autoencoder runs on the same networks, of INRs or of CNNs, by the
names that they get in the table and the figures: t-SNE of the networks that they hold
out, 512 twins of one of them among these, and how tight the orbits of 8 networks are.
`latent_maps.py:umap` draws UMAP too, as published (pip install 'symmerge_jax[umap]').
About a minute per encoder of 12,000 MNIST INRs on two CPU cores.
"""

from experiments import harness
from experiments.latents import map_latents


@harness.variants("default", "umap")
def get_config(variant: str):
    config = map_latents.default_config()
    if variant == "umap":
        config.maps = ("tsne", "umap")
    return config
