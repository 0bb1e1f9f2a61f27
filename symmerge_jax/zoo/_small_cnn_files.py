"""The files of a folder of the Small CNN Zoo, checked and read no further than needed.

Unterthiner et al. 2020, arXiv 2002.11448. A folder per data set holds `weights.npy`, a
row of all parameters for every checkpoint, `metrics.csv.gz` with a line for every row,
and `layout.csv`, which tells the columns of every tensor. Zhou et al. 2023, arXiv
2302.14040, add a file with an order of the rows, by which they divide them. What does
not fit is refused with a ValueError that names the file.
"""

import array
import ast
import contextlib
import csv
import gzip
import io
import itertools
import math
import pathlib
import sys
import tokenize
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from symmerge_jax.typing import Path

FILES = ("weights.npy", "metrics.csv.gz", "layout.csv")
MEASURES = ("test_accuracy", "train_accuracy", "test_loss", "train_loss")
HYPERPARAMETERS = ("learning_rate", "init_std", "l2reg", "dropout", "train_fraction")
_REQUIRED = ("config.activation", "modeldir", "step", *MEASURES)
_REMEDY = "Remove it and fetch it again."
_TOO_LARGE = (MemoryError, OverflowError, RecursionError)
# The header of an npy file is a Python expression, and its shape may be of any size.
_BAD_NPY = (
    *(OSError, ValueError, TypeError, SyntaxError, tokenize.TokenError),
    *_TOO_LARGE,
)
_MAX_LINE = 100_000  # characters
_MAX_TENSORS = 10_000


class Metrics(NamedTuple):
    """What is known of the `R` rows of the weights."""

    activation: np.ndarray  # [R] names
    step: np.ndarray  # [R] int64 epochs of training
    run: np.ndarray  # [R] int64 number of the run, counted by first appearance
    values: dict[str, np.ndarray]  # [R] float32, NaN where not given
    datasets: tuple[str, ...]  # of the images


class Tensor(NamedTuple):
    """Columns `start..stop` of the weights, which are one parameter of the network."""

    path: Path
    start: int
    stop: int
    shape: tuple[int, ...]


