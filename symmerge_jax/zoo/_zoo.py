"""A population of networks of one architecture, as a plain value.

Its arrays may be views of a file (see `_zoo_file`).
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from symmerge_jax import networks, symmetry
from symmerge_jax.typing import Params
from symmerge_jax.zoo import _rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zoo:
    """Networks of one architecture. Make one with `create`, which checks it.

    Attributes:
      architecture: what `networks.build` takes, with all its arguments.
      params: stacked parameters, every leaf `[N, ...]` float32.
      labels: `[N]` int32 class of each network's image, -1 where unknown.
      image_index: `[N]` int32 number of each network's image within its subset.
      subset_index: `[N]` int32 position in `subsets`.
      subsets: names of the data sets that the images come from, as "train".
      images: `[M, H, W]` the images, uint8 in 0..255 or float32 in [0, 1], or None;
        signals are images of one row. Weights and images are `Rows` where they lie in
        several files.
      image_row: `[N]` int32 row of each network's image in `images`, or None.
      metrics: `[N]` float32 arrays by name, as `psnr` in dB.
      provenance: where the zoo comes from; anything that JSON can hold.
    """

    architecture: Mapping[str, Any]
    params: Params
    labels: np.ndarray
    image_index: np.ndarray
    subset_index: np.ndarray
    subsets: tuple[str, ...]
    images: np.ndarray | _rows.Rows | None
    image_row: np.ndarray | None
    metrics: Mapping[str, np.ndarray]
    provenance: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"<Zoo of {len(self)} networks, architecture={dict(self.architecture)},"
            f" subsets={self.subsets}>"
        )


def create(
    architecture: Mapping[str, Any],
    params: Params,
    *,
    labels: np.ndarray | None = None,
    image_index: np.ndarray | None = None,
    subset_index: np.ndarray | None = None,
    subsets: Sequence[str] = ("train",),
    images: np.ndarray | _rows.Rows | None = None,
    image_row: np.ndarray | None = None,
    metrics: Mapping[str, np.ndarray] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Zoo:
    """Return a zoo of any networks, after checking that its parts fit together.

    Args:
      architecture: what `networks.build` takes; defaults are filled in. Weights do not
        tell them: a SIREN has `w0` and `output_offset`, an MLP its `activation`.
      params: stacked parameters, every leaf `[N, ...]` float32. Kernels are `[I, O]`,
        the transpose of PyTorch's weights.
      labels: `[N]` classes; -1 for every network if None.
      image_index: `[N]` numbers of the images; 0, 1, ... if None.
      subset_index: `[N]` positions in `subsets`; 0 for every network if None.
      subsets: names of the data sets of the images.
      images: `[M, H, W]` images of uint8 or float32, or None.
      image_row: `[N]` rows of `images`; needed with `images`.
      metrics: arrays `[N]` by name.
      provenance: where the zoo comes from.

    Returns:
      The zoo.

    Raises:
      ValueError: no networks, shapes that do not fit the architecture or each other,
        or numbers that point outside `subsets` or `images`.

    Example:
      Three SIRENs that were trained without the 0.5 that `networks.siren` adds to the
      output by default. An autoencoder learns from the saved zoo with `python
      launch/train.py --config.zoo=mine.zoo --config.fits_per_image=1`.

      >>> draw = np.random.default_rng(0).standard_normal
      >>> params = {
      ...     "dense_0": {"kernel": draw((3, 2, 8), "f4"), "bias": draw((3, 8), "f4")},
      ...     "dense_1": {"kernel": draw((3, 8, 1), "f4"), "bias": draw((3, 1), "f4")},
      ... }
      >>> siren = {"kind": "siren", "layer_sizes": [2, 8, 1], "output_offset": 0.0}
      >>> mine = create(siren, params, labels=np.array([7, 1, 7]))
      >>> len(mine), mine.architecture["w0"]
      (3, 30.0)
    """
    architecture = complete_architecture(architecture)
    num_networks = _check_params(architecture, params)

    def column(name: str, values: np.ndarray | None, default: np.ndarray) -> np.ndarray:
        values = default if values is None else np.asarray(values)
        if values.shape != (num_networks,):
            raise ValueError(
                f"{name} of a zoo must have the shape ({num_networks},), one entry per"
                f" network, got {values.shape}."
            )
        return values.astype(default.dtype, copy=False)

    zeros = np.zeros(num_networks, np.int32)
    numbers = np.arange(num_networks, dtype=np.int32)
    subset_index = column("subset_index", subset_index, zeros)
    _check_range("subset_index", subset_index, len(subsets), "subsets")
    if (images is None) != (image_row is None):
        raise ValueError("images and image_row of a zoo go together: give both.")
    if images is not None:
        if images.ndim != 3 or images.dtype not in (np.uint8, np.float32):
            raise ValueError(
                "images of a zoo must be [M, H, W] of uint8 or float32, got"
                f" {images.shape} of {images.dtype}."
            )
        image_row = column("image_row", image_row, zeros)
        _check_range("image_row", image_row, len(images), "images")
    return Zoo(
        architecture=architecture,
        params=params,
        labels=column("labels", labels, zeros - 1),
        image_index=column("image_index", image_index, numbers),
        subset_index=subset_index,
        subsets=tuple(subsets),
        images=images,
        image_row=image_row,
        metrics={
            name: column(name, values, zeros.astype(np.float32))
            for name, values in (metrics or {}).items()
        },
        provenance=dict(provenance or {}),
    )


def check_finite(zoo: Zoo) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
      zoo: the zoo.

    Raises:
      ValueError: names the first bad network and the tensor.
    """
    for path, leaf in symmetry.flatten(zoo.params).items():
        finite = [
            np.isfinite(x).all(axis=tuple(range(1, x.ndim))) for x in _rows.chunks(leaf)
        ]
        bad = np.flatnonzero(~np.concatenate(finite))
        if bad.size:
            raise ValueError(
                f"Network {bad[0]} of the zoo has NaN or infinite weights in"
                f" {'/'.join(path)} ({bad.size} such networks in all). Omit them with"
                " zoo.select, or make the zoo again."
            )


