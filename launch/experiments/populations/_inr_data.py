"""The networks of an autoencoder experiment: made, loaded, divided, rendered."""

import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import harness
from experiments.populations import make_zoo
from symmerge_jax import autoencoders, networks, zoo
from symmerge_jax.typing import Params

TEST_SUBSETS = ("test", "testing")
"""Names of subsets, alone or behind that of a source ("mnist/test"), that are held out
as a whole where a zoo has others, too."""


class InrData(NamedTuple):
    """A zoo of INRs, divided by image.

    Attributes:
      zoo: all networks.
      parts: numbers of the networks in "train", "val" and "test".
      statistics: mean and standard deviation per tensor over the training networks.
      height: of the images, in pixels.
      width: of the images, in pixels.
    """

    zoo: zoo.Zoo
    parts: dict[str, np.ndarray]
    statistics: autoencoders.Statistics
    height: int
    width: int


def load(config: harness.Config, workdir: pathlib.Path) -> InrData:
    """Return the networks that a config asks for, checked.

    Args:
      config: `config.zoo` names a zoo file or a folder of INR checkpoints; without it
        the zoo of the other keys is made in the workdir.
      workdir: folder of the run, for the zoo that is made or imported.

    Returns:
      The data.

    Raises:
      ValueError: networks that are not finite, or fewer than the split needs.
      FileNotFoundError: no such zoo, or no images.
    """
    return _divide(_open_zoo(config, workdir), config)


def plan(config: harness.Config) -> InrData | None:
    """Return the data of a config before any work: weights may still be zeros.

    Returns:
      The data; None for a folder of checkpoints, which has to be imported first.

    Raises:
      ValueError: as `load`; or keys that describe a zoo to be made, beside a
        `config.zoo` that was made differently.
      FileNotFoundError: as `load`.
    """
    if config.zoo is None:
        return _divide(make_zoo.plan(_zoo_config(config)), config)
    path = pathlib.Path(config.zoo)
    inrs = None if path.is_dir() else zoo.load(path)
    harness.refuse_unused(
        _zoo_config(config),
        make_zoo.default_config(),
        ("fits_per_image", "data", "architecture", "fit"),
        f"zoo={config.zoo!r}",
        fulfilled={"data.dir": config.data.dir} | _recorded(inrs),
    )
    return None if inrs is None else _divide(inrs, config)


def _divide(inrs: zoo.Zoo, config: harness.Config) -> InrData:
    zoo.check_finite(inrs)
    parts = split(inrs, config)
    train = zoo.select(inrs, parts["train"])
    if inrs.images is not None:
        height, width = inrs.images.shape[1:]
    else:
        height = width = config.image_size
    return InrData(inrs, parts, zoo.statistics(train), height, width)


def split(inrs: zoo.Zoo, config: harness.Config) -> dict[str, np.ndarray]:
    """Divide networks by image, or by training run.

    Args:
      inrs: the networks.
      config: `val_fraction` and `test_fraction` of the images, and `seed`. Where the
        zoo has one of `TEST_SUBSETS`, that is held out and `test_fraction` is not used.

    Returns:
      Numbers of the networks in "train", "val" and "test".

    Raises:
      ValueError: fractions out of range, or a part that would be empty.
    """
    fractions = {"val": config.val_fraction, "test": config.test_fraction}
    is_test = _is_test(inrs)
    if is_test.any() and not is_test.all():
        rest = np.flatnonzero(~is_test)
        fractions.pop("test")
        fractions["train"] = 1 - sum(fractions.values())
        inner = zoo.split(zoo.select(inrs, rest), fractions, seed=config.seed)
        parts = {name: rest[numbers] for name, numbers in inner.items()}
        return parts | {"test": np.flatnonzero(is_test)}
    fractions["train"] = 1 - sum(fractions.values())
    return zoo.split(inrs, fractions, seed=config.seed)


def coordinates(data: InrData, pixel_expansion: int) -> np.ndarray:
    """Return the grid `[S, I]` of the images or signals, finer by a whole factor."""
    # The one row of a signal is no axis that could be finer.
    rows = data.height if data.height == 1 else data.height * pixel_expansion
    return networks.coordinate_grid(rows, data.width * pixel_expansion)


