"""Grey images in files: idx files, CIFAR-10, and folders of pictures.

CIFAR-10 (Krizhevsky 2009) is read as the Small CNN Zoo was trained on it: grey is the
mean of the three channels, rounded, and not the luma that image libraries give
(Unterthiner et al. 2020, arXiv 2002.11448).
"""

import gzip
import os
import pathlib
import zipfile
import zlib

import numpy as np

from symmerge_jax.zoo import _download

_CIFAR10 = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_CIFAR10_MD5 = "md5:c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR10_FOLDER = "cifar-10-batches-bin"
_CIFAR10_FILES = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
_ROW = 1 + 3 * 32 * 32
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp")


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Return the uint8 array in an idx file, packed by gzip if it ends in `.gz`."""
    remedy = "Remove it and fetch it again."
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}. {remedy}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * raw[3]:
        raise ValueError(f"{path} is not an idx file of uint8. {remedy}")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", raw[3], 4))
    start = 4 + 4 * raw[3]
    if len(raw) - start != np.prod(shape, dtype=int):
        raise ValueError(
            f"{path} is truncated: {len(raw) - start} bytes of data for the shape"
            f" {shape}. {remedy}"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def load_cifar10(
    split: str, data_dir: str | os.PathLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images `[M, 32, 32]` uint8 of a split, and their classes `[M]`."""
    if data_dir is None:
        names = [name for group in _CIFAR10_FILES.values() for name in group]
        batches = _download.fetch_members(
            _CIFAR10,
            _download.cache() / _CIFAR10_FOLDER,
            names,
            known_hash=_CIFAR10_MD5,
        )
        return _read_batches(batches, split)
    folder = pathlib.Path(data_dir)
    if packed := sorted(folder.glob("cifar10/*.npz")):
        return _read_npz(packed[0], split)
    for batches in (folder / _CIFAR10_FOLDER, folder / "cifar10" / _CIFAR10_FOLDER):
        if batches.is_dir():
            return _read_batches(batches, split)
    raise FileNotFoundError(
        f"No cifar10/*.npz and no {_CIFAR10_FOLDER} in {folder}. Unpack {_CIFAR10}"
        " there, or leave data_dir unset to download it."
    )


def load_image_folder(
    folder: str | os.PathLike,
    *,
    to_grey: bool,
    centre_crop: bool,
    size: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images `[M, H, W]` uint8 in the order of their paths, and labels.

    Each subfolder is a class, numbered in the order of names. Images are scaled by area
    averaging.
    """
    folder = pathlib.Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not files:
        raise FileNotFoundError(
            f"No image in the folder {folder}. Image files end in"
            f" {', '.join(_SUFFIXES)}; each subfolder is a class."
        )
    tops = [file.relative_to(folder).parts[0] for file in files]
    classes = [name for name in sorted(set(tops)) if (folder / name).is_dir()]
    images = []
    for file in files:
        image = _read_picture(file, to_grey, centre_crop, size)
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{file} has {image.shape} pixels and {files[0]} {images[0].shape}. Set"
                " size to scale all images to one size."
            )
        images.append(image)
    labels = [classes.index(name) if name in classes else 0 for name in tops]
    return np.stack(images), np.array(labels, np.int32)


def _read_npz(path: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a file of grey CIFAR-10 images ({error})."
        ) from error
    expected = (len(images), 32, 32), np.uint8, (len(images),)
    if (images.shape, images.dtype, labels.shape) != expected:
        raise ValueError(
            f"{path} holds images {images.shape} of {images.dtype} and labels"
            f" {labels.shape}; expected [M, 32, 32] of uint8 and [M]."
        )
    return images, labels.astype(np.int32)


def _read_batches(folder: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for name in _CIFAR10_FILES[split]:
        if not (path := folder / name).is_file():
            raise FileNotFoundError(f"No file {path}. Unpack {_CIFAR10} again.")
        raw = np.fromfile(path, np.uint8)
        if raw.size == 0 or raw.size % _ROW:
            raise ValueError(
                f"{path} is damaged: {raw.size} bytes are not a multiple of {_ROW}."
                f" Unpack {_CIFAR10} again."
            )
        parts.append(raw.reshape(-1, _ROW))
    rows = np.concatenate(parts)
    colour = rows[:, 1:].reshape(-1, 3, 32, 32)
    grey = np.rint(colour.mean(axis=1, dtype=np.float32)).astype(np.uint8)
    return grey, rows[:, 0].astype(np.int32)


def _read_picture(
    file: pathlib.Path, to_grey: bool, centre_crop: bool, size: int | None
) -> np.ndarray:
    """Return one image as uint8 `[H, W]`."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB") if opened.mode == "P" else opened.copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{file} is not an image that can be read: {error}. Repair or remove it."
        ) from error
    if image.mode not in ("L", "1") and not to_grey:
        raise ValueError(
            f"{file} is not an 8-bit grey image (mode {image.mode}). Set to_grey to"
            " convert such images."
        )
    image = image.convert("L")
    if image.width != image.height:
        if not centre_crop:
            raise ValueError(
                f"{file} is not square: {image.width} x {image.height} pixels. Set"
                " centre_crop to cut the largest central square."
            )
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image, np.uint8)
