"""The Small CNN Zoo from where its authors put it.

Unterthiner et al. 2020, arXiv 2002.11448; licence CC BY 4.0. The links and the numbers
of rows are those of `dnn_predict_accuracy/README.md` in
github.com/google-research/google-research. It links to storage.cloud.google.com, which
wants a browser; the same files lie without that at storage.googleapis.com.
"""

import lzma
import os
import pathlib
import shutil
import tarfile

from symmerge_jax import files, training
from symmerge_jax.zoo import _small_cnn_files

_URL = "https://storage.googleapis.com/gresearch/smallcnnzoo-dataset/"
_NUM_ROWS = {
    "cifar10": 270_000,
    "fashion_mnist": 270_000,
    "mnist": 269_973,
    "svhn_cropped": 269_892,
}
_NUM_COLUMNS = 4970
_BLOCK = 1 << 20


def download_small_cnn_zoo(
    dataset: str = "cifar10", folder: str | os.PathLike | None = None
) -> pathlib.Path:
    """Fetch and unpack the Small CNN Zoo of one data set, unless it is there.

    It takes some 5.4 GB for the weights, and as much again for the archive until that
    is unpacked. No checksums are published: what is checked is that the archive unpacks
    whole, that the weights have the published number of rows and columns, and that
    layout and metrics fit them.

    Args:
      dataset: "cifar10", "fashion_mnist", "mnist" or "svhn_cropped".
      folder: where to put the folder of the data set; the user's cache if None.

    Returns:
      The folder, for `import_small_cnn`.

    Raises:
      FileNotFoundError: no connection; tells where to put the file by hand.
      ValueError: an unknown data set, or an archive that is damaged or holds something
        else.
    """
    import pooch

    if dataset not in _NUM_ROWS:
        raise ValueError(
            f"The Small CNN Zoo has no data set {dataset!r}; it has"
            f" {', '.join(_NUM_ROWS)}."
        )
    if folder is None:
        folder = pathlib.Path(pooch.os_cache("symmerge_jax")) / "small_cnn_zoo"
    target = pathlib.Path(folder) / dataset
    if all((target / name).is_file() for name in _small_cnn_files.FILES):
        return target
    archive = target.with_name(f"{dataset}.tar.xz")
    try:
        pooch.retrieve(
            _URL + archive.name,
            known_hash=None,
            fname=archive.name,
            path=archive.parent,
            progressbar=True,
        )
    except (OSError, ValueError) as error:
        # OSError is what all errors of requests are.
        raise FileNotFoundError(
            f"Cannot download {_URL + archive.name} ({error}). Put that file at"
            f" {archive}, or its contents ({', '.join(_small_cnn_files.FILES)}) into"
            f" {target}."
        ) from error
    partial = target.with_name(f"{dataset}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with files.naming(target):
            _unpack(archive, partial)
        _check(partial, _NUM_ROWS[dataset])
        target.mkdir(exist_ok=True)
        for file in partial.iterdir():
            os.replace(file, target / file.name)
    except (EOFError, lzma.LZMAError, tarfile.TarError, ValueError) as error:
        raise ValueError(
            f"{archive} is truncated, damaged, or not the Small CNN Zoo: {error}."
            " Remove it and fetch it again."
        ) from error
    finally:
        shutil.rmtree(partial)
    archive.unlink()
    return target


def _unpack(archive, folder):
    """Write the files of the zoo, and nothing else that the archive may hold."""
    with tarfile.open(archive, "r|xz") as members:
        for member in members:
            name = pathlib.PurePosixPath(member.name).name
            if not member.isfile() or name not in _small_cnn_files.FILES:
                continue
            source = members.extractfile(member)
            assert source is not None  # it is a regular file
            total = -(-member.size // _BLOCK)
            with (
                source,
                (folder / name).open("wb") as file,
                training.Progress(total, f"unpack {name}", "MiB") as progress,
            ):
                while block := source.read(_BLOCK):
                    file.write(block)
                    progress.update()
    missing = [n for n in _small_cnn_files.FILES if not (folder / n).is_file()]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")


def _check(folder, num_rows):
    """Refuse files that are not what was published."""
    weight_file, metrics_file, layout_file = _small_cnn_files.find(folder)
    weights = _small_cnn_files.open_weights(weight_file)
    if weights.shape != (num_rows, _NUM_COLUMNS):
        raise ValueError(
            f"its weights have the shape {weights.shape}, published are"
            f" {(num_rows, _NUM_COLUMNS)}"
        )
    _small_cnn_files.read_layout(layout_file, _NUM_COLUMNS, (32, 32, 1))
    _small_cnn_files.read_metrics(metrics_file, num_rows)
