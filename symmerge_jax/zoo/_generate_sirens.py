"""Make zoos of SIRENs from images or signals, in chunks, on all devices, resumable.

A chunk of networks is one call of one compiled program. Each finished chunk may be kept
in a part file; a generator that is started again with the same arguments takes up the
parts that are there. The seed of a network follows from the seed of the zoo and the
network's number, so that the interrupted zoo is bit for bit the uninterrupted one.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from symmerge_jax import files, networks
from symmerge_jax.zoo import _chunks, _fit_siren, _images, _zoo, _zoo_file

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
    on_chunk: _chunks.OnChunk | None = None,
) -> _zoo.Zoo:
    """Fit SIRENs to images and return them as a zoo.

    Network `i` is fitted to image `i // fits_per_image`, from an initialisation of its
    own. An image of one row is a signal, fitted by networks with one input.

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
      devices: devices to use, all of them if None.
      on_chunk: called as `on_chunk(done, total, {"psnr": mean})` after each chunk, and
        once before the first, with no mean and the networks that parts hold already.

    Returns:
      The zoo, in memory, with metrics `psnr` (dB) and `num_steps`.

    Raises:
      ValueError: no images, an architecture that is no such SIREN, parts of another
        zoo, or a fit that diverged.
    """
    options = _fit_siren.SirenOptions() if options is None else options
    architecture = _check_architecture(architecture, image_set)
    recipe = _recipe(image_set, seed, architecture, options, fits_per_image)
    devices = jax.devices() if devices is None else list(devices)
    images = image_set.images
    num_networks = fits_per_image * len(images)
    image_row = np.arange(num_networks) // fits_per_image

    on_cpu = devices[0].platform == "cpu"
    smallest = (options.group_size or (4 if on_cpu else 1)) * len(devices)
    chunk_size = -(-min(chunk_size, num_networks) // smallest) * smallest
    group_size = options.group_size or (4 if on_cpu else chunk_size // len(devices))
    fit = _compile(
        json.dumps(architecture),
        options,
        tuple(devices),
        (chunk_size, *images.shape[1:]),
        group_size,
    )
    key = jax.random.key(seed)

    def fit_chunk(start: int) -> dict[str, np.ndarray]:
        indices = _chunks.indices(start, chunk_size, num_networks)
        pixels = networks.to_unit_range(images[image_row[indices]])
        params, metrics = jax.device_get(fit(key, indices, pixels))
        chunk = _chunks.pack(params, metrics, num_networks - start)
        _check_fit(chunk, start)
        return chunk

    arrays = _chunks.gather(
        fit_chunk,
        num_networks,
        chunk_size,
        parts=_chunks.Parts(parts_dir, {**recipe, "chunk_size": chunk_size}),
        num_workers=_chunks.num_workers(devices),
        stats=lambda chunk: {"psnr": float(np.mean(chunk["metrics/psnr"]))},
        on_chunk=on_chunk,
    )
    params, metrics = _chunks.unpack(arrays)
    return _zoo.create(
        architecture,
        params,
        labels=image_set.labels[image_row],
        **image_set.origin(image_row),
        images=images,
        image_row=image_row,
        metrics=metrics,
        provenance=recipe,
    )


def load_or_fit_sirens(
    path: str | os.PathLike, image_set: _images.ImageSet, **arguments
) -> _zoo.Zoo:
    """Return the zoo in a file, after making it with `generate_siren_zoo` if missing.

    An interrupted call leaves `PATH.parts`, from which the next call goes on.

    Args:
      path: the zoo file.
      image_set: the images.
      **arguments: those of `generate_siren_zoo`, but not `parts_dir`.

    Returns:
      The zoo, as views of the file.

    Raises:
      ValueError: the file holds a zoo made from other images or with other arguments.
    """
    recipe = _recipe(
        image_set,
        arguments.get("seed", 0),
        _check_architecture(arguments.get("architecture", SIREN), image_set),
        arguments.get("options") or _fit_siren.SirenOptions(),
        arguments.get("fits_per_image", 1),
    )
    make = functools.partial(generate_siren_zoo, image_set, **arguments)
    return load_or_make(path, recipe, make)


def load_or_make(
    path: str | os.PathLike, recipe: Mapping[str, Any], make: Callable[..., _zoo.Zoo]
) -> _zoo.Zoo:
    """Return the zoo in a file if it has this recipe, or make it there.

    Args:
      path: the zoo file; its parts are kept in `PATH.parts` until it is complete.
      recipe: all that decides the weights, as the zoo's provenance tells it.
      make: `make(parts_dir=...)` returns the zoo.

    Returns:
      The zoo, as views of the file.

    Raises:
      ValueError: the file holds a zoo of another recipe, or another process makes it.
    """
    path = pathlib.Path(path)
    if path.exists():
        return _load_same(path, recipe)
    with files.making(path):
        if path.exists():  # another process has made it meanwhile
            return _load_same(path, recipe)
        parts_dir = path.with_name(path.name + ".parts")
        _zoo_file.save(path, make(parts_dir=parts_dir))
        shutil.rmtree(parts_dir)
    return _zoo_file.load(path)


def _load_same(path: pathlib.Path, recipe: Mapping[str, Any]) -> _zoo.Zoo:
    zoo = _zoo_file.load(path)
    for name, value in recipe.items():
        if zoo.provenance.get(name) != value:
            raise ValueError(
                f"{path} holds another zoo: its {name} is"
                f" {zoo.provenance.get(name)!r}, wanted {value!r}. Remove the file,"
                " or choose another path."
            )
    return zoo


def _check_architecture(architecture, image_set):
    complete = _zoo.complete_architecture(architecture)
    size = image_set.images.shape[1:]
    ends = (networks.coordinate_grid(*size).shape[1], 1)
    sizes = complete.get("layer_sizes", ())
    if complete["kind"] != "siren" or len(sizes) < 3 or (sizes[0], sizes[-1]) != ends:
        raise ValueError(
            f"Images of {size} pixels are fitted by SIRENs with layer_sizes [{ends[0]},"
            f" ..., 1] and at least one hidden layer, got {dict(architecture)}."
        )
    return complete


def _recipe(image_set, seed, architecture, options, fits_per_image):
    """Return all that decides the weights, as JSON would hold it."""
    if len(image_set.images) == 0:
        raise ValueError("A zoo needs at least one image, got zero.")
    if fits_per_image < 1:
        raise ValueError(f"fits_per_image must be at least 1, got {fits_per_image}.")
    return {
        "made_by": "generate_siren_zoo",
        "source": image_set.name,
        "images_shape": list(image_set.images.shape),
        "images_sha256": hashlib.sha256(image_set.images.tobytes()).hexdigest(),
        "seed": seed,
        "fits_per_image": fits_per_image,
        "architecture": architecture,
        "options": dataclasses.asdict(options),
    }


@functools.lru_cache(maxsize=8)
def _compile(architecture_json, options, devices, shape, group_size):
    """Return the compiled `(key, indices, images) -> (params, metrics)` of a chunk."""
    architecture = json.loads(architecture_json)
    data = PartitionSpec("data")

    def fit_share(key, indices, images):
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

    fit = jax.shard_map(
        fit_share,
        mesh=Mesh(np.array(devices), ("data",)),
        in_specs=(PartitionSpec(), data, data),
        out_specs=data,
        check_vma=False,
    )
    indices = jax.ShapeDtypeStruct(shape[:1], np.int32)
    images = jax.ShapeDtypeStruct(shape, np.float32)
    return jax.jit(fit).lower(jax.random.key(0), indices, images).compile()


def _check_fit(chunk, start):
    bad = np.flatnonzero(~np.isfinite(chunk["metrics/psnr"]))
    if bad.size:
        raise ValueError(
            f"The fit of network {start + bad[0]} diverged ({bad.size} of its chunk)."
            " Lower options.learning_rate."
        )
