"""Make zoos of image classifiers, in chunks, on all devices, resumable."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from symmerge_jax import networks, training
from symmerge_jax.typing import Array, Key
from symmerge_jax.zoo import (
    _chunks,
    _fit_classifier,
    _images,
    _train_classifiers,
    _zoo,
    _zoo_file,
)

SMALL_CNN = {"kind": "cnn", "image_shape": [28, 28, 1]}
"""The architecture of the Small CNN Zoo, for images of MNIST's size."""


def generate_classifier_zoo(
    train: _images.ImageSet,
    test: _images.ImageSet,
    *,
    num_networks: int,
    seed: int = 0,
    architecture: Mapping[str, Any] = SMALL_CNN,
    options: _fit_classifier.ZooOptions | None = None,
    chunk_size: int = 32,
    parts_dir: str | os.PathLike | None = None,
    devices: Sequence[Any] | None = None,
    on_chunk: _chunks.OnChunk | None = None,
) -> _zoo.Zoo:
    """Train classifiers that differ in seed and hyper-parameters, as a zoo.

    Every training run gives one network, and one more for each of `keep_steps`; all of
    a run share its number as `image_index`, so that `split` keeps them together.
    Networks that diverged are omitted and counted in the provenance.

    Args:
      train: images to train on, read as `networks.classifier_inputs` of them.
      test: images for the test accuracy.
      num_networks: training runs.
      seed: seed of the zoo.
      architecture: of any kind that reads such images, whole or as rows of pixels,
        and knows their classes: `{"kind": "mlp", "layer_sizes": [784, 128, 10]}`.
      options: the recipe; the defaults of `ZooOptions` if None.
      chunk_size: runs per call of the compiled program, rounded up to what the devices
        share evenly.
      parts_dir: folder for the parts of an unfinished zoo, or None to keep none.
      devices: devices to use, all if None, also those of other processes that make the
        same call.
      on_chunk: called as `on_chunk(done, total, {"accuracy": mean})` after each chunk,
        and once before the first, with no mean and the runs that parts hold already.

    Returns:
      The zoo, in memory, with the metrics of `fit_classifier`; labels are -1.

    Raises:
      ValueError: no networks, images that do not fit the architecture or each other,
        parts of another zoo, or no network that did not diverge.
    """
    options = _fit_classifier.ZooOptions() if options is None else options
    recipe = classifier_recipe(
        train,
        test,
        num_networks=num_networks,
        seed=seed,
        architecture=architecture,
        options=options,
    )
    devices = list(training.make_mesh(devices).devices.flat)
    chunk_size = -(-min(chunk_size, num_networks) // len(devices)) * len(devices)
    shape = networks.build(recipe["architecture"]).input_shape
    pairs = [
        (networks.classifier_inputs(x.images, shape), x.labels) for x in (train, test)
    ]
    data = jax.device_put((*pairs[0], *pairs[1]))
    fit = _compile(
        json.dumps(recipe["architecture"]), options, tuple(devices), chunk_size
    )
    key = jax.random.key(seed)
    params, metrics = _chunks.gather(
        lambda indices: fit(key, indices, data),
        range(num_networks),
        chunk_size,
        recipe=recipe,
        parts_dir=parts_dir,
        devices=devices,
        stats=lambda m: {"accuracy": float(np.mean(m["test_accuracy"][:, -1]))},
        on_chunk=on_chunk,
    )
    # Runs and the steps at which they were kept become one axis.
    params, metrics = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), (params, metrics)
    )
    finite = np.all(
        [
            np.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim)))
            for leaf in jax.tree.leaves(params)
        ],
        axis=0,
    )
    if not finite.any():
        raise ValueError(
            f"All {num_networks} networks diverged: lower options.learning_rate."
        )
    params, metrics = jax.tree.map(lambda x: x[finite], (params, metrics))
    run = np.repeat(np.arange(num_networks), len(options.keep_steps) + 1)
    return _zoo.create(
        recipe["architecture"],
        params,
        image_index=run[finite],
        subsets=(train.name,),
        metrics=metrics,
        provenance={**recipe, "num_diverged": int(np.sum(~finite))},
    )


