"""Networks in files, by what is known of them: a model, a spec, or a description."""

import contextlib
import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax import certificates, networks, storage, symmetry, training
from symmerge_jax.cli import _described, _expected, _model, _report
from symmerge_jax.typing import Params

EXTRA_KEYS = ("carry", "refuse")
"""What becomes of tensors that a model does not have."""

_NUM_INPUTS = 64  # of the certificate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the networks in files: at most one of the first three.

    Attributes:
      model: `module:factory` (`_model.load_model`).
      spec: file of a spec, without a function: nothing is proven.
      architecture: see `_described.describe`; None for what the files say.
      key: part of the files that holds the parameters, "a.b"; None for all.
      rename: rules PATTERN=REPLACEMENT from names in files to those of the model.
      extra_keys: "carry" or "refuse" tensors that the model does not have; None for
        "carry". A description names all tensors that there are.
    """

    model: str | None = None
    spec: str | None = None
    architecture: Mapping[str, Any] | str | None = None
    key: str | None = None
    rename: Sequence[str] = ()
    extra_keys: str | None = None

    def __post_init__(self):
        given = [n for n in ("model", "spec", "architecture") if getattr(self, n)]
        if len(given) > 1:
            raise ValueError(f"Pass --{given[0]} or --{given[1]}, not both.")
        if self.extra_keys not in (None, *EXTRA_KEYS):
            raise ValueError(
                f"extra_keys is {self.extra_keys!r}, known are {', '.join(EXTRA_KEYS)}."
            )
        if (self.rename or self.extra_keys) and not self.names_tensors:
            name = "--rename" if self.rename else "--extra-keys"
            raise ValueError(f"{name} is for the tensors of a --model or a --spec.")

    @property
    def names_tensors(self) -> bool:
        """Whether the tensors are those of a model or spec, by name."""
        return bool(self.model or self.spec)


class Opened(NamedTuple):
    """Networks in files, found and checked, but not yet read into memory.

    Attributes:
      network: their architecture, or its symmetry alone.
      params: one tree for each file.
      report: how the files were read.
      check_target: `check_target(path, number)` refuses a file that cannot be written
        like that of this number, before any work.
      save: `save(path, params, number)` writes a network like the file of this number.
      write: `write(path, pairs, number)` does so from names and tensors as they come;
        None where the tensors have no names of their own.
      is_double: whether to compute in double precision, as tensors are kept.
      stored: complete description of the architecture, where there is one.
      is_described: whether a file says itself what it holds.
    """

    network: networks.Network | symmetry.SymmetrySpec
    params: list[Params]
    report: dict[str, Any]
    check_target: Callable[..., None]
    save: Callable[[Any, Params, int], None]
    is_double: bool = False
    write: Callable[[Any, Iterable[tuple[str, Any]], int], None] | None = None
    stored: Mapping[str, Any] | None = None
    is_described: bool = True

    def load(self) -> list[Params]:
        """Return the networks, read where their arrays are not mapped into memory."""
        with training.Progress(len(self.params), "read", "network") as progress:
            found = []
            for params in self.params:
                found.append(_model.loaded(params))
                progress.update()
        return found

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Compute in the precision of the files while the block runs."""
        with jax.enable_x64(True) if self.is_double else contextlib.nullcontext():
            yield


def open_networks(
    paths: Sequence[Any], known: Known, trained: Mapping[str, Any] | None = None
) -> Opened:
    """Open the networks in files of one architecture.

    Args:
      paths: the files.
      known: what they hold.
      trained: description that a trained model is for, the last resort.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: files that are damaged, or do not fit what is known or each other.
    """
    if known.names_tensors:
        return _open_bound(paths, known)
    found = [_described.read(path, known.key) for path in paths]
    description = _described.describe_all(found, known.architecture, trained)
    network = networks.build(description)
    for file in found:
        _described.check(file, network, description)

    def save(path: Any, params: Params, number: int) -> None:
        storage.save(path, params, architecture=description)

    def check_target(path: Any, number: int = 0) -> None:
        _described.check_writable(path)

    return Opened(
        network,
        [file.params for file in found],
        {"architecture": json.dumps(description), **_read_as(found)},
        check_target,
        save,
        stored=description,
        is_described=any(file.architecture is not None for file in found),
    )


def _read_as(found: Sequence[_described.WeightFile]) -> dict[str, str]:
    """Return how files of torch were read, by number where there are several."""
    names = [f"read_as_{number}" for number in range(len(found))]
    names = ["read_as"] if len(found) == 1 else names
    return {n: x.read_as for n, x in zip(names, found, strict=True) if x.read_as}


