"""The value that stands for one architecture of studied networks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from symmerge_jax import symmetry
from symmerge_jax.networks import _describe
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
      example: inputs of the kind that `apply` takes, for certificates; arrays, or
        shapes where values are not known. None for random numbers of `input_shape`.
      pinned: axes of parameters whose entries are told apart, each with the reason;
        empty where the spec was written by hand.
      linear: spaces on which whole matrices act, and which: "general" for any that are
        invertible, as no operation but linear ones touches the space, "orthogonal" for
        rotations, as sums of squares do, too. The spec holds their monomial part.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]
    activations: Mapping[str, str]
    spec: symmetry.SymmetrySpec
    features: Callable[[Params, Array], dict[str, Array]]
    input_shape: tuple[int, ...]
    example: Any = None
    pinned: tuple[tuple[str, str], ...] = ()
    linear: tuple[tuple[str, str], ...] = ()

    def describe(self, params: Params | None = None) -> str:
        """Return the spaces, their groups and where parameters have them, as text.

        Args:
          params: parameters of one network, or their shapes, that tell the sizes; None
            for those of `init`, or those that the spec knows.
        """
        return _describe.describe(
            self.spec, self._shapes(params), self.pinned, dict(self.linear)
        )

    def diagram(self, params: Params | None = None) -> dict[str, Any]:
        """Return the spaces and what links them: arguments of `plots.space_diagram`.

        Args:
          params: as for `describe`.
        """
        return _describe.diagram(self.spec, self._shapes(params))

    def _shapes(self, params: Params | None) -> Params | None:
        if params is not None or all(s.size or s.follows for s in self.spec.spaces):
            return params
        return jax.eval_shape(self.init, jax.random.key(0))
