"""Make zoos of image classifiers: chunk by chunk, on all devices, resumable.

The seed of a network follows from the seed of the zoo and the network's number, so that
an interrupted zoo is bit for bit the uninterrupted one.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from symmerge_jax import networks
from symmerge_jax.zoo import (
    _chunks,
    _fit_classifier,
    _generate_sirens,
    _images,
    _train_classifiers,
    _zoo,
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
    Networks that diverged are left out and counted in the provenance.

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
      devices: devices to use, all of them if None.
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
    devices = jax.devices() if devices is None else list(devices)
    chunk_size = min(chunk_size, num_networks)
    chunk_size = -(-chunk_size // len(devices)) * len(devices)
    shape = networks.build(recipe["architecture"]).input_shape
    pairs = [
        (networks.classifier_inputs(x.images, shape), x.labels) for x in (train, test)
    ]
    data = jax.device_put((*pairs[0], *pairs[1]))
    fit = _compile(
        json.dumps(recipe["architecture"]), options, tuple(devices), chunk_size
    )
    key = jax.random.key(seed)

    def fit_chunk(start: int) -> dict[str, np.ndarray]:
        indices = _chunks.indices(start, chunk_size, num_networks)
        params, metrics = jax.device_get(fit(key, indices, data))
        metrics = {name: v.astype(np.float32) for name, v in metrics.items()}
        return _chunks.pack(params, metrics, num_networks - start)

    arrays = _chunks.gather(
        fit_chunk,
        num_networks,
        chunk_size,
        parts=_chunks.Parts(parts_dir, {**recipe, "chunk_size": chunk_size}),
        num_workers=_chunks.num_workers(devices),
        stats=lambda c: {"accuracy": float(np.mean(c["metrics/test_accuracy"][:, -1]))},
        on_chunk=on_chunk,
    )
    num_kept = len(options.keep_steps) + 1
    params, metrics = _chunks.unpack(
        {name: v.reshape(-1, *v.shape[2:]) for name, v in arrays.items()}
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
    return _zoo.create(
        recipe["architecture"],
        jax.tree.map(lambda leaf: leaf[finite], params),
        image_index=np.repeat(np.arange(num_networks), num_kept)[finite],
        subsets=(train.name,),
        metrics={name: values[finite] for name, values in metrics.items()},
        provenance={**recipe, "num_diverged": int(np.sum(~finite))},
    )


def load_or_train_classifiers(
    path: str | os.PathLike,
    train: _images.ImageSet,
    test: _images.ImageSet,
    **arguments,
) -> _zoo.Zoo:
    """Return the zoo in a file, made with `generate_classifier_zoo` if missing.

    An interrupted call leaves `PATH.parts`, from which the next call goes on.

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
    make = functools.partial(generate_classifier_zoo, train, test, **arguments)
    return _generate_sirens.load_or_make(path, recipe, make)


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
      options: the recipe of the training.

    Returns:
      The provenance of the zoo.

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
    recipe = {
        "made_by": "generate_classifier_zoo",
        "source": train.name,
        "test_source": test.name,
        "images_shape": [len(train.images), *train.images.shape[1:]],
        "images_sha256": _sha256(train, test),
        "seed": seed,
        "num_networks": num_networks,
        "architecture": architecture,
        "options": dataclasses.asdict(options),
    }
    return json.loads(json.dumps(recipe))


def _sha256(*image_sets: _images.ImageSet) -> str:
    digest = hashlib.sha256()
    for images in image_sets:
        digest.update(images.images.tobytes())
        digest.update(images.labels.tobytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=8)
def _compile(architecture_json, options, devices, chunk_size):
    """Return the program `(key, indices, data) -> (params, metrics)` of a chunk.

    On a CPU the networks of a chunk follow each other, each in cache; chunks run on as
    many cores as there are. That comes near the rate of a single matrix product, also
    for MLPs, which are a tenth slower side by side, as batches of products. On other
    devices they run side by side.
    """
    network = networks.build(json.loads(architecture_json))
    on_cpu = devices[0].platform == "cpu"
    batch_size = None if on_cpu else chunk_size // len(devices)

    def fit_share(key, indices, data):
        def fit(index):
            return _fit_classifier.fit_classifier(
                network, jax.random.fold_in(key, index), data, options
            )

        return lax.map(fit, indices, batch_size=batch_size)

    spread = PartitionSpec("data")
    return jax.jit(
        jax.shard_map(
            fit_share,
            mesh=Mesh(np.array(devices), ("data",)),
            in_specs=(PartitionSpec(), spread, PartitionSpec()),
            out_specs=spread,
            check_vma=False,
        )
    )
