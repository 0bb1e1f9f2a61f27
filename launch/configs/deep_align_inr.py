"""Learn to align INRs of one signal or image, and compare with every other way.

python launch/train.py --config=launch/configs/deep_align_inr.py

Navon et al. 2024 (arXiv 2310.13397), section 5, with their augmentations: each pair are
two separate fits of one signal. Variants: `waves` (default), 1,000 sine waves, two
SIRENs 1-32-32-1 of each; `mnist`, 1,000 images, two SIRENs 2-32-32-1 of each, read from
$SYMMERGE_DATA_DIR or downloaded; `smoke` ends in seconds.
"""

import pathlib

from symmerge_jax import experiments
from symmerge_jax.experiments import deep_align

VARIANTS = ("waves", "mnist", "smoke")
HERE = pathlib.Path(__file__).parent


def get_config(variant: str = "waves"):
    if variant not in VARIANTS:
        raise ValueError(f"Variants are {VARIANTS}, not {variant!r}.")
    config = deep_align.default_config("siren")
    file = "waves.py:smoke" if variant == "smoke" else f"{variant}.py"
    config.population = experiments.load_config_file(f"{HERE}/zoo_{file}")
    config.distort.update(scale=0.2, shift=0.25)
    if variant == "mnist":
        fits = {"data": {"num_images": 1000}, "fits_per_image": 2}
        config.population.update({**fits, "fit": {"num_steps": 600}})
        config.distort.rotation = 45.0
    for model in (config.deep_align, config.ours):
        model.num_steps, model.learning_rate = 2000, 1e-3
        model.inputs_per_pair, model.weight_decay, model.clip_norm = 64, 5e-4, 1.0
    config.deep_align.features.update(width=16, feature_size=64)
    config.augment.scale = 0.0  # sine neurons have signs, no scales
    if variant == "smoke":
        config.seeds, config.num_pairs, config.num_points = (0,), 1, 3
        config.split.update(val_fraction=0.25, test_fraction=0.25)
        config.num_random_starts, config.num_val_pairs = 1, 1
        for model in (config.deep_align, config.ours):
            model.num_steps, model.batch_size, model.warmup_steps = 3, 2, 1
            model.log_every = model.evaluate_every = model.checkpoint_every = 2
        config.deep_align.features.update(width=4, num_layers=2)
        config.sinkhorn.update(num_steps=2, eval_every=2)
    return config
