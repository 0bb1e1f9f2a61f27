"""The Small CNN Zoo, downloaded and imported: classifiers trained in many ways.

Unterthiner et al. 2020, *Predicting neural network accuracy from weights*, arXiv
2002.11448, licence CC BY 4.0: for each of four data sets 30,000 training runs of one
CNN, with 9 checkpoints each. The published weights are one matrix of 5.4 GB, so only
the selected rows are read. The links and the numbers of rows are those of
`dnn_predict_accuracy/README.md` in github.com/google-research/google-research, with
storage.googleapis.com for storage.cloud.google.com, which wants a browser.
"""

import functools
import os
import pathlib
import random
from collections.abc import Sequence

import numpy as np

from symmerge_jax import networks, symmetry
from symmerge_jax.typing import Path
from symmerge_jax.zoo import _chunks, _download, _small_cnn_files, _zoo

PARTS = ("train", "val", "test")
_ROWS_AT_ONCE = 1024
_URL = "https://storage.googleapis.com/gresearch/smallcnnzoo-dataset/"
_NUM_ROWS = {
    "cifar10": 270_000,
    "fashion_mnist": 270_000,
    "mnist": 269_973,
    "svhn_cropped": 269_892,
}
_NUM_COLUMNS = 4970


def import_small_cnn(
    folder: str | os.PathLike,
    *,
    activation: str | None = None,
    steps: Sequence[int] = (86,),
    split: str | os.PathLike | None = None,
    faithful_order: bool = False,
    image_shape: Sequence[int] = (32, 32, 1),
    stride: int = 2,
    on_chunk: _chunks.OnChunk | None = None,
) -> _zoo.Zoo:
    """Read checkpoints of the Small CNN Zoo into a zoo.

    Parameters are the columns of the file, bit for bit. Networks with NaN or infinite
    weights are omitted and counted; those at chance stay. The classifiers read grey
    images `pixels * 2 - 1` with pixels in [0, 1]; grey is the mean of the channels.

    With a file of the row order the networks are divided as in Zhou et al. 2023 (arXiv
    2302.14040, `experiments/data_utils.py`) and its followers: of the rows of the last
    step in the file, in that order, the second half is "test"; the first half is
    shuffled by `random.Random(0)` and divided 80 : 20 into "train" and "val".
    Activations are selected after that. Other checkpoints of a run go where its last
    one went, and to "train" if it has none.

    Args:
      folder: what holds `weights.npy`, `metrics.csv.gz` and `layout.csv`.
      activation: "relu" or "tanh", the one that all networks of the zoo have; None if
        the file has only one.
      steps: epochs of the checkpoints to take; published are 0, 1, 2, 3, 20, 40, 60, 80
        and 86.
      split: file with the order of the rows, as `cifar10_split.csv`, also packed by
        gzip, or None for no fixed division (see `split` of this package).
      faithful_order: read the header of that file, `0`, as a number like its authors
        do: row 0 then comes twice, which matters if its step is selected.
      image_shape: height, width and channels of the images, which the files do not
        tell: 28, 28, 1 for MNIST and Fashion-MNIST.
      stride: of every convolution, which they do not tell either.
      on_chunk: called as `on_chunk(done, total, {"skipped": number})` before the first
        rows are read and after each chunk of them.

    Returns:
      The zoo, in memory, in the order of the rows. `image_index` is the number of the
      training run in the file. The metrics are accuracies in [0, 1], losses in nats,
      `step` in epochs and the hyper-parameters of the training.

    Raises:
      FileNotFoundError: no folder, or a file that is missing in it.
      ValueError: a damaged file, files that do not belong together, an activation or a
        step that is not there, several activations, or no network with finite weights.
    """
    folder = pathlib.Path(folder)
    if faithful_order and split is None:
        raise ValueError("faithful_order says how to read split: give that file too.")
    weight_file, metrics_file, layout_file = _small_cnn_files.find(folder)
    weights = _small_cnn_files.open_weights(weight_file)
    sizes, tensors = _small_cnn_files.read_layout(
        layout_file, weights.shape[1], image_shape
    )
    networks.cnn(image_shape, stride=stride, **sizes)  # refuses images too small
    metrics = _small_cnn_files.read_metrics(metrics_file, len(weights))
    activation = _check_selection(metrics, steps, activation, metrics_file)
    if split is None:
        rows = np.flatnonzero(np.isin(metrics.step, steps))
        part = np.zeros(len(rows), np.int32)
    else:
        order = _small_cnn_files.read_order(
            pathlib.Path(split), len(weights), faithful=faithful_order
        )
        rows, part = _divide(order, metrics, steps)
    chosen = metrics.activation[rows] == activation
    rows, part = rows[chosen], part[chosen]
    leaves, sound = _read_params(weights, rows, tensors, on_chunk)
    if not sound.any():
        raise ValueError(
            f"All {len(rows)} selected networks in {weight_file} have NaN or infinite"
            " weights."
        )
    num_skipped = len(rows) - int(sound.sum())
    rows, part = rows[sound], part[sound]
    return _zoo.create(
        {
            "kind": "cnn",
            "image_shape": tuple(image_shape),
            "activation": activation,
            "stride": stride,
            **sizes,
        },
        symmetry.unflatten(leaves),
        image_index=metrics.run[rows],
        subset_index=part,
        subsets=PARTS[:1] if split is None else PARTS,
        metrics={
            **{name: values[rows] for name, values in metrics.values.items()},
            "step": metrics.step[rows],
        },
        provenance={
            "made_by": "import_small_cnn",
            "source": folder.name,
            "datasets": list(metrics.datasets),
            "reference": "Unterthiner et al. 2020, arXiv 2002.11448, CC BY 4.0",
            "steps": sorted(int(step) for step in set(steps)),
            "split": None if split is None else pathlib.Path(split).name,
            "faithful_order": faithful_order,
            "num_skipped": num_skipped,
        },
    )