def render_all(
    network: networks.Network, params_batch: Params, points: np.ndarray
) -> np.ndarray:
    """Return the outputs `[N, S, 1]` of many networks at points `[S, I]`."""
    render = jax.jit(lambda params: autoencoders.render(network, params, points))
    return autoencoders.map_batches(render, params_batch, 256)


def true_images(inrs: zoo.Zoo) -> np.ndarray | None:
    """Return the images `[N, H, W]` in [0, 1] that the networks were fitted to."""
    if inrs.images is None or inrs.image_row is None:
        return None
    return zoo.to_unit_range(np.asarray(inrs.images)[inrs.image_row])


def targets(inrs: zoo.Zoo) -> tuple[np.ndarray, np.ndarray]:
    """Return what each network should draw, and where.

    The task loss of network `n` is the mean of `(network.apply(params, grid) -
    values[n])^2`.

    Args:
      inrs: a zoo with images or signals, `S` pixels or samples each.

    Returns:
      The grid `[S, I]` of coordinates in [-1, 1] and the values `[N, S, 1]` in [0, 1],
      both float32.

    Raises:
      ValueError: a zoo that has no images.
    """
    if (images := true_images(inrs)) is None:
        raise ValueError(
            "The zoo has no images, so that it is not known what its networks should"
            " draw. Make one with launch/make_zoo.py; imported ones have none."
        )
    grid = networks.coordinate_grid(*images.shape[1:])
    return grid, images.reshape(len(images), len(grid), 1)


def find_images(
    config: harness.Config,
    defaults: harness.Config,
    inrs: zoo.Zoo,
    size: tuple[int, int],
) -> np.ndarray | None:
    """Return the images `[N, H, W]` of networks: from their zoo, or from a data set.

    Args:
      config: `config.images.source` names the data set, `config.images.dir` its folder;
        None and None where the zoo has the images, or none are wanted.
      defaults: those of the experiment.
      inrs: the networks.
      size: height and width that they render, in pixels.

    Returns:
      Pixels in [0, 1]; None if neither has them.

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
    is_test = _is_test(inrs)
    loaded = {
        held_out: zoo.load_images(
            source, "test" if held_out else "train", config.images.dir
        ).images
        for held_out in set(is_test.tolist())
    }
    rows = zip(is_test.tolist(), inrs.image_index, strict=True)
    images = zoo.to_unit_range(np.stack([loaded[part][row] for part, row in rows]))
    if images.shape[1:] != size:
        raise ValueError(
            f"config.images.source {source!r} has images of {images.shape[1:]} pixels,"
            f" the networks render {size}."
        )
    return images


def _is_test(inrs: zoo.Zoo) -> np.ndarray:
    """Return which networks belong to a test split, `[N]`."""
    names = [name.rpartition("/")[2] in TEST_SUBSETS for name in inrs.subsets]
    return np.array(names)[inrs.subset_index]


def _open_zoo(config: harness.Config, workdir: pathlib.Path) -> zoo.Zoo:
    made = workdir / "inrs.zoo"
    if config.zoo is None:
        return make_zoo.run(_zoo_config(config), made)
    path = pathlib.Path(config.zoo)
    if path.is_dir():
        return zoo.load(made) if made.exists() else make_zoo.run_import(path, made)
    return zoo.load(path)


def _zoo_config(config: harness.Config) -> ConfigDict:
    keys = make_zoo.default_config().keys()
    return ConfigDict({key: config[key] for key in keys})


def _recorded(inrs: zoo.Zoo | None) -> dict[str, Any]:
    """Return what a zoo tells of how it was made, by key of `make_zoo`."""
    if inrs is None or inrs.provenance.get("made_by") != "generate_siren_zoo":
        return {}
    made, architecture = inrs.provenance, dict(inrs.architecture)
    source, _, split = made["source"].partition("/")
    architecture["hidden_sizes"] = tuple(architecture["layer_sizes"][1:-1])
    return {
        "data.source": source,
        "data.split": split,
        "data.num_images": made["images_shape"][0],
        "fits_per_image": made["fits_per_image"],
        **{f"architecture.{name}": value for name, value in architecture.items()},
        **{f"fit.{name}": value for name, value in made["options"].items()},
    }
