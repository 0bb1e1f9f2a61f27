"""Learn to align INRs of one signal or image, and compare with every other way.

python launch/train.py --config=launch/configs/deep_align_inr.py

Navon et al. 2024 (arXiv 2310.13397), section 5, with their augmentations: each pair are
two separate fits of one signal. Variants: `waves` (default), 1,000 sine waves, two
SIRENs 1-32-32-1 of each; `mnist`, 1,000 images, two SIRENs 2-32-32-1 of each, read from
$SYMMERGE_DATA_DIR or downloaded; `smoke` ends in seconds.
"""

from configs import zoo_mnist, zoo_waves
from experiments import harness
from experiments.compare import deep_align

VARIANTS = ("waves", "mnist", "smoke")


@harness.variants(*VARIANTS)
def get_config(variant: str):
    config = deep_align.default_config("siren")
    made = {
        "waves": zoo_waves.get_config(),
        "mnist": zoo_mnist.get_config(),
        "smoke": zoo_waves.get_config("smoke"),
    }
    config.population = made[variant]
    config.distort.update(scale=0.2, shift=0.25)
    if variant == "mnist":
        fits = {"data": {"num_images": 1000}, "fits_per_image": 2}
        config.population.update({**fits, "fit": {"num_steps": 600}})
        config.distort.rotation = 45.0
    else:
        config.sinkhorn.eval_size = 256  # all points of a wave
    for model in (config.deep_align, config.ours):
        model.learning_rate, model.inputs_per_pair = 1e-3, 64
        model.weight_decay, model.clip_norm = 5e-4, 1.0
    config.deep_align.num_steps, config.ours.num_steps = 1000, 600
    config.ours.features.num_rounds = 1
    config.deep_align.features.update(width=16, feature_size=64)
    config.sinkhorn.num_steps = 300
    config.augment.scale = 0.0  # sine neurons have signs, no scales
    if variant == "smoke":
        config = deep_align.shorten(config)
        config.split.update(val_fraction=0.25, test_fraction=0.25)
        config.num_pairs = 1
    return config