def require_architecture(zoo: Zoo, architecture: Mapping[str, Any]) -> None:
    """Refuse a zoo of another architecture.

    Args:
      zoo: the zoo.
      architecture: what is wanted, as `networks.build` takes it.

    Raises:
      ValueError: names the first argument that differs.
    """
    wanted = complete_architecture(architecture)
    for name in dict.fromkeys([*wanted, *zoo.architecture]):
        have, want = zoo.architecture.get(name), wanted.get(name)
        if have != want:
            raise ValueError(
                f"The zoo holds networks of another architecture: {name} is {have!r},"
                f" wanted {want!r}."
            )


def complete_architecture(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture with defaults filled in, as JSON would hold it."""
    networks.build(architecture)
    arguments = inspect.signature(networks.KINDS[architecture["kind"]]).parameters
    complete = {name: parameter.default for name, parameter in arguments.items()}
    complete = {"kind": architecture["kind"], **complete, **architecture}
    return {name: _as_json(value) for name, value in complete.items()}


def _as_json(value: Any) -> Any:
    """Return sequences as lists and integers of numpy as Python's."""
    if isinstance(value, list | tuple):
        return [_as_json(entry) for entry in value]
    return int(value) if isinstance(value, np.integer) else value


def _check_params(architecture: Mapping[str, Any], params: Params) -> int:
    """Return `N` after comparing the parameters with those of a network."""
    network = networks.build(architecture)
    advice = f"The zoo does not fit its architecture {dict(architecture)}."
    try:
        batch = network.spec.batch_shape(params)
    except ValueError as error:
        raise ValueError(f"{error} {advice}") from error
    if len(batch) != 1 or batch[0] == 0:
        raise ValueError(
            "A zoo needs at least one network, and one leading axis of its parameters"
            f" over the networks, got leading axes {batch}."
        )
    wanted = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    for path, leaf in symmetry.flatten(params).items():
        shape = (*batch, *wanted[path].shape)
        if leaf.shape != shape or leaf.dtype != np.float32:
            raise ValueError(
                f"Parameter {'/'.join(path)} of the zoo is {leaf.dtype} of shape"
                f" {leaf.shape}, expected float32 of shape {shape}. {advice}"
            )
    return batch[0]


def _check_range(name: str, values: np.ndarray, stop: int, what: str) -> None:
    if values.min() < 0 or values.max() >= stop:
        raise ValueError(
            f"{name} of a zoo must lie in 0..{stop - 1}, the entries of {what}, got"
            f" {values.min()}..{values.max()}."
        )