def find(folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Return the paths of `FILES`; the metrics may be unpacked."""
    remedy = (
        f"A folder of the Small CNN Zoo holds {', '.join(FILES)}: name such a folder,"
        " or fetch one with zoo.download_small_cnn_zoo()."
    )
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {folder}. {remedy}")
    paths = [folder / name for name in FILES]
    if not paths[1].is_file() and paths[1].with_suffix("").is_file():
        paths[1] = paths[1].with_suffix("")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"No file {path}. {remedy}")
    return tuple(paths)


def open_weights(path: pathlib.Path) -> np.ndarray:
    """Return the weights `[R, columns]` float32, mapped and not read."""
    try:
        weights = np.lib.format.open_memmap(path, mode="r")
    except _BAD_NPY as error:
        raise ValueError(
            f"{path} is truncated or no npy file of numbers: {error}. {_REMEDY}"
        ) from error
    is_matrix = weights.ndim == 2 and weights.flags.c_contiguous
    if not is_matrix or weights.dtype != np.float32:
        raise ValueError(
            f"{path} must hold a float32 matrix in C order, a row per network, got"
            f" {weights.dtype} of shape {weights.shape}."
        )
    return weights


def read_layout(
    path: pathlib.Path, num_columns: int, image_shape: Sequence[int]
) -> tuple[dict[str, Any], list[Tensor]]:
    """Return the sizes of the CNN and its tensors, after checking that they are one.

    The sizes are the arguments `channels`, `num_classes` and `kernel_size` of
    `networks.cnn`; the tensors are in the order of the columns.
    """
    layers: dict[str, dict[str, tuple[int, int, tuple[int, ...]]]] = {}
    stop = 0
    for name, start, end, size, shape in sorted(_layout_rows(path), key=lambda r: r[1]):
        if start != stop or end - start != size or size != math.prod(shape):
            raise ValueError(
                f"{path}: {name} takes the columns {start}..{end}, size {size}, for the"
                f" shape {shape}; expected {math.prod(shape)} columns from {stop} on."
            )
        stop = end
        layer, _, kind = name.removesuffix(":0").rpartition("/")
        if kind not in ("kernel", "bias") or kind in layers.get(layer, {}):
            raise ValueError(
                f"{path}: {name} is not a kernel or bias, or a second one of its layer."
            )
        layers.setdefault(layer, {})[kind] = (start, end, shape)
    if stop != num_columns:
        raise ValueError(
            f"{path} describes {stop} columns, but the weights beside it have"
            f" {num_columns}: the two do not belong together."
        )
    if len(layers) < 2:
        raise ValueError(
            f"{path} describes {len(layers)} layers; a CNN has at least 2."
        )
    written, sizes, tensors = image_shape[-1], [], []
    for number, (layer, entries) in enumerate(layers.items()):
        last = number == len(layers) - 1
        shapes = {kind: shape for kind, (_, _, shape) in entries.items()}
        kernel = shapes.get("kernel", ())
        height = kernel[0] if kernel else 0
        read, written = written, kernel[-1] if kernel else 0
        expected = (read, written) if last else (height, height, read, written)
        if kernel != expected or shapes.get("bias") != (written,):
            raise ValueError(
                f"{path}: {layer} has the shapes {shapes}; as layer {number + 1} of"
                f" {len(layers)} of a CNN it needs a kernel"
                f" {'[I, O]' if last else '[k, k, I, O]'} with I = {read}, and a bias"
                " [O]."
            )
        sizes.append((height, written))
        key = "dense" if last else f"conv_{number}"
        tensors += [Tensor((key, kind), *entry) for kind, entry in entries.items()]
    *convolutions, (_, num_classes) = sizes
    kernels = [kernel for kernel, _ in convolutions]
    return {
        "channels": [width for _, width in convolutions],
        "num_classes": num_classes,
        "kernel_size": kernels[0] if len(set(kernels)) == 1 else kernels,
    }, tensors


def read_metrics(path: pathlib.Path, num_rows: int) -> Metrics:
    """Return the table of metrics.

    A run is what has one `modeldir`. If that names every checkpoint, or all of them
    alike, it is what has one configuration.
    """
    activation, datasets = [], set()
    modeldirs, configs = {}, {}
    run_by_dir, run_by_config = array.array("q"), array.array("q")
    with _open_text(path) as file:
        reader = csv.reader(_lines(file))
        header = next(reader, [])
        if missing := [name for name in _REQUIRED if name not in header]:
            raise ValueError(
                f"{path} lacks the columns {', '.join(missing)}; it has"
                f" {', '.join(header)}."
            )
        place = {name: column for column, name in enumerate(header)}
        source = {name: place[name] for name in ("step", *MEASURES)}
        source |= {
            name: place[f"config.{name}"]
            for name in HYPERPARAMETERS
            if f"config.{name}" in place
        }
        numbers = {name: array.array("d") for name in source}
        config = [column for name, column in place.items() if name.startswith("config")]
        for row in itertools.islice(reader, num_rows + 1):
            if len(row) != len(header):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(row)} entries for"
                    f" {len(header)} columns. {_REMEDY}"
                )
            for name, column in source.items():
                text = row[column]
                try:
                    numbers[name].append(float(text) if text else math.nan)
                except ValueError as error:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {name} is {text!r}."
                    ) from error
            activation.append(sys.intern(row[place["config.activation"]]))
            modeldir = row[place["modeldir"]]
            run_by_dir.append(modeldirs.setdefault(modeldir, len(modeldirs)))
            settings = tuple(row[column] for column in config)
            run_by_config.append(configs.setdefault(settings, len(configs)))
            if "config.dataset" in place:
                datasets.add(row[place["config.dataset"]])
    if len(activation) != num_rows:
        more = "more" if len(activation) > num_rows else len(activation)
        raise ValueError(
            f"{path} has {more} rows, but the weights beside it have {num_rows}: the"
            " two do not belong together."
        )
    steps = np.array(numbers.pop("step"))
    if not (np.isfinite(steps) & (steps == np.rint(steps))).all():
        raise ValueError(f"{path}: every step must be a whole number. {_REMEDY}")
    by_checkpoint = len(modeldirs) == len(steps) and len(np.unique(steps)) > 1
    alike = len(modeldirs) == 1
    with np.errstate(over="ignore"):  # losses beyond float32 are infinite
        values = {name: np.array(n, np.float32) for name, n in numbers.items()}
    return Metrics(
        np.array(activation),
        steps.astype(np.int64),
        np.array(run_by_config if by_checkpoint or alike else run_by_dir),
        values,
        tuple(sorted(datasets)),
    )


def read_order(path: pathlib.Path, num_rows: int, *, faithful: bool) -> np.ndarray:
    """Return an order of the rows, from a file with a row number per line.

    The published files begin with a line `0` that is a header. Their authors read it as
    a number, and so does `faithful`: row 0 then comes twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No file {path}. The order of the rows of CIFAR-10 is"
            " experiments/predict_gen_data_splits/cifar10_split.csv of"
            " github.com/AllanYangZhou/nfn."
        )
    with _open_text(path) as file:
        lines = itertools.islice(_lines(file), num_rows + 2)
        words = [word for line in lines for word in line.split()]
    try:
        order = np.array(words, np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} must hold a row number per line: {error}.") from error
    has_header = len(order) == num_rows + 1 and order[0] == 0
    rows = order[1:] if has_header else order
    if len(rows) != num_rows or not np.array_equal(np.sort(rows), np.arange(num_rows)):
        raise ValueError(
            f"{path} is not an order of the {num_rows} rows of the weights: its"
            f" {len(rows)} numbers must be 0..{num_rows - 1}, each once. Take the file"
            " that was made for this data set."
        )
    return order if faithful else rows


def _layout_rows(
    path: pathlib.Path,
) -> Iterator[tuple[str, int, int, int, tuple[int, ...]]]:
    """Yield name, start, end, size and shape of every tensor."""
    with _open_text(path) as file:
        reader = csv.DictReader(_lines(file))
        for row in itertools.islice(reader, _MAX_TENSORS):
            try:
                start, end, size = (
                    int(row[name]) for name in ("start_idx", "end_idx", "size")
                )
                shape = tuple(int(n) for n in ast.literal_eval(row["shape"]))
                yield row["varname"], start, end, size, shape
            except (KeyError, TypeError, ValueError, SyntaxError, *_TOO_LARGE) as error:
                raise ValueError(
                    f"{path}, line {reader.line_num}: expected varname, start_idx,"
                    f" end_idx, size and shape of a tensor, got {str(row)[:1000]}."
                ) from error


def _lines(file: io.TextIOBase) -> Iterator[str]:
    """Yield the lines of a file, and refuse one that never ends."""
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise csv.Error(f"a line is longer than {_MAX_LINE} characters")
        yield line


@contextlib.contextmanager
def _open_text(path: pathlib.Path) -> Iterator[io.TextIOBase]:
    """Open a text file, packed by gzip or not; damage is an error that names it."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            yield file
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is truncated or damaged: {error}. {_REMEDY}"
        ) from error
