"""Make zoos of SIRENs from images or signals, in chunks, on all devices, resumable."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from symmerge_jax import networks, training
from symmerge_jax.typing import Array, Key, Params
from symmerge_jax.zoo import _chunks, _fit_siren, _images, _shards, _zoo, _zoo_file

SIREN = {"kind": "siren", "layer_sizes": [2, 32, 32, 1], "w0": 30.0}
"""The architecture of the MNIST-INRs of Navon et al. 2023, arXiv 2301.12780."""


def generate_siren_zoo(
    image_set: _images.ImageSet,
    *,
    seed: int = 0,
    architecture: Mapping[str, Any] = SIREN,
    options: _fit_siren.SirenOptions | None = None,
    fits_per_image: int = 1,
    chunk_size: int = 256,
    parts_dir: str | os.PathLike | None = None,
    devices: Sequence[Any] | None = None,
    numbers: range | None = None,
    on_chunk: _chunks.OnChunk | None = None,
) -> _zoo.Zoo:
    """Fit SIRENs to images and return them as a zoo.

    Network `i` is fitted to image `i // fits_per_image`, from an initialisation of its
    own unless `options` share one. An image of one row is a signal, fitted by networks
    with one input.

    Args:
      image_set: the images; uint8 pixels are divided by 255.
      seed: seed of the zoo.
      architecture: a SIREN with one output, and two inputs for images or one for
        signals.
      options: how to fit; the defaults of `SirenOptions` if None.
      fits_per_image: networks per image, with different initialisations.
      chunk_size: networks per call of the compiled program, rounded up to what the
        devices share evenly.
      parts_dir: folder for the parts of an unfinished zoo, or None to keep none.
      devices: devices to use, all if None, also those of other processes that make the
        same call.
      numbers: of the networks to fit; all if None. A zoo in parts, each with its own
        images, holds the same networks as a whole one.
      on_chunk: called as `on_chunk(done, total, {"psnr": mean})` after each chunk, and
        once before the first, with no mean and the networks that parts hold already.

    Returns:
      The zoo, in memory, with metrics `psnr` (dB) and `num_steps`.

    Raises:
      ValueError: no images, an architecture that is not such a SIREN, parts of another
        zoo, or a fit that diverged.
    """
    options = _fit_siren.SirenOptions() if options is None else options
    recipe = _recipe(image_set, seed, architecture, options, fits_per_image)
    devices = list(training.make_mesh(devices).devices.flat)
    images = image_set.images
    every = range(fits_per_image * len(images))
    if numbers is None:
        numbers = every
    elif not numbers or every[numbers.start : numbers.stop] != numbers:
        raise ValueError(f"numbers must be a range within {every}, got {numbers}.")
    else:
        recipe["numbers"] = [numbers.start, numbers.stop]

    on_cpu = devices[0].platform == "cpu"
    smallest = (options.group_size or (4 if on_cpu else 1)) * len(devices)
    chunk_size = -(-min(chunk_size, len(numbers)) // smallest) * smallest
    group_size = options.group_size or (4 if on_cpu else chunk_size // len(devices))
    fit = _compile(
        json.dumps(recipe["architecture"]), options, tuple(devices), group_size
    )
    key = jax.random.key(seed)

    def fit_chunk(indices: np.ndarray) -> tuple[Params, Mapping[str, np.ndarray]]:
        pixels = networks.to_unit_range(images[indices // fits_per_image])
        params, metrics = jax.device_get(fit(key, indices, pixels))
        bad = np.unique(indices[~np.isfinite(metrics["psnr"])])
        if bad.size:
            raise ValueError(
                f"The fit of network {bad[0]} diverged ({bad.size} of its chunk). Lower"
                " options.learning_rate."
            )
        return params, metrics

    params, metrics = _chunks.gather(
        fit_chunk,
        numbers,
        chunk_size,
        recipe=recipe,
        parts_dir=parts_dir,
        devices=devices,
        stats=lambda metrics: {"psnr": float(np.mean(metrics["psnr"]))},
        on_chunk=on_chunk,
    )
    image = np.asarray(numbers) // fits_per_image
    return _zoo.create(
        recipe["architecture"],
        params,
        labels=image_set.labels[image],
        **image_set.origin(image),
        images=images[image[0] : image[-1] + 1],
        image_row=image - image[0],
        metrics=metrics,
        provenance=recipe,
    )


def load_or_fit_sirens(
    path: str | os.PathLike,
    image_set: _images.ImageSet,
    *,
    shard_size: int | None = None,
    **arguments: Any,
) -> _zoo.Zoo:
    """Return the zoo in a file, after `generate_siren_zoo` if it is missing.

    An interrupted call leaves `PATH.parts`, from which the next call resumes.

    Args:
      path: the zoo file; with shards, their folder.
      image_set: the images.
      shard_size: networks per file of a folder, of which only one is in memory at a
        time; None for one file.
      **arguments: those of `generate_siren_zoo`, but not `parts_dir` and `numbers`.

    Returns:
      The zoo, as views of the file, or of the shards.

    Raises:
      ValueError: the file holds a zoo made from other images or with other arguments.
    """
    recipe = _recipe(
        image_set,
        arguments.get("seed", 0),
        arguments.get("architecture", SIREN),
        arguments.get("options") or _fit_siren.SirenOptions(),
        arguments.get("fits_per_image", 1),
    )

    def make(parts_dir: pathlib.Path, **chosen: Any) -> _zoo.Zoo:
        return generate_siren_zoo(
            image_set, parts_dir=parts_dir, **{**arguments, **chosen}
        )

    if shard_size is None:
        return _zoo_file.load_or_make(path, recipe, make)
    total = recipe["fits_per_image"] * len(image_set.images)
    return _shards.load_or_make(
        path, recipe, total, shard_size, make, arguments.get("on_chunk")
    )


def _recipe(
    image_set: _images.ImageSet,
    seed: int,
    architecture: Mapping[str, Any],
    options: _fit_siren.SirenOptions,
    fits_per_image: int,
) -> dict[str, Any]:
    """Return all that decides the weights, as JSON would hold it, checked."""
    complete = _zoo.complete_architecture(architecture)
    size = image_set.images.shape[1:]
    ends = (networks.coordinate_grid(*size).shape[1], 1)
    sizes = complete.get("layer_sizes", ())
    if complete["kind"] != "siren" or len(sizes) < 3 or (sizes[0], sizes[-1]) != ends:
        raise ValueError(
            f"Images of {size} pixels are fitted by SIRENs with layer_sizes [{ends[0]},"
            f" ..., 1] and at least one hidden layer, got {dict(architecture)}."
        )
    if len(image_set.images) == 0:
        raise ValueError("A zoo needs at least one image, got zero.")
    if fits_per_image < 1:
        raise ValueError(f"fits_per_image must be at least 1, got {fits_per_image}.")
    how = dataclasses.asdict(options)
    if not how["shared_init"]:  # zoos that were made before there was the option
        del how["shared_init"]
    return {
        "made_by": "generate_siren_zoo",
        "source": image_set.name,
        "images_shape": list(image_set.images.shape),
        "images_sha256": hashlib.sha256(image_set.images.tobytes()).hexdigest(),
        "seed": seed,
        "fits_per_image": fits_per_image,
        "architecture": complete,
        "options": how,
    }


@functools.lru_cache(maxsize=8)
def _compile(
    architecture_json: str,
    options: _fit_siren.SirenOptions,
    devices: Sequence[Any],
    group_size: int,
) -> Callable[[Key, np.ndarray, np.ndarray], Any]:
    """Return the program `(key, indices, images) -> (params, metrics)` of a chunk."""
    architecture = json.loads(architecture_json)

    def fit_share(key: Key, indices: Array, images: Array) -> Any:
        groups = (
            indices.reshape(-1, group_size),
            images.reshape(-1, group_size, *images.shape[1:]),
        )
        fitted = lax.map(
            lambda group: _fit_siren.fit_sirens(
                key, group[0], group[1], architecture, options
            ),
            groups,
        )
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fitted)

    return _chunks.spread(fit_share, devices, [False, True, True])
