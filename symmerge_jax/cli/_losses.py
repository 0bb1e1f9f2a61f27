"""The losses of merged networks on data that a user names."""

import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import symmerge_jax
from symmerge_jax import learning, networks, symmetry, zoo
from symmerge_jax.typing import Params

_BATCH_SIZE = 4  # networks at once


class Losses(NamedTuple):
    """Data, and the losses of a network on them.

    Attributes:
      fn: `fn(params, data) -> {name: []}`, smaller is better.
      data: `inputs` and `targets`.
      main: name of the loss that solvers minimise.
      network: that the data belong to.
    """

    fn: Callable[..., dict[str, Any]]
    data: dict[str, np.ndarray]
    main: str
    network: networks.Network

    def for_solver(self) -> symmerge_jax.Task:
        """Return what a solver that looks at data needs."""
        return symmerge_jax.Task(
            self.data,
            loss_fn=lambda params, data: self.fn(params, data)[self.main],
            features_fn=lambda params, data: self.network.features(
                params, data["inputs"]
            ),
        )


def load(
    source: str,
    network: networks.Network,
    params: Params,
    data_dir: str | os.PathLike | None,
) -> Losses:
    """Return data and losses for a network.

    Args:
      source: an `.npz` file with inputs `x`, `[S, *input_shape]`, and targets `y`:
        integer classes `[S]` (cross-entropy in nats and error rate), or numbers
        `[S, O]` (mean squared error); or a source of `zoo.load_images`: all images of
        "digits", or the test images of "mnist" and "fashion_mnist". A network of rows
        reads their pixels in [0, 1], a CNN the images in [-1, 1], as those of
        `launch/make_zoo.py` do.
      network: reads inputs of `input_shape` and writes `O` outputs.
      params: parameters of one network, of which shapes are looked at.
      data_dir: where the images are; None for `$SYMMERGE_DATA_DIR`, or to download.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: an unknown source, or data that do not fit the network.
    """
    if source.endswith(".npz"):
        arrays = symmerge_jax.load(source)
        if missing := {"x", "y"} - arrays.keys():
            raise ValueError(f"'{source}' has no array {min(missing)!r}.")
        x, y = arrays["x"], arrays["y"]
    else:
        known = sorted(set(zoo.SOURCES) - {"folder"})
        if source not in known:
            raise ValueError(
                f"Unknown data {source!r}: name an .npz file with x and y, or one of"
                f" {known}."
            )
        split = "test" if source in zoo.SPLIT_SOURCES else "all"
        folder = data_dir or os.environ.get("SYMMERGE_DATA_DIR")
        images = zoo.load_images(source, split, folder and pathlib.Path(folder))
        x = _pixels(images.images, network)
        y = images.labels
    x, is_classes = np.asarray(x, np.float32), y.dtype.kind in "iu"
    y = y.astype(np.int32 if is_classes else np.float32)
    _check(source, network, params, x, y, is_classes)

    def fn(params, data):
        found = learning.task_losses(network, params, data)
        return found if is_classes else {"mse": found["loss"]}

    main = "loss" if is_classes else "mse"
    return Losses(fn, {"inputs": x, "targets": y}, main, network)


def measure(
    losses: Losses, params_list: list[Any], merged: symmerge_jax.Merge
) -> dict[str, float]:
    """Return losses of networks and mean, and barriers before and after alignment.

    Returns:
      For every loss: its value for each network and for the mean, barrier and area from
      the first network to the others (the largest over these), before and after.
    """
    before = jax.tree.map(lambda *x: jnp.stack(x), *params_list)
    everyone = jax.tree.map(lambda m, x: jnp.stack([m, *x]), merged.params, before)
    values = jax.jit(
        lambda batch: jax.lax.map(lambda p: losses.fn(p, losses.data), batch)
    )(everyone)
    curves = {
        when: symmerge_jax.loss_barrier(
            jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x[1:].shape), batch),
            jax.tree.map(lambda x: x[1:], batch),
            losses.fn,
            data=losses.data,
            num_batch_axes=1,
            batch_size=_BATCH_SIZE,
        )
        for when, batch in (("before", before), ("after", merged.aligned))
    }
    report = {}
    for name, (mean, *each) in values.items():
        report |= {f"{name}_{k}": float(value) for k, value in enumerate(each)}
        report[f"{name}_merged"] = float(mean)
        for when, curve in curves.items():
            report[f"{name}_barrier_{when}"] = float(curve.barrier[name].max())
            report[f"{name}_auc_{when}"] = float(curve.auc[name].max())
    return report


def _pixels(images: np.ndarray, network: networks.Network) -> np.ndarray:
    """Return images as a network reads them: rows in [0, 1], or whole in [-1, 1]."""
    if len(network.input_shape) > 1:
        return networks.classifier_inputs(images)
    return networks.to_unit_range(images).reshape(len(images), -1)


def _check(source, network, params, x, y, is_classes: bool) -> None:
    """Refuse data whose shapes or classes are not those of the network."""
    if x.shape[1:] != network.input_shape or not len(x):
        shape = ", ".join(map(str, ("S", *network.input_shape)))
        raise ValueError(
            f"Data '{source}': x has shape {x.shape}, the network reads [{shape}]."
        )
    shapes = {
        path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for path, leaf in symmetry.flatten(params).items()
        if symmetry.is_array(leaf)
    }

    def outputs(leaves, inputs):
        return network.apply(symmetry.rebuild(params, leaves), inputs)

    try:
        num_outputs = jax.eval_shape(outputs, shapes, x).shape[-1]
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"Data '{source}': the network does not write one array [S, O] for inputs"
            f" {x.shape}, so no loss is known."
        ) from error
    expected = (len(x),) if is_classes else (len(x), num_outputs)
    if y.shape != expected:
        raise ValueError(
            f"Data '{source}': y has shape {y.shape}, expected {expected}."
        )
    if is_classes and (y.min() < 0 or y.max() >= num_outputs):
        raise ValueError(
            f"Data '{source}': classes {y.min()} to {y.max()} do not fit the"
            f" {num_outputs} outputs of the network."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"Data '{source}': x or y is not finite.")
