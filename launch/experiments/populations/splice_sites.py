"""Splice-site networks of OpenSpliceAI, and their measure.

One-dimensional residual networks with BatchNorm that read human DNA (Chao et al. 2025,
*OpenSpliceAI*; models of 400 nucleotides of context), as a pure function of the tensors
of a checkpoint. They are scored as SpliceAI is (Jaganathan et al. 2019): of acceptors
and of donors, as many positions as there are true sites, those of the largest
probability; the share that is right; the mean of both.
"""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments import harness
from experiments.populations import _population, real_networks
from symmerge_jax import files
from symmerge_jax.typing import Array, Params

DEFAULT_FILES = ("mane_400nt_rs10.pt", "mane_400nt_rs11.pt")
"""Checkpoints in `DIR/openspliceai`."""

_CONTEXT = 200  # nucleotides at both ends that are read and not predicted
_CHANNELS, _KERNEL = 32, 11
_DILATIONS = (1, 1, 1, 1, 4, 4, 4, 4)
_BATCH = 21


def apply(params: Params, x: Array) -> Array:
    """Return logits `[S, L - 400, 3]` of one-hot DNA `[S, 4, L]`."""
    x = _conv(params, "initial_conv", x)
    skip = _conv(params, "initial_skip.conv", x)
    for unit, dilation in zip(_units(), _DILATIONS, strict=True):
        inner = _before(params, f"{unit}.batchnorm1", x)
        inner = _conv(params, f"{unit}.conv1", inner, dilation)
        inner = _before(params, f"{unit}.batchnorm2", inner)
        x = x + _conv(params, f"{unit}.conv2", inner, dilation)
        if unit in _SKIPS:
            skip = skip + _conv(params, _SKIPS[unit], x)
    skip = skip[:, :, _CONTEXT : skip.shape[2] - _CONTEXT]
    return _conv(params, "final_conv", skip).swapaxes(1, 2)


def plan(config: harness.Config) -> real_networks.Plan:
    """Take a config apart, and read its checkpoints; see `merge_networks`.

    Raises:
      ValueError: no folder of data, fewer than two checkpoints, one of other tensors,
        or counts that do not fit.
      FileNotFoundError: a missing file.
    """
    if config.data.dir is None:
        raise ValueError(
            "config.data.dir names no folder with openspliceai/windows.npz: set it, or"
            " SYMMERGE_DATA_DIR."
        )
    folder = pathlib.Path(config.data.dir) / "openspliceai"
    files = tuple(config.files) or tuple(folder / name for name in DEFAULT_FILES)
    if len(files) < 2:
        raise ValueError(f"config.files must name at least two checkpoints: {files}.")
    if len(set(map(str, files))) < len(files):
        raise ValueError(f"config.files must name each checkpoint once: {files}.")
    sizes = tuple(config.sizes) or (len(files),)
    if max(sizes) > len(files):
        raise ValueError(
            f"config.sizes are {sizes}, but there are {len(files)} checkpoints."
        )
    networks = [load(file) for file in files]
    unlabelled, test = load_windows(
        folder / "windows.npz", config.data.num_unlabelled, config.data.num_test
    )
    if config.data.unlabelled != "given":
        random = np.random.default_rng(config.seed)
        size = len(unlabelled), unlabelled.shape[2]
        unlabelled = _one_hot(random.integers(0, 4, size, np.uint8))
    return real_networks.Plan(
        apply=apply,
        load=lambda _: networks,
        names=tuple(pathlib.Path(file).stem for file in files),
        example=unlabelled[:2, :, : 2 * _CONTEXT + 40],
        unlabelled=unlabelled,
        is_synthetic=config.data.unlabelled == "synthetic",
        test=test,
        score=score,
        score_name="top-1",
        batch_size=_BATCH,
        sizes=sizes,
        has_statistics=True,
        wider=None,
    )


