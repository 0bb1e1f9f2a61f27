"""Grey images to fit networks to: where they come from, as one value.

Sources: the handwritten digits that scikit-learn ships (no files needed), MNIST (LeCun
& Cortes) and Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) in their idx files from
a folder or downloaded, CIFAR-10 in grey, and any folder of image files. Sine waves come
the same way, as images of one row.
"""

import gzip
import os
import pathlib
import zlib
from typing import Any, NamedTuple

import numpy as np

from symmerge_jax.zoo import _cifar10, _image_folder, _waves

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

SOURCES = ("cifar10", "digits", "fashion_mnist", "folder", "mnist", "waves")


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
        files; a subfolder is a class) or "waves" (the 10,000 signals of
        `_waves.sine_waves`).
      split: "train", "test" or, for both, "all" for MNIST, Fashion-MNIST and CIFAR-10;
        the other sources have none and take "all" or "train" for everything.
      data_dir: for MNIST, a folder with `mnist/train-images-idx3-ubyte.gz` and so on
        (also without `.gz`), or None (or "") to download into the user's cache; for
        CIFAR-10 see `_cifar10.load_cifar10`; for "folder", the folder itself.
      num_images: only the first so many, or None for all.
      to_grey: for "folder": turn colour into grey (ITU-R 601 luma) and do not refuse.
      centre_crop: for "folder": cut the largest central square and do not refuse.
      size: for "folder": side in pixels to scale to, or None to leave images as they
        are; for "waves": samples of each wave, or None for 256.

    Returns:
      The images and labels.

    Raises:
      FileNotFoundError: a file that is not there, and where to put it.
      ValueError: unknown source or split, a damaged file (named), an image that is not
        square or grey, or too few images.
    """
    data_dir = data_dir or None  # an empty SYMMERGE_DATA_DIR names no folder
    if source not in SOURCES:
        raise ValueError(f"Unknown image source {source!r}; known are {SOURCES}.")
    if source in SPLIT_SOURCES and split == "all":
        found = _both_splits(source, data_dir)
    elif source in _MIRRORS:
        found = _load_idx(source, split, data_dir)
    elif source == "cifar10":
        found = ImageSet(*_cifar10.load_cifar10(split, data_dir), f"cifar10/{split}")
    elif split not in ("all", "train"):
        raise ValueError(f"Source {source!r} has no split {split!r}; take 'all'.")
    elif source == "digits":
        found = _load_digits()
    elif source == "waves":
        found = ImageSet(*_waves.sine_waves(256 if size is None else size), "waves/all")
    elif data_dir is None:
        raise ValueError("Source 'folder' needs data_dir, the folder of images.")
    else:
        images, labels = _image_folder.load_image_folder(
            data_dir, to_grey=to_grey, centre_crop=centre_crop, size=size
        )
        found = ImageSet(images, labels, f"folder/{pathlib.Path(data_dir).name}")
    if num_images is None:
        return found
    if not 1 <= num_images <= len(found.images):
        raise ValueError(
            f"num_images must lie in 1..{len(found.images)}, what {found.name} has, got"
            f" {num_images}."
        )
    return found._replace(
        images=found.images[:num_images], labels=found.labels[:num_images]
    )


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Return the uint8 array in an idx file.

    Args:
      path: the file, packed by gzip if its name ends in `.gz`.

    Returns:
      The array.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that is damaged, truncated, or no idx file of uint8.
    """
    path = pathlib.Path(path)
    remedy = "Remove it and fetch it again."
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}.")
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}. {remedy}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * raw[3]:
        raise ValueError(f"{path} is no idx file of uint8. {remedy}")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", raw[3], 4))
    start = 4 + 4 * raw[3]
    if len(raw) - start != np.prod(shape, dtype=int):
        raise ValueError(
            f"{path} is truncated: {len(raw) - start} bytes of data for the shape"
            f" {shape}. {remedy}"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _both_splits(source, data_dir):
    train, test = (load_images(source, part, data_dir) for part in ("train", "test"))
    return ImageSet(
        np.concatenate([train.images, test.images]),
        np.concatenate([train.labels, test.labels]),
        f"{source}/all",
        len(train.images),
    )


def _load_digits():
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The digits are those of scikit-learn: pip install"
            " 'symmerge_jax[experiments]'."
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = np.asarray(pixels, np.float32).reshape(-1, 8, 8) / np.float32(16)
    return ImageSet(images, np.asarray(labels, np.int32), "digits/all")


def _load_idx(source, split, data_dir):
    if split not in _PREFIX:
        raise ValueError(
            f"Source {source!r} has the splits {(*_PREFIX, 'all')}, not {split!r}."
        )
    names = [
        f"{source}/{_PREFIX[split]}-{kind}-ubyte.gz"
        for kind in ("images-idx3", "labels-idx1")
    ]
    image_file, label_file = (
        _download(name) if data_dir is None else _find(pathlib.Path(data_dir), name)
        for name in names
    )
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{image_file} and {label_file} do not belong together: shapes"
            f" {images.shape} and {labels.shape}."
        )
    return ImageSet(images, labels.astype(np.int32), f"{source}/{split}")


def _find(data_dir, name):
    """Return the path of an idx file in a folder, packed or not."""
    for path in (data_dir / name, data_dir / name.removesuffix(".gz")):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"No file {data_dir / name}. Put the original file there, or leave data_dir"
        " unset to download it."
    )


def _download(name):
    """Return the path of an idx file in the user's cache, after fetching it."""
    import pooch

    source, file = name.split("/")
    folder = pathlib.Path(pooch.os_cache("symmerge_jax"))
    try:
        path = pooch.retrieve(
            _MIRRORS[source] + file,
            known_hash=f"sha256:{_SHA256[name]}",
            fname=file,
            path=folder / source,
        )
    except (OSError, ValueError) as error:
        # OSError is what all errors of requests are; ValueError is a wrong checksum.
        raise FileNotFoundError(
            f"Cannot download {_MIRRORS[source] + file} ({error}). Put the original"
            f" file at {folder / name}, or name a folder that has {name} as data_dir."
        ) from error
    return pathlib.Path(path)
