"""Grey images and signals to fit networks to, from several sources.

MNIST is that of LeCun and Cortes, Fashion-MNIST of Xiao et al. 2017 (arXiv 1708.07747).
The signals are the waves of Navon et al. 2024 (Deep-Align, arXiv 2310.13397): `sin(a
x)` with `a` uniform in [0.5, 10]. They publish no code for them; the interval of `x` is
that of their earlier waves (Navon et al. 2023, arXiv 2301.12780).
"""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from symmerge_jax.zoo import _download, _image_files

_PREFIX = {"train": "train", "test": "t10k"}
_SHA256 = {
    "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",  # noqa: E501
    "mnist/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",  # noqa: E501
    "mnist/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",  # noqa: E501
    "mnist/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",  # noqa: E501
    "fashion_mnist/train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",  # noqa: E501
    "fashion_mnist/train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",  # noqa: E501
    "fashion_mnist/t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",  # noqa: E501
    "fashion_mnist/t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",  # noqa: E501
}
_MIRRORS = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "fashion_mnist": (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
    ),
}
SPLIT_SOURCES = ("cifar10", *_MIRRORS)
"""Sources that have a training and a test split of their own."""

_NUM_WAVES = 10_000

SOURCES = ("cifar10", "digits", "fashion_mnist", "folder", "mnist", "waves")
"""What `load_images` knows."""


class ImageSet(NamedTuple):
    """Grey images, or signals, with their labels.

    Attributes:
      images: `[M, H, W]`, uint8 in 0..255 or float32 in [0, 1]; signals of `W` samples
        are `[M, 1, W]`.
      labels: `[M]` int32 classes.
      name: where they come from, as "mnist/train".
      num_train: of a set with both splits, how many images are of the training split;
        the others follow them. None for one split.
    """

    images: np.ndarray
    labels: np.ndarray
    name: str
    num_train: int | None = None

    def origin(self, rows: np.ndarray) -> dict[str, Any]:
        """Return where images come from, as arguments of `create`.

        Args:
          rows: `[N]` numbers of images of the set.

        Returns:
          `subsets`, the names of the splits, and `[N]` `subset_index` and
          `image_index`, the numbers of the split and of the image within it.
        """
        if self.num_train is None:
            return {"image_index": rows, "subsets": (self.name,)}
        source = self.name.partition("/")[0]
        is_test = rows >= self.num_train
        return {
            "image_index": rows - self.num_train * is_test,
            "subset_index": is_test.astype(np.int32),
            "subsets": (f"{source}/train", f"{source}/test"),
        }


def load_images(
    source: str,
    split: str = "train",
    data_dir: str | os.PathLike | None = None,
    *,
    num_images: int | None = None,
    to_grey: bool = False,
    centre_crop: bool = False,
    size: int | None = None,
) -> ImageSet:
    """Return the images of a source.

    Args:
      source: "digits" (8 x 8, the 1,797 of scikit-learn), "mnist", "fashion_mnist" (28
        x 28), "cifar10" (32 x 32, grey: the mean of the channels), "folder" (image
        files; a subfolder is a class) or "waves" (10,000 signals `(1 + sin(a x)) / 2`
        for `x` from -pi to pi, always the same; labels are the whole part of `a`).
      split: "train", "test" or, for both, "all" for MNIST, Fashion-MNIST and CIFAR-10;
        the other sources have none and take "all" or "train" for everything.
      data_dir: a folder with `mnist/train-images-idx3-ubyte.gz` and so on (also without
        `.gz`), with `cifar10/NAME.npz` (`x_train`, `y_train`, `x_test`, `y_test`) or
        `cifar-10-batches-bin`; None (or "") to download into the user's cache. For
        "folder", the folder itself.
      num_images: how many to take, from the first on; None for all.
      to_grey: for "folder": turn colour into grey (ITU-R 601 luma) and do not refuse.
      centre_crop: for "folder": cut the largest central square and do not refuse.
      size: for "folder": side in pixels to scale to, or None to leave images as they
        are; for "waves": samples of each wave, or None for 256.

    Returns:
      The images and labels.

    Raises:
      FileNotFoundError: a missing file, and where to put it.
      ValueError: unknown source or split, a damaged file (named), an image that is not
        square or grey, or too few images.
    """
    data_dir = data_dir or None  # an empty SYMMERGE_DATA_DIR names no folder
    if source not in SOURCES:
        raise ValueError(f"Unknown image source {source!r}; known are {SOURCES}.")
    if source in SPLIT_SOURCES:
        loaded = _load_splits(source, split, data_dir)
    elif split not in ("all", "train"):
        raise ValueError(f"Source {source!r} has no split {split!r}; take 'all'.")
    elif source == "digits":
        loaded = ImageSet(*_digits(), "digits/all")
    elif source == "waves":
        loaded = ImageSet(*_waves(256 if size is None else size), "waves/all")
    elif data_dir is None:
        raise ValueError("Source 'folder' needs data_dir, the folder of images.")
    else:
        images, labels = _image_files.load_image_folder(
            data_dir, to_grey=to_grey, centre_crop=centre_crop, size=size
        )
        loaded = ImageSet(images, labels, f"folder/{pathlib.Path(data_dir).name}")
    if num_images is None:
        return loaded
    if not 1 <= num_images <= len(loaded.images):
        raise ValueError(
            f"num_images must lie in 1..{len(loaded.images)}, what {loaded.name} has,"
            f" got {num_images}."
        )
    return loaded._replace(
        images=loaded.images[:num_images], labels=loaded.labels[:num_images]
    )