def load(file: str | pathlib.Path) -> Params:
    """Return the tensors of a checkpoint by layer and part, without counters.

    In a tree, `running_mean` and `running_var` are known as statistics by their names.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, or one of other tensors; names some.
    """
    if not pathlib.Path(file).exists():
        raise FileNotFoundError(f"config.files: there is no checkpoint '{file}'.")
    found = {
        name: np.asarray(value)
        for name, value in files.load_torch_state_dict(file).items()
        if not name.endswith(".num_batches_tracked")
    }
    wanted = shapes()
    wrong = [
        *(f"lacks {name!r}" for name in wanted if name not in found),
        *(f"has {name!r}" for name in found if name not in wanted),
        *(
            f"has {name!r} of shape {found[name].shape}, not {shape}"
            for name, shape in wanted.items()
            if name in found and found[name].shape != shape
        ),
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"'{file}' is no OpenSpliceAI network of 400 nucleotides: it"
            f" {', '.join(wrong[:3])}{more}."
        )
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, value in found.items():
        layer, _, part = name.rpartition(".")
        params.setdefault(layer, {})[part] = value
    return params


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a checkpoint."""
    found: dict[str, tuple[int, ...]] = {}

    def add(name: str, inputs: int, size: int, outputs: int = _CHANNELS) -> None:
        found[f"{name}.weight"] = (outputs, inputs, size)
        found[f"{name}.bias"] = (outputs,)

    add("initial_conv", 4, 1)
    add("initial_skip.conv", _CHANNELS, 1)
    for unit in _units():
        for number in (1, 2):
            for part in ("weight", "bias", "running_mean", "running_var"):
                found[f"{unit}.batchnorm{number}.{part}"] = (_CHANNELS,)
            add(f"{unit}.conv{number}", _CHANNELS, _KERNEL)
        if unit in _SKIPS:
            add(_SKIPS[unit], _CHANNELS, 1)
    add("final_conv", _CHANNELS, 1, 3)
    return found


def load_windows(
    file: pathlib.Path, num_unlabelled: int | None, num_test: int | None
) -> tuple[np.ndarray, _population.Examples]:
    """Return unlabelled DNA `[S, 4, L]`, and labelled DNA with its classes `[S, L]`."""
    if not file.exists():
        raise FileNotFoundError(f"There is no '{file}': see config.data.dir.")
    with np.load(file) as arrays:
        background, x, y = (arrays[name] for name in ("background", "x", "y"))
    counts = {
        "num_unlabelled": (num_unlabelled, len(background)),
        "num_test": (num_test, len(x)),
    }
    for key, (count, most) in counts.items():
        if count is not None and not 1 <= count <= most:
            raise ValueError(f"config.data.{key} must lie in 1..{most}, got {count}.")
    x, y = x[:num_test], y[:num_test]
    if not all((y == kind).any() for kind in (1, 2)):
        raise ValueError(
            f"The first {num_test} windows of '{file}' lack acceptors or donors: raise"
            " config.data.num_test."
        )
    return _one_hot(background[:num_unlabelled]), _population.Examples(_one_hot(x), y)


def score(log_probabilities: np.ndarray, targets: np.ndarray) -> real_networks.Scores:
    """Return top-1 accuracy of sites, and cross-entropy over all positions."""
    shares, variance = [], 0.0
    for kind in (1, 2):
        values = log_probabilities[..., kind].ravel()
        is_site = (targets == kind).ravel()
        num = is_site.sum()
        share = is_site[np.argsort(-values, kind="stable")[:num]].mean()
        shares.append(share)
        variance += share * (1 - share) / num / 4
    losses = real_networks.cross_entropies(log_probabilities, targets).mean(axis=1)
    found = {
        "accuracy": np.mean(shares),
        "accuracy_se": variance**0.5,
        "loss": losses.mean(),
        "loss_se": losses.std() / len(losses) ** 0.5,
    }
    return {name: np.asarray(value, float) for name, value in found.items()}


def _one_hot(windows: np.ndarray) -> np.ndarray:
    """Return nucleotides `[S, L]`, of which 4 is unknown, as `[S, 4, L]`."""
    return (windows[:, None, :] == np.arange(4)[:, None]).astype(np.float32)


def _units() -> Sequence[str]:
    return [f"residual_units.{number}" for number in (0, 1, 2, 3, 5, 6, 7, 8)]


_SKIPS = {
    "residual_units.3": "residual_units.4.conv",
    "residual_units.8": "residual_units.9.conv",
}
"""Convolutions into the sum that is read, by the unit in front of each."""


def _conv(params: Params, name: str, x: Array, dilation: int = 1) -> Array:
    kernel, bias = (params[name][part] for part in ("weight", "bias"))
    found = lax.conv_general_dilated(
        *(jnp.asarray(x), kernel, (1,), "SAME"),
        rhs_dilation=(dilation,),
        dimension_numbers=("NCH", "OIH", "NCH"),
    )
    return found + bias[None, :, None]


def _before(params: Params, name: str, x: Array) -> Array:
    """Return what a convolution reads: normalised, leaky ReLU."""
    mean, var, scale, shift = (
        params[name][part][None, :, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    x = (x - mean) * lax.rsqrt(var + 1e-5) * scale + shift
    return jax.nn.leaky_relu(x, 0.1)
