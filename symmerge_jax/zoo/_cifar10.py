"""CIFAR-10 in grey, as the Small CNN Zoo was trained on.

Grey is the mean of the three channels, rounded: not the luma that image libraries give
(Unterthiner et al. 2020, arXiv 2002.11448; Krizhevsky 2009 for the images).
"""

import os
import pathlib
import tarfile
import tempfile
import zipfile

import numpy as np

from symmerge_jax import files

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_FOLDER = "cifar-10-batches-bin"
_FILES = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
_ROW = 1 + 3 * 32 * 32


def load_cifar10(
    split: str, data_dir: str | os.PathLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return grey images and their classes.

    Args:
      split: "train" or "test".
      data_dir: a folder with `cifar10/NAME.npz`, which holds `x_train`, `y_train`,
        `x_test` and `y_test` in grey; or with `cifar-10-batches-bin/` of the original
        binary version; None to download that into the user's cache.

    Returns:
      `[M, 32, 32]` uint8 and `[M]` int32.

    Raises:
      FileNotFoundError: neither is there, or the download fails.
      ValueError: an unknown split, or a damaged file (named).
    """
    if split not in _FILES:
        raise ValueError(
            f"Source 'cifar10' has the splits {(*_FILES, 'all')}, not {split!r}."
        )
    if data_dir is None:
        return _read_batches(_download(), split)
    folder = pathlib.Path(data_dir)
    if packed := sorted(folder.glob("cifar10/*.npz")):
        return _read_npz(packed[0], split)
    for batches in (folder / _FOLDER, folder / "cifar10" / _FOLDER):
        if batches.is_dir():
            return _read_batches(batches, split)
    raise FileNotFoundError(
        f"No cifar10/*.npz and no {_FOLDER} in {folder}. Unpack {URL} there, or leave"
        " data_dir unset to download it."
    )


def _read_npz(path: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no file of grey CIFAR-10 images ({error})."
        ) from error
    if (
        images.shape[1:] != (32, 32)
        or images.dtype != np.uint8
        or labels.shape != images.shape[:1]
    ):
        raise ValueError(
            f"{path} holds images {images.shape} of {images.dtype} and labels"
            f" {labels.shape}; expected [M, 32, 32] of uint8 and [M]."
        )
    return images, labels.astype(np.int32)


def _read_batches(folder: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for name in _FILES[split]:
        if not (path := folder / name).is_file():
            raise FileNotFoundError(f"No file {path}. Unpack {URL} again.")
        raw = np.fromfile(path, np.uint8)
        if raw.size == 0 or raw.size % _ROW:
            raise ValueError(
                f"{path} is damaged: {raw.size} bytes are no multiple of {_ROW}."
                f" Unpack {URL} again."
            )
        parts.append(raw.reshape(-1, _ROW))
    rows = np.concatenate(parts)
    colour = rows[:, 1:].reshape(-1, 3, 32, 32)
    grey = np.rint(colour.mean(axis=1, dtype=np.float32)).astype(np.uint8)
    return grey, rows[:, 0].astype(np.int32)


def _download() -> pathlib.Path:
    """Return the folder of the binary version in the user's cache."""
    import pooch

    cache = pathlib.Path(pooch.os_cache("symmerge_jax"))
    if (folder := cache / _FOLDER).is_dir():
        return folder
    try:
        archive = pooch.retrieve(
            URL, known_hash=f"md5:{_MD5}", fname="cifar-10-binary.tar.gz", path=cache
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"Cannot download {URL} ({error}). Unpack it in {cache}, or name a folder"
            f" that has {_FOLDER} as data_dir."
        ) from error
    _unpack(archive, folder)
    return folder


def _unpack(archive: str | os.PathLike, folder: pathlib.Path) -> None:
    """Unpack an archive; the folder gets its name only when it is complete."""
    with (
        files.naming(folder),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-") as temporary,
        tarfile.open(archive) as tar,
    ):
        tar.extractall(temporary, filter="data")
        os.replace(pathlib.Path(temporary) / folder.name, folder)
