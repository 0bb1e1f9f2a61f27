"""Networks of one family that are trained apart, and the images that they classify."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from ml_collections import config_dict

from experiments import harness
from experiments.populations import (
    _population,
    flax_classifiers,
    flax_training,
    real_networks,
)
from symmerge_jax import merging, networks, zoo

_BATCH = 250
"""Images that are classified at once."""

_UNLABELLED = 500


class Family(NamedTuple):
    """A kind of classifier.

    Attributes:
      build: `build(width, norm)` returns the module.
      norms: values of `config.norm` that make a difference.
    """

    build: Callable[[float, str], nn.Module]
    norms: tuple[str, ...]


FAMILIES = {
    "resnet20": Family(flax_classifiers.ResNet20, ("batch", "layer")),
    "vgg11": Family(flax_classifiers.Vgg11, ("batch", "none")),
    "mlp": Family(lambda width, _: flax_classifiers.NarrowMlp(width), ("none",)),
    "digits_batchnorm": Family(
        lambda width, _: flax_classifiers.SmallBatchNorm(width), ("batch",)
    ),
}


def default_data() -> dict[str, Any]:
    """Return the keys of `config.data` for images, with defaults.

    Images are means over squares of `pool` pixels, in [0, 1]. Of a source without a
    test split, those behind the first `num_train` are for tests. Methods that use data
    see the first `num_unlabelled` training images without their classes, of which 500
    are the default.
    """
    return {
        "source": "digits",
        "dir": config_dict.placeholder(str),
        "num_train": config_dict.placeholder(int),
        "num_test": config_dict.placeholder(int),
        "num_unlabelled": config_dict.placeholder(int),
        "unlabelled": "given",
        "pool": 1,
    }


def plan(config: harness.Config) -> real_networks.Plan:
    """Take a config apart; see `merge_networks.default_config`."""
    family = FAMILIES[config.family]
    if config.norm not in family.norms:
        raise ValueError(
            f"config.norm is {config.norm!r}, known for {config.family!r} are"
            f" {', '.join(family.norms)}."
        )
    if not config.width >= 1 / 16:
        raise ValueError(f"config.width must be >= 1/16, got {config.width}.")
    recipe = flax_training.Recipe(**config.training.to_dict())
    flax_training.check(recipe)
    train, test = load_images(config)
    num_unlabelled = config.data.num_unlabelled
    if num_unlabelled is None:
        num_unlabelled = min(_UNLABELLED, len(train.inputs))
    if not 1 <= num_unlabelled <= len(train.inputs):
        raise ValueError(
            f"config.data.num_unlabelled must lie in 1..{len(train.inputs)}, the"
            f" training images, got {num_unlabelled}."
        )
    unlabelled = train.inputs[:num_unlabelled]
    if config.data.unlabelled == "smooth":
        key = jax.random.key(config.seed)
        unlabelled = merging.smooth_noise(unlabelled.shape, low=0.0, key=key)
    elif config.data.unlabelled != "given":
        random = np.random.default_rng(config.seed)
        unlabelled = random.random(unlabelled.shape, np.float32)
    module = family.build(config.width, config.norm)
    size = max(tuple(config.sizes) or (2,))
    training = flax_training.Training(
        module=module,
        examples=train,
        recipe=recipe,
        seeds=tuple(range(config.seed, config.seed + config.num_groups * size)),
        checkpoint_every=config.checkpoint_every,
    )

    def load(folder: pathlib.Path):
        return flax_training.train(training, folder)

    return real_networks.Plan(
        apply=module.apply,
        load=load,
        names=tuple(f"seed {seed}" for seed in training.seeds),
        example=train.inputs[:2],
        unlabelled=unlabelled,
        is_synthetic=config.data.unlabelled == "synthetic",
        test=test,
        score=real_networks.score_classes,
        score_name="accuracy",
        batch_size=_BATCH,
        sizes=tuple(config.sizes) or (2,),
        has_statistics=config.norm == "batch",
        wider=lambda share: family.build(config.width * (1 + share), config.norm),
    )


def load_images(
    config: harness.Config,
) -> tuple[_population.Examples, _population.Examples]:
    """Return images to train on and to test on, `[S, H, W, 1]` in [0, 1].

    Raises:
      ValueError: an unknown source, or counts that do not fit.
      FileNotFoundError: missing images.
    """
    data = config.data
    source, _, split = data.source.partition("/")
    if source in zoo.SPLIT_SOURCES and not split:
        parts = [zoo.load_images(source, x, data.dir) for x in ("train", "test")]
    else:
        found = zoo.load_images(source, split or "all", data.dir)
        if data.num_train is None:
            raise ValueError(
                f"'{data.source}' has no test split: config.data.num_train says how"
                " many of its images are for training."
            )
        cut = data.num_train
        parts = [
            found._replace(images=found.images[rows], labels=found.labels[rows])
            for rows in (slice(cut), slice(cut, None))
        ]
    counts = {"num_train": data.num_train, "num_test": data.num_test}
    examples = []
    for (key, count), part in zip(counts.items(), parts, strict=True):
        if not len(part.images):
            raise ValueError(f"'{data.source}' leaves no images for {key}.")
        if count is not None and not 1 <= count <= len(part.images):
            raise ValueError(
                f"config.data.{key} must lie in 1..{len(part.images)}, got {count}."
            )
        images = _pooled(networks.to_unit_range(part.images[:count]), data.pool)
        examples.append(_population.Examples(images[..., None], part.labels[:count]))
    return examples[0], examples[1]


def _pooled(images: np.ndarray, pool: int) -> np.ndarray:
    """Return means over squares of pixels."""
    num, height, width = images.shape
    if pool < 1 or height % pool or width % pool:
        raise ValueError(
            f"config.data.pool must divide {height} x {width} pixels, got {pool}."
        )
    squares = images.reshape(num, height // pool, pool, width // pool, pool)
    return squares.mean(axis=(2, 4))