def _load_splits(
    source: str, split: str, data_dir: str | os.PathLike | None
) -> ImageSet:
    if split == "all":
        train, test = (_load_splits(source, part, data_dir) for part in _PREFIX)
        return ImageSet(
            np.concatenate([train.images, test.images]),
            np.concatenate([train.labels, test.labels]),
            f"{source}/all",
            len(train.images),
        )
    if split not in _PREFIX:
        raise ValueError(
            f"Source {source!r} has the splits {(*_PREFIX, 'all')}, not {split!r}."
        )
    if source == "cifar10":
        images, labels = _image_files.load_cifar10(split, data_dir)
        return ImageSet(images, labels, f"cifar10/{split}")
    image_file, label_file = (
        _find_idx(f"{source}/{_PREFIX[split]}-{kind}-ubyte.gz", data_dir)
        for kind in ("images-idx3", "labels-idx1")
    )
    images = _image_files.read_idx(image_file)
    labels = _image_files.read_idx(label_file)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{image_file} and {label_file} do not belong together: shapes"
            f" {images.shape} and {labels.shape}."
        )
    return ImageSet(images, labels.astype(np.int32), f"{source}/{split}")


def _find_idx(name: str, data_dir: str | os.PathLike | None) -> pathlib.Path:
    """Return the path of an idx file, packed or not, downloaded without a folder."""
    if data_dir is None:
        source, file = name.split("/")
        return _download.fetch(
            _MIRRORS[source] + file,
            _download.cache() / name,
            known_hash=f"sha256:{_SHA256[name]}",
            otherwise=f"name a folder that has {name} as data_dir",
        )
    folder = pathlib.Path(data_dir)
    for path in (folder / name, folder / name.removesuffix(".gz")):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"No file {folder / name}. Put the original file there, or leave data_dir"
        " unset to download it."
    )


def _digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The digits are those of scikit-learn: pip install"
            " 'symmerge_jax[experiments]'."
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = np.asarray(pixels, np.float32).reshape(-1, 8, 8) / np.float32(16)
    return images, np.asarray(labels, np.int32)


def _waves(num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return waves `[M, 1, num_samples]`, and the whole part of `a`: 0 to 9.

    They lie in [0, 1] as pixels do: the squared error of a network is a quarter of that
    for the wave `sin(a x)`.
    """
    if num_samples < 21:
        raise ValueError(
            f"A wave of up to 10 periods needs at least 21 samples, got {num_samples}."
        )
    generator = np.random.Generator(np.random.PCG64(0))
    frequencies = generator.uniform(0.5, 10, _NUM_WAVES)
    x = np.linspace(-np.pi, np.pi, num_samples)
    waves = 0.5 + 0.5 * np.sin(frequencies[:, None, None] * x[None, None])
    return waves.astype(np.float32), frequencies.astype(np.int32)
