"""State dicts of PyTorch to `Params`."""

import itertools
import re
from collections.abc import Mapping

import numpy as np

from symmerge_jax.typing import Params


def torch_layers(state_dict: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the layers of a state dict by the names that they get here, in order.

    Layers of one kind differ in the numbers of their names alone, which give the order:
    `fc2` comes before `fc10`, and `net.0.weight`, `net.2.weight` are layers of one
    `nn.Sequential`. Prefixes do not matter.

    Args:
      state_dict: arrays by name.

    Returns:
      `{"dense_0": "fc1", "dense_1": "fc2"}` for linear layers, or `{"conv_0":
      "features.0", ..., "dense": "classifier"}` for convolutions (weights with four
      axes) and one linear layer.

    Raises:
      ValueError: names or shapes that are not those of such a chain.
    """
    ranks: dict[str, int] = {}
    for name, array in state_dict.items():
        layer, _, kind = name.rpartition(".")
        is_weight = kind == "weight" and np.ndim(array) in (2, 4) and np.size(array)
        if not is_weight and not (kind == "bias" and f"{layer}.weight" in state_dict):
            raise ValueError(
                f"{name!r} of shape {np.shape(array)} is not a tensor of a chain of"
                " layers: expected the weight [O, I] of a linear layer or [O, I, k, k]"
                " of a convolution, named as 'fc1.weight', or its bias 'fc1.bias'."
            )
        if is_weight:
            ranks[layer] = np.ndim(array)
    dense = _in_order([layer for layer, rank in ranks.items() if rank == 2])
    convolutions = _in_order([layer for layer, rank in ranks.items() if rank == 4])
    if not convolutions:
        return {f"dense_{i}": layer for i, layer in enumerate(dense)}
    if len(dense) != 1:
        raise ValueError(
            f"The convolutions {convolutions} are followed by the linear layers"
            f" {dense}; a CNN has exactly one."
        )
    found = {f"conv_{i}": layer for i, layer in enumerate(convolutions)}
    return {**found, "dense": dense[0]}


def params_from_sequential(state_dict: Mapping[str, np.ndarray]) -> Params:
    """Return the parameters of a chain of layers, those of `networks.mlp` or `.cnn`.

    The names are those of `torch_layers`. PyTorch stores the weight of a linear layer
    as `[O, I]`, of a convolution as `[O, I, k, k]`; kernels are `[I, O]` and `[k, k, I,
    O]`. A linear layer behind convolutions that reads all positions reads them channel
    by channel in PyTorch, here position by position (`readout="flatten"`).

    A state dict does not tell activations, strides, padding or pooling.

    Args:
      state_dict: arrays by name, as `files.load_torch_state_dict` returns them.

    Returns:
      `{"dense_0": {"kernel": [I, O], "bias": [O]}, ...}`, or `{"conv_0": ..., "dense":
      ...}`; without "bias" where no layer has one.

    Raises:
      ValueError: other names, tensors that are not of such layers, some layers without
        bias, or layers that do not follow on each other.
    """
    params: dict[str, dict[str, np.ndarray]] = {}
    written = None
    for name, layer in torch_layers(state_dict).items():
        weight = np.asarray(state_dict[f"{layer}.weight"])
        num_read = weight.shape[1]
        if written is not None:
            positions, rest = divmod(num_read, written[1])
            if rest or positions < 1 or (positions > 1 and name != "dense"):
                raise ValueError(
                    f"Layer {written[0]!r} writes {written[1]} neurons, but {layer!r}"
                    f" reads {num_read}."
                )
            if positions > 1:
                by_channel = weight.reshape(len(weight), written[1], positions)
                weight = by_channel.swapaxes(1, 2).reshape(len(weight), num_read)
        written = layer, len(weight)
        axes = (1, 0) if weight.ndim == 2 else (2, 3, 1, 0)
        params[name] = {"kernel": weight.transpose(axes)}
        if f"{layer}.bias" in state_dict:
            params[name]["bias"] = bias = np.asarray(state_dict[f"{layer}.bias"])
            if bias.shape != (len(weight),):
                raise ValueError(
                    f"Layer {layer!r} has a weight {weight.shape} and a bias"
                    f" {bias.shape}, expected [{len(weight)}]."
                )
    if len({len(entries) for entries in params.values()}) > 1:
        raise ValueError("Some layers have a bias and some have none.")
    return params


def _in_order(layers: list[str]) -> list[str]:
    """Sort names by their numbers, "fc2" before "fc10"; they differ in nothing else."""
    patterns = sorted({re.sub(r"\d+", "*", layer) for layer in layers})
    if len(patterns) > 1:
        raise ValueError(
            f"The state dict holds several modules, {patterns}, and does not say their"
            " order: expected one chain of numbered layers, such as fc1, fc2 or net.0,"
            " net.2."
        )
    numbers = {layer: tuple(map(int, re.findall(r"\d+", layer))) for layer in layers}
    ordered = sorted(layers, key=numbers.__getitem__)
    for one, two in itertools.pairwise(ordered):
        if numbers[one] == numbers[two]:
            raise ValueError(f"Layers {one!r} and {two!r} have the same number.")
    return ordered