def _open_bound(paths: Sequence[Any], known: Known) -> Opened:
    if known.model is not None:
        model = _model.load_model(known.model)
    else:
        model = _model.Model(storage.load_spec(str(known.spec)), None)
    bound = []
    for path in paths:
        checkpoint = storage.open_checkpoint(path, key=known.key)
        found = _model.bind(
            checkpoint,
            model,
            key=known.key,
            rename=known.rename,
            extra_keys=known.extra_keys or "carry",
        )
        bound.append(found)
    _check_alike(bound)
    report: dict[str, Any] = {"format": bound[0].checkpoint.format}
    if bound[0].extra:
        report["carried_along"] = len(bound[0].extra)

    def write(path: Any, pairs: Iterable[tuple[str, Any]], number: int) -> None:
        one = bound[number]
        names = {symmetry.name(place): name for place, name in one.names.items()}
        with training.Progress(len(names), "write", "tensor") as progress:

            def arrays():
                for name, leaf in pairs:
                    yield names[name], leaf
                    progress.update()

            storage.write_checkpoint(path, one.checkpoint, arrays())

    def save(path: Any, params: Params, number: int) -> None:
        leaves, places = symmetry.flatten(params), bound[number].names
        pairs = ((symmetry.name(place), leaves[place]) for place in places)
        write(path, pairs, number)

    def check_target(path: Any, number: int = 0) -> None:
        storage.check_target(path, bound[number].checkpoint)

    is_double = any(x.dtype == np.float64 for x in bound[0].arrays())
    params = [one.params for one in bound]
    return Opened(
        *(model.network, params, report, check_target, save, is_double),
        write=write,
    )


def _check_alike(bound: Sequence[_model.Bound]) -> None:
    """Refuse networks whose tensors have other shapes or types than the first's."""
    first = bound[0]
    for other in bound[1:]:
        for path, name in first.names.items():
            one = first.checkpoint.tensors[name]
            two = other.checkpoint.tensors[other.names[path]]
            if (one.shape, one.dtype) != (two.shape, two.dtype):
                raise ValueError(
                    f"'{other.checkpoint.path}': tensor '{other.names[path]}' is"
                    f" {two.dtype} {two.shape}, but {one.dtype} {one.shape} in"
                    f" '{first.checkpoint.path}'."
                )


def proof_inputs(opened: Opened, seed: int) -> np.ndarray | None:
    """Return inputs for the certificate of a described network."""
    if opened.stored is None or not isinstance(opened.network, networks.Network):
        return None
    shape = _NUM_INPUTS, *opened.network.input_shape
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def proven(certificate: certificates.Certificate | None) -> dict[str, Any]:
    """Return what a certificate says: the largest change, relative to its output."""
    if certificate is None:
        return {"certificate": "none: without a function nothing is proven"}
    scale = np.ravel(certificate.output_scale)
    change = np.ravel(certificate.max_difference) / np.where(scale > 0, scale, 1)
    worst = int(change.argmax())
    return {
        "certificate": float(change[worst]),
        "certificate_allows": float(np.ravel(certificate.tolerance)[worst]),
        "certificate_at": certificate.notes.pairs[worst][0],
    }


def moves(network: Any, element: symmetry.GroupElement) -> _report.Table:
    """Return a table of the spaces: their symmetry, and how many neurons moved."""
    rows = []
    for space in symmetry.spec_of(network).movable_spaces:
        if space.name not in element:
            continue
        perm, scale = map(np.asarray, element[space.name])
        moved = (perm != np.arange(perm.shape[-1])).mean()
        flipped = (scale < 0).mean()
        row = space.name, space.group.value, perm.shape[-1], float(moved)
        rows.append((*row, float(flipped)))
    columns = "space", "group", "neurons", "share moved", "share flipped"
    return _report.Table("Neurons", columns, rows)


def plan(
    title: str,
    opened: Opened,
    outputs: Sequence[Any],
    *,
    searches: bool = False,
    pieces: int | None = None,
) -> _report.Report:
    """Return what would be done: sizes, what it takes, and files to be written.

    The time is that of weight matching, if it `searches`; of networks that are read in
    pieces, there are so many bytes of these.
    """
    floats = [
        leaf
        for params in opened.params
        for leaf in symmetry.flatten(params).values()
        if symmetry.is_array(leaf) and symmetry.is_parameter(leaf)
    ]
    count = sum(math.prod(leaf.shape) for leaf in floats)
    stored = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in floats)
    width = 8 if opened.is_double else 4
    # The networks as read, widened, stacked and moved, and both sides of the proof.
    proof = 0 if isinstance(opened.network, symmetry.SymmetrySpec) else 2 * 8 * count
    memory = stored + 3 * width * count + proof
    spec = symmetry.spec_of(opened.network)
    if pieces is not None:
        memory = _expected.memory_in_pieces(spec, opened.params[0], pieces)
    seconds = _expected.search_seconds(spec, opened.params) if searches else None
    values = {
        "networks": len(opened.params),
        **opened.report,
        "parameters_each": count // len(opened.params),
        "size_each": _report.size(stored / len(opened.params)),
        "expected_memory": _report.size(memory),
        **({} if seconds is None else {"expected_search": f"about {seconds:.1g} s"}),
        **{f"would_write_{k}": str(path) for k, path in enumerate(outputs)},
    }
    return _report.Report(title, values)


def check_outputs(paths: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Refuse to write over a file that is read."""
    given = {pathlib.Path(path).resolve() for path in paths}
    for out in outputs:
        if pathlib.Path(out).resolve() in given:
            raise ValueError(
                f"'{out}' is one of the networks to merge: choose another."
            )
