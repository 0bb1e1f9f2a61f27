"""Losses on the paths between pairs of INRs, by a fast renderer.

A loss is the mean squared error over the pixels.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compare import _paths
from symmerge_jax import networks, zoo
from symmerge_jax.typing import Array, Params

MEASURES = {
    "image": "MSE to the image (pixels in [0, 1])",
    "own": "MSE to network a (pixels in [0, 1])",
}
"""What a network on a path is compared with."""

PATH = "λ (0: network a, 1: b)"
"""What runs along a path."""


def loss_curves(
    architecture: Mapping[str, Any],
    ends: tuple[Any, Any],
    params_a: Params,
    num_points: int,
    size: tuple[int, int],
    images: np.ndarray | None,
    *,
    decode: Callable[..., Params] | None = None,
    variables: Any = None,
    chunk_size: int = 256,
) -> dict[str, np.ndarray]:
    """Return the loss at every point of the straight path of every pair.

    Args:
      architecture: of the networks, a SIREN with one output.
      ends: of each path, trees of arrays `[N, ...]`: parameters, or latents.
      params_a: `[N]` networks whose own rendering is one of the targets.
      num_points: points `T` on the path.
      size: height and width of the images in pixels.
      images: `[N, H, W]` in [0, 1], the other target; or None.
      decode: `decode(variables, latents [T, D]) -> params_batch` of latents.
      variables: first argument of `decode`.
      chunk_size: pairs per call of the compiled program.

    Returns:
      By measure the mean squared errors `[N, T]` over the pixels.
    """
    losses = _path_losses(json.dumps(dict(architecture)), size, num_points, decode)
    program = _paths.lifted(losses)
    rows = {"ends": ends, "params_a": params_a}
    if images is not None:
        rows["image"] = images.reshape(len(images), -1)
    return networks.map_batches(lambda rows: program(rows, variables), rows, chunk_size)


def renderer(
    architecture: Mapping[str, Any], height: int, width: int
) -> Callable[[Params], Array]:
    """Return `params -> [height * width]`, a fast renderer for SIRENs of images.

    Equal to `network.apply` on the pixel grid up to the rounding of a faster sine.
    Raises ValueError for another architecture than two inputs and one output.
    """
    complete = zoo.complete_architecture(architecture)
    sizes = complete.get("layer_sizes", ())
    if complete["kind"] != "siren" or (sizes[0], sizes[-1]) != (2, 1):
        raise ValueError(f"Only SIRENs of images are rendered, got {complete}.")
    factors = [complete["w0"]] * (len(sizes) - 2)
    if factors and complete["first_w0"] is not None:
        factors[0] = complete["first_w0"]
    grid = networks.coordinate_grid(height, width)

    def linear(x: Array, layer: Params) -> Array:
        product = jnp.matmul(x, layer["kernel"], precision="highest")
        return product + layer["bias"][None]

    def render(params: Params) -> Array:
        x = grid
        for index, factor in enumerate(factors):
            turns = linear(x, params[f"dense_{index}"]) * (factor / (2 * math.pi))
            x = networks.sin_cos_turns(turns)[0]
        x = linear(x, params[f"dense_{len(factors)}"])
        return x[:, 0] + complete["output_offset"]

    return render


@functools.lru_cache(maxsize=8)
def _path_losses(architecture_json, size, num_points, decode):
    """Return `(row, variables) -> {measure: [T]}` for one pair."""
    render = renderer(json.loads(architecture_json), *size)
    lams = np.linspace(0, 1, num_points, dtype=np.float32)

    def between(a: Array, b: Array) -> Array:  # of latents too
        lam = lams.reshape(-1, *[1] * a.ndim)
        return (1 - lam) * a[None] + lam * b[None]

    def path(row, variables):
        points = jax.tree.map(between, *row["ends"])
        if decode is not None:
            points = decode(variables, points)
        rendered = jax.vmap(render)(points)
        targets = {"own": render(row["params_a"])}
        if "image" in row:
            targets["image"] = row["image"]
        return {
            name: jnp.mean((rendered - target[None]) ** 2, axis=1)
            for name, target in targets.items()
        }

    return path