def download_small_cnn_zoo(
    dataset: str = "cifar10", folder: str | os.PathLike | None = None
) -> pathlib.Path:
    """Download and unpack the Small CNN Zoo of one data set, unless it is there.

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
    if dataset not in _NUM_ROWS:
        raise ValueError(
            f"The Small CNN Zoo has no data set {dataset!r}; it has"
            f" {', '.join(_NUM_ROWS)}."
        )
    if folder is None:
        folder = _download.cache() / "small_cnn_zoo"
    return _download.fetch_members(
        f"{_URL}{dataset}.tar.xz",
        pathlib.Path(folder) / dataset,
        _small_cnn_files.FILES,
        check=functools.partial(_check_published, _NUM_ROWS[dataset]),
    )


def _check_published(num_rows: int, folder: pathlib.Path) -> None:
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


def _check_selection(
    metrics: _small_cnn_files.Metrics,
    steps: Sequence[int],
    activation: str | None,
    path: pathlib.Path,
) -> str:
    """Return the activation, after checking that something is selected."""
    known = np.unique(metrics.step)
    if not len(steps) or not np.isin(steps, known).all():
        raise ValueError(
            f"{path} has checkpoints at the steps {', '.join(map(str, known))}; got"
            f" steps {tuple(steps)}."
        )
    at_steps = metrics.activation[np.isin(metrics.step, steps)]
    names, counts = np.unique(at_steps, return_counts=True)
    present = ", ".join(f"{n} ({c})" for n, c in zip(names, counts, strict=True))
    if activation is None and len(names) > 1:
        raise ValueError(
            "A zoo holds networks of one activation, but those selected have several:"
            f" {present}. Choose one, such as activation={str(names[0])!r}, and make a"
            " zoo for each."
        )
    if activation is not None and activation not in names:
        raise ValueError(
            f"{path} has no networks with the activation {activation!r} at the steps"
            f" {tuple(steps)}; it has {present}."
        )
    activation = str(names[0]) if activation is None else activation
    networks.cnn(activation=activation)  # refuses what this library does not know
    return activation


def _divide(
    order: np.ndarray, metrics: _small_cnn_files.Metrics, steps: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of some steps, ascending, and the positions of their parts."""
    last = metrics.step.max()
    final = order[metrics.step[order] == last]
    half = int(0.5 * len(final))
    shuffled = list(range(half))
    random.Random(0).shuffle(shuffled)
    part = np.full(len(final), PARTS.index("test"), np.int32)
    part[shuffled] = np.arange(half) >= int(0.8 * half)
    part_of_run = np.zeros(metrics.run.max() + 1, np.int32)
    part_of_run[metrics.run[final]] = part
    if last not in steps:
        final, part = final[:0], part[:0]
    others = np.flatnonzero(np.isin(metrics.step, steps) & (metrics.step != last))
    rows = np.concatenate([final, others])
    part = np.concatenate([part, part_of_run[metrics.run[others]]])
    ascending = np.argsort(rows, kind="stable")
    return rows[ascending], part[ascending]


def _read_params(
    weights: np.ndarray,
    rows: np.ndarray,
    tensors: Sequence[_small_cnn_files.Tensor],
    on_chunk: _chunks.OnChunk | None,
) -> tuple[dict[Path, np.ndarray], np.ndarray]:
    """Return the leaves of the networks in some rows, and which rows are finite."""
    leaves = {t.path: np.empty((len(rows), *t.shape), np.float32) for t in tensors}
    sound = np.zeros(len(rows), bool)
    num_sound = done = 0
    if on_chunk is not None:
        on_chunk(0, len(rows), {})
    while done < len(rows):
        chunk = weights[rows[done : done + _ROWS_AT_ONCE]]
        finite = np.isfinite(chunk).all(axis=1)
        sound[done : done + len(chunk)] = finite
        target = slice(num_sound, num_sound + int(finite.sum()))
        for tensor in tensors:
            values = chunk[finite, tensor.start : tensor.stop]
            leaves[tensor.path][target] = values.reshape(-1, *tensor.shape)
        num_sound, done = target.stop, done + len(chunk)
        if on_chunk is not None:
            on_chunk(done, len(rows), {"skipped": float(done - num_sound)})
    return {path: leaf[:num_sound] for path, leaf in leaves.items()}, sound