def load_or_train_classifiers(
    path: str | os.PathLike,
    train: _images.ImageSet,
    test: _images.ImageSet,
    **arguments: Any,
) -> _zoo.Zoo:
    """Return the zoo in a file, after `generate_classifier_zoo` if it is missing.

    An interrupted call leaves `PATH.parts`, from which the next call resumes.

    Args:
      path: the zoo file.
      train: images to train on.
      test: images for the test accuracy.
      **arguments: those of `generate_classifier_zoo`, but not `parts_dir`.

    Returns:
      The zoo, as views of the file.

    Raises:
      ValueError: the file holds a zoo made from other images or with other arguments.
    """
    named = {"num_networks", "seed", "architecture", "options"} & set(arguments)
    recipe = classifier_recipe(train, test, **{n: arguments[n] for n in named})
    return _zoo_file.load_or_make(
        path,
        recipe,
        lambda parts: generate_classifier_zoo(
            train, test, parts_dir=parts, **arguments
        ),
    )


def classifier_recipe(
    train: _images.ImageSet,
    test: _images.ImageSet,
    *,
    num_networks: int,
    seed: int = 0,
    architecture: Mapping[str, Any] = SMALL_CNN,
    options: _fit_classifier.ZooOptions | None = None,
) -> dict[str, Any]:
    """Return all that decides the weights of a zoo, as JSON would hold it, checked.

    Args:
      train: images to train on.
      test: images for the test accuracy.
      num_networks: training runs.
      seed: seed of the zoo.
      architecture: of the networks.
      options: how to train them.

    Raises:
      ValueError: as `generate_classifier_zoo`.
    """
    if num_networks < 1:
        raise ValueError(f"num_networks must be >= 1, got {num_networks}.")
    architecture = _zoo.complete_architecture(architecture)
    network = networks.build(architecture)
    for images in (train, test):
        try:
            inputs = networks.classifier_inputs(images.images[:1], network.input_shape)
        except ValueError as error:
            raise ValueError(
                f"The images {images.name} do not fit the architecture {architecture}."
                f" {error}"
            ) from error
        _train_classifiers.check_data(network, inputs, images.labels, images.name)
    options = _fit_classifier.ZooOptions() if options is None else options
    digest = hashlib.sha256()
    for images in (train, test):
        digest.update(images.images.tobytes())
        digest.update(images.labels.tobytes())
    recipe = {
        "made_by": "generate_classifier_zoo",
        "source": train.name,
        "test_source": test.name,
        "images_shape": [len(train.images), *train.images.shape[1:]],
        "images_sha256": digest.hexdigest(),
        "seed": seed,
        "num_networks": num_networks,
        "architecture": architecture,
        "options": dataclasses.asdict(options),
    }
    return json.loads(json.dumps(recipe))


@functools.lru_cache(maxsize=8)
def _compile(
    architecture_json: str,
    options: _fit_classifier.ZooOptions,
    devices: Sequence[Any],
    chunk_size: int,
) -> Callable[[Key, np.ndarray, Any], Any]:
    """Return the program `(key, indices, data) -> (params, metrics)` of a chunk.

    On a CPU the networks of a chunk follow each other, each in cache, and chunks run on
    as many cores as there are. That comes near the rate of a single matrix product,
    also for MLPs, which are a tenth slower as batches of products. On other devices
    they run side by side.
    """
    network = networks.build(json.loads(architecture_json))
    on_cpu = devices[0].platform == "cpu"
    batch_size = None if on_cpu else chunk_size // len(devices)

    def fit_share(key: Key, indices: Array, data: Any) -> Any:
        return lax.map(
            lambda index: _fit_classifier.fit_classifier(
                network, jax.random.fold_in(key, index), data, options
            ),
            indices,
            batch_size=batch_size,
        )

    return _chunks.spread(fit_share, devices, [False, True, False])
