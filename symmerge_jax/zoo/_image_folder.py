"""A folder of image files as one array."""

import os
import pathlib

import numpy as np

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp")


def load_image_folder(
    folder: str | os.PathLike,
    *,
    to_grey: bool = False,
    centre_crop: bool = False,
    size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a folder and its subfolders.

    Args:
      folder: where the images are. Each subfolder is a class, numbered in the order of
        names (a folder without subfolders is one class, 0).
      to_grey: turn colour into grey (ITU-R 601 luma); otherwise it is refused.
      centre_crop: cut the largest central square; otherwise others are refused.
      size: side in pixels to scale to by area averaging, or None to leave it.

    Returns:
      `[M, H, W]` uint8 images in the order of their paths, and `[M]` int32 labels.

    Raises:
      FileNotFoundError: no folder, or no image in it.
      ValueError: an image that is damaged, in colour, not square, or of another size
        than the first. The message names the file and the remedy.
    """
    folder = pathlib.Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(
            f"No image in the folder {folder}. Image files end in {', '.join(SUFFIXES)}"
            "; each subfolder is a class."
        )
    names = sorted({file.relative_to(folder).parts[0] for file in files})
    classes = [n for n in names if (folder / n).is_dir()]
    labels, images = [], []
    for file in files:
        image = _read(file, to_grey, centre_crop, size)
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{file} has {image.shape} pixels and {files[0]} {images[0].shape}. Set"
                " size to scale all images to one size."
            )
        images.append(image)
        part = file.relative_to(folder).parts[0]
        labels.append(classes.index(part) if part in classes else 0)
    return np.stack(images), np.array(labels, np.int32)


def _read(file, to_grey, centre_crop, size):
    """Return one image as uint8 `[H, W]`."""
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB") if opened.mode == "P" else opened.copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{file} is no image that can be read: {error}. Repair or remove it."
        ) from error
    if image.mode != "L":
        if not to_grey and image.mode != "1":
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
