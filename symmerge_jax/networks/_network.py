"""The value that stands for one architecture of studied networks."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from symmerge_jax import symmetry
from symmerge_jax.typing import Array, Key, Params


class Network(NamedTuple):
    """An architecture as pure functions.

    Those of this package can be pickled and copied, for `joblib` or `multiprocessing`.
    Functions are compared by identity, as everywhere in Python, and so are networks: a
    copy computes the same, but is not equal.

    Attributes:
      init: `init(key) -> params`, fresh parameters of one network.
      apply: `apply(params, x) -> y`, from inputs `[S, *input_shape]` to outputs
        `[S, O]`.
      activations: name of the activation behind each hidden space.
      spec: the symmetry of its parameters.
      features: `features(params, x) -> {space: [S, n]}`, the values of every hidden
        space behind its activation; of images `[S, height, width, n]`.
      input_shape: shape of one input: `(I,)`, or `(H, W, C)` of an image.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]
    activations: Mapping[str, str]
    spec: symmetry.SymmetrySpec
    features: Callable[[Params, Array], dict[str, Array]]
    input_shape: tuple[int, ...]
