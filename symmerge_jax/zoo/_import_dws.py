"""Folders of INRs in the layout of the MNIST-INRs data set, as one zoo.

Navon et al., *Equivariant Architectures for Learning in Deep Weight Spaces*, ICML 2023,
arXiv 2301.12780. One folder per network, named after the image that it was fitted to,

    mnist_png_training_{label}_{index}/checkpoints/model_final.pth

with an optional suffix `_augmented_{k}` for copies moved along the orbit. The index
counts the images of the training or testing file of MNIST.
"""

import os
import pathlib
import re
from collections.abc import Callable, Mapping

import numpy as np

from symmerge_jax import files, symmetry
from symmerge_jax.typing import Path
from symmerge_jax.zoo import _import_torch, _zoo

_NAME = re.compile(r".+?_(training|testing|train|test)_(\d+)_(\d+)(?:_.+)?")
_SUBSETS = ("train", "test")
_Name = tuple[int, int, str, int]  # position of the subset, index, folder, label


def import_dws(
    folder: str | os.PathLike,
    *,
    w0: float = 30.0,
    output_offset: float = 0.5,
    on_error: str = "raise",
    on_file: Callable[[int, int], None] | None = None,
) -> _zoo.Zoo:
    """Read a folder of INR checkpoints into a zoo.

    No code in the files is run and torch is not needed. Kernels are the transposed
    weights, bit for bit. The architecture is that of the first sound file.

    Args:
      folder: what holds the folders `<name>_{training|testing}_{label}_{index}`.
      w0: frequency factor of the networks, which the files do not tell.
      output_offset: constant added to their output, which the files do not tell.
      on_error: "raise" to stop at the first file that is not sound, "skip" to omit
        such files and list them in the provenance.
      on_file: called as `on_file(done, total)` after each file.

    Returns:
      The zoo, in the order of split, index and folder name, in memory.

    Raises:
      FileNotFoundError: no folder, or no checkpoint in it.
      ValueError: a file that is damaged, holds more than tensors, or holds another
        architecture than the first; a folder of another name; no sound file at all.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {folder}.")
    paths = sorted(folder.glob("*/checkpoints/model_final.pth"))
    if not paths:
        raise FileNotFoundError(
            f"No INRs in {folder}: expected files such as"
            " mnist_png_training_5_0/checkpoints/model_final.pth in it."
        )
    shapes: dict[Path, tuple[int, ...]] = {}
    rows: list[tuple[_Name, list[np.ndarray]]] = []
    skipped = []
    for done, file in enumerate(paths, start=1):
        try:
            name, leaves = _parse_name(file), _read_params(file)
            these = {path: leaf.shape for path, leaf in leaves.items()}
            shapes = shapes or these
            if these != shapes:
                raise ValueError(
                    f"{file} holds another architecture than the files before it:"
                    f" {_sizes(these)} and not {_sizes(shapes)}."
                )
            rows.append((name, list(leaves.values())))
        except ValueError as error:
            if on_error == "raise":
                raise
            skipped.append(str(error))
        if on_file is not None:
            on_file(done, len(paths))
    if not rows:
        raise ValueError(f"None of the {len(paths)} files in {folder} is sound.")
    rows.sort(key=lambda row: row[0])
    subset, index, _, label = zip(*(name for name, _ in rows), strict=True)
    stacks = [np.stack(leaves) for leaves in zip(*(r for _, r in rows), strict=True)]
    params = symmetry.unflatten(dict(zip(shapes, stacks, strict=True)))
    return _zoo.create(
        {
            "kind": "siren",
            "layer_sizes": _sizes(shapes),
            "w0": w0,
            "output_offset": output_offset,
        },
        params,
        labels=np.array(label),
        image_index=np.array(index),
        subset_index=np.array(subset),
        subsets=_SUBSETS,
        provenance={
            "made_by": "import_dws",
            "source": folder.name,
            "num_skipped": len(skipped),
            "skipped": skipped[:100],
        },
    )


def _parse_name(file: pathlib.Path) -> _Name:
    name = file.parent.parent.name
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"Folder {name!r} of {file} has no name such as mnist_png_training_5_0"
            " (split, label, index)."
        )
    subset = _SUBSETS.index(match[1].removesuffix("ing"))
    return subset, int(match[3]), name, int(match[2])


def _read_params(file: pathlib.Path) -> dict[Path, np.ndarray]:
    """Return the leaves of one file, float32, checked."""
    state_dict = files.load_torch_state_dict(file)
    try:
        leaves = symmetry.flatten(_import_torch.params_from_sequential(state_dict))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    dense = {(f"dense_{i}", k) for i in range(len(leaves)) for k in ("kernel", "bias")}
    if len(leaves) % 2 or not leaves.keys() <= dense:
        raise ValueError(
            f"{file}: an INR is a chain of linear layers with biases, got"
            f" {sorted(map('/'.join, leaves))}."
        )
    for path, leaf in leaves.items():
        if leaf.dtype != np.float32:
            raise ValueError(f"{file}: {'/'.join(path)} is {leaf.dtype}, not float32.")
        if not np.isfinite(leaf).all():
            raise ValueError(f"{file}: {'/'.join(path)} has NaN or infinite entries.")
    return leaves


def _sizes(shapes: Mapping[Path, tuple[int, ...]]) -> list[int]:
    kernels = [shape for path, shape in shapes.items() if path[-1] == "kernel"]
    return [kernels[0][0], *(shape[1] for shape in kernels)]
