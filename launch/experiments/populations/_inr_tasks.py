"""What INRs do: draw images or signals on a grid of coordinates."""

import jax
import numpy as np

from experiments import harness
from experiments.populations import _population
from symmerge_jax import learning, networks, zoo
from symmerge_jax.typing import Params


def inr_task(
    inrs: zoo.Zoo, image_size: int, *, with_targets: bool = False
) -> _population.Task:
    """Return the task of INRs.

    Args:
      inrs: the networks.
      image_size: height and width in pixels where the zoo has no images.
      with_targets: whether the task holds the pixels that each network was fitted to,
        which a zoo without images does not have.
    """
    size = (image_size, image_size)
    if inrs.images is not None:
        size = (int(inrs.images.shape[1]), int(inrs.images.shape[2]))
    pixels = learning.inr_targets(inrs)[1] if with_targets else None
    examples = _population.Examples(networks.coordinate_grid(*size), pixels)
    return _population.Task(examples, examples, size)


def fine_grid(size: tuple[int, int], pixel_expansion: int) -> np.ndarray:
    """Return the grid `[S, I]` of images or signals, finer by a whole factor."""
    height, width = size
    # The one row of a signal is not an axis that could be finer.
    rows = height if height == 1 else height * pixel_expansion
    return networks.coordinate_grid(rows, width * pixel_expansion)


def render_all(
    network: networks.Network, params_batch: Params, points: np.ndarray
) -> np.ndarray:
    """Return the outputs `[N, S, 1]` of many networks at points `[S, I]`."""
    render = jax.jit(lambda params: networks.render(network, params, points))
    return networks.map_batches(render, params_batch, 256)


def true_images(inrs: zoo.Zoo) -> np.ndarray | None:
    """Return the images `[N, H, W]` in [0, 1] that the networks were fitted to."""
    if inrs.images is None or inrs.image_row is None:
        return None
    return networks.to_unit_range(np.asarray(inrs.images)[inrs.image_row])


def find_images(
    config: harness.Config,
    defaults: harness.Config,
    inrs: zoo.Zoo,
    size: tuple[int, int],
) -> np.ndarray | None:
    """Return the images `[N, H, W]` in [0, 1] of networks, None if there are none.

    Args:
      config: `config.images.source` names the data set, `config.images.dir` its folder;
        None and None where the zoo has the images, or none are wanted.
      defaults: those of the experiment.
      inrs: the networks.
      size: height and width that they render, in pixels.

    Raises:
      ValueError: a data set beside a zoo with images, or of images of another size.
      FileNotFoundError: no such images.
    """
    source, images = config.images.source, true_images(inrs)
    if images is not None:
        harness.refuse_unused(
            config, defaults, ("images",), "a canonicalizer whose zoo has them"
        )
        return images
    if source is None:
        return None
    held_out = _population.in_test_subset(inrs)
    loaded = {
        is_test: zoo.load_images(
            source, "test" if is_test else "train", config.images.dir
        ).images
        for is_test in set(held_out.tolist())
    }
    rows = zip(held_out.tolist(), inrs.image_index, strict=True)
    images = networks.to_unit_range(np.stack([loaded[part][row] for part, row in rows]))
    if images.shape[1:] != size:
        raise ValueError(
            f"config.images.source {source!r} has images of {images.shape[1:]} pixels,"
            f" the networks render {size}."
        )
    return images
