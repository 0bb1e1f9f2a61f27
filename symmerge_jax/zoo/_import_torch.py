"""State dicts of PyTorch to `Params`."""

import itertools
import re
from collections.abc import Mapping

import numpy as np

from symmerge_jax.typing import Params


def params_from_sequential(state_dict: Mapping[str, np.ndarray]) -> Params:
    """Return the parameters of a chain of linear layers in an `nn.Sequential`.

    The names end in `<number>.weight` and `<number>.bias`, as in `seq.0.weight`,
    `model.net.2.linear.weight`; the numbers give the order. PyTorch stores a weight as
    `[O, I]`; a kernel is its transpose.

    Args:
      state_dict: arrays by name, as `load_torch_state_dict` returns them.

    Returns:
      `{"dense_0": {"kernel": [I, O], "bias": [O]}, ...}`.

    Raises:
      ValueError: other names, a layer without weight or bias, tensors that are not of
        linear layers, or layers that do not follow on each other.
    """
    layers: dict[int, dict[str, np.ndarray]] = {}
    modules = set()
    for name, array in state_dict.items():
        match = re.fullmatch(r"(.*?)(\d+)((?:\.[A-Za-z_]\w*)*)\.(weight|bias)", name)
        if match is None:
            raise ValueError(
                f"{name!r} is no tensor of an nn.Sequential of linear layers: expected"
                " names such as 'seq.0.weight' and 'seq.0.bias'."
            )
        modules.add((match[1], match[3]))
        layers.setdefault(int(match[2]), {})[match[4]] = array
    if len(modules) != 1:
        raise ValueError(
            "The state dict holds several modules, expected one chain of layers:"
            f" {sorted(a + '*' + b for a, b in modules)}."
        )
    params = {}
    for i, number in enumerate(sorted(layers)):
        layer = layers[number]
        if set(layer) != {"weight", "bias"}:
            raise ValueError(f"Layer {number} needs weight and bias, has {set(layer)}.")
        weight, bias = layer["weight"], layer["bias"]
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"Layer {number} is not linear: weight {weight.shape}, bias"
                f" {bias.shape}, expected [O, I] and [O]."
            )
        params[f"dense_{i}"] = {"kernel": weight.T, "bias": bias}
    shapes = [layer["kernel"].shape for layer in params.values()]
    for i, (one, two) in enumerate(itertools.pairwise(shapes)):
        if one[1] != two[0]:
            raise ValueError(
                f"dense_{i} writes {one[1]} neurons, but dense_{i + 1} reads {two[0]}."
            )
    return params
