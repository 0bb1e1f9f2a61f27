"""Maps that are invariant or equivariant to a scalar acting on a feature vector.

A hidden neuron carries a feature vector `x` on which the group acts by one scalar `q`:
`q = +-1` for odd activations, `q > 0` for positively homogeneous ones. With a
*feature map* `c(q x) = c(x)` and an MLP `phi`,

    eq(x) = (x @ W) * phi(c(x)),      eq(q x) = q eq(x)

(Kalogeropoulos et al. 2024, arXiv 2406.10685, section 5). The feature maps are

    symmetrized   rho(x) + rho(-x)       invariant to signs; rho an MLP
    absolute      |x|                    invariant to signs, no parameters
    unit          x / |x|                invariant to positive scales
    ablated       rho(x)                 invariant to nothing: the ablation of the paper
    identity      x                      for neurons on which no group acts

Where a batch mixes networks with signs and networks with scales ("hetero"), each has a
`c` and a `phi` of its own, and a switch per network chooses.

An MLP here is `linear, LayerNorm, SiLU, linear`. All functions compute what is written
above with fewer products: `c(x)` is always read by a linear map, which is merged with
the linear map that `rho` ends in, and the two halves of `rho(x) + rho(-x)` share their
products.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from symmerge_jax.metanets import _affine, _norm_silu
from symmerge_jax.typing import Array, Key, Params

Kind = Literal["symmetrized", "absolute", "unit", "ablated", "identity"]


class FeatureMap(NamedTuple):
    """The map `c` of a feature vector to the representative of its orbit.

    Attributes:
      kind: one of the table above.
      epsilon: for "unit", the constant added to `|x|`. The published code adds 1e-10,
        which breaks the invariance for very small vectors; zero is exact.
      mixed: whether a switch chooses between `kind` and "unit", network by network.
    """

    kind: Kind
    epsilon: float = 0.0
    mixed: bool = False

    @property
    def has_rho(self) -> bool:
        """Whether `c` has an MLP of its own."""
        return self.kind in ("symmetrized", "ablated")

    @property
    def has_scales(self) -> bool:
        """Whether `c` is invariant to the scales of all or of some networks."""
        return self.kind == "unit" or self.mixed

    @property
    def for_scales(self) -> "FeatureMap":
        """What networks with scales have in a mixed batch."""
        return FeatureMap("unit", self.epsilon)


IDENTITY = FeatureMap("identity")
"""For neurons on which no group acts."""


def init_mlp(key: Key, size: int, hidden_size: int, output_size: int) -> Params:
    """Return an MLP `[size] -> [hidden_size] -> [output_size]`.

    `w0`, `b0` are its first linear map, `ln_g`, `ln_b` gain and shift of the LayerNorm,
    `w1`, `b1` the second linear map; kernels are `[in, out]`.
    """
    keys = jax.random.split(key, 4)
    return {
        "w0": _affine.init_linear(keys[0], (size, hidden_size), size),
        "b0": _affine.init_linear(keys[1], (hidden_size,), size),
        "ln_g": jnp.ones((hidden_size,), jnp.float32),
        "ln_b": jnp.zeros((hidden_size,), jnp.float32),
        "w1": _affine.init_linear(keys[2], (hidden_size, output_size), hidden_size),
        "b1": _affine.init_linear(keys[3], (output_size,), hidden_size),
    }


def mlp(params: Params, x: Array | _affine.Factored) -> Array:
    """Return `silu(LayerNorm(x @ w0 + b0)) @ w1 + b1`, `[*rows, I]` to `[*rows, O]`."""
    weight, bias = _norm_silu.centre(params["w0"], params["b0"])
    return after_first(params, _affine.add(_affine.matmul(x, weight), bias))


def after_first(params: Params, x: Array) -> Array:
    """Return the rest of an MLP for the centred outputs `x` of its first linear map."""
    return _affine.add(_affine.matmul(hidden(params, x), params["w1"]), params["b1"])


def hidden(params: Params, x: Array) -> Array:
    """Return the hidden layer of an MLP for the outputs of its centred first map."""
    return _norm_silu.norm_silu(x, params["ln_g"], params["ln_b"])


def equivariant(
    feature_map: FeatureMap,
    params: Params,
    x: Array | _affine.Factored,
    switch: Array | None = None,
) -> Array:
    """Return `(x @ W) * phi(c(x))`, `[*rows, O]`.

    Equivariant to the scalars that `c` is invariant to; with `IDENTITY` it is an
    unconstrained gated map. Takes what `invariant` takes, and `W` `[I, O]` in `params`.
    """
    gate = _affine.matmul(x, params["W"])
    return gate * invariant(feature_map, params, x, switch)


def invariant(
    feature_map: FeatureMap,
    params: Params,
    x: Array | _affine.Factored,
    switch: Array | None = None,
) -> Array:
    """Return `phi(c(x))`, `[*rows, O]`, of `x` `[*rows, I]`.

    Parameters are `phi`, `rho` where `c` has some, and `phi_scale` where `c` is mixed;
    then `x` is `[N, ..., I]`, and `switch` `[N]` is True for networks with scales.
    """

    def value(c, phi):
        weight, bias = _norm_silu.centre(phi["w0"], phi["b0"])
        first = _canonical_linear(c, params.get("rho"), x, weight, bias)
        return after_first(phi, first)

    result = value(feature_map, params["phi"])
    if not feature_map.mixed:
        return result
    scaled = value(feature_map.for_scales, params["phi_scale"])
    return choose(switch, scaled, result)


def choose(switch: Array | None, scaled: Array, signed: Array) -> Array:
    """Return the rows `[N, ..., D]` of the networks with scales or with signs."""
    assert switch is not None
    return jnp.where(switch.reshape(-1, *[1] * (signed.ndim - 1)), scaled, signed)


def canonical_linear(
    feature_map: FeatureMap,
    rho: Params | None,
    x: Array | _affine.Factored,
    weight: Array,
    bias: Array,
    switch: Array | None = None,
) -> Array:
    """Return `c(x) @ weight + bias`, `[*rows, O]`, of `x` `[*rows, I]`.

    `rho` is the MLP `[I] -> [H] -> [I]` of `c`, None where it has none.
    """
    result = _canonical_linear(feature_map, rho, x, weight, bias)
    if not feature_map.mixed:
        return result
    scaled = _canonical_linear(feature_map.for_scales, None, x, weight, bias)
    return choose(switch, scaled, result)


def _canonical_linear(
    feature_map: FeatureMap,
    rho: Params | None,
    x: Array | _affine.Factored,
    weight: Array,
    bias: Array,
) -> Array:
    """Return `c(x) @ weight + bias` for one `c`."""
    kind = feature_map.kind
    if kind == "identity":
        return _affine.add(_affine.matmul(x, weight), bias)
    if kind == "absolute":
        return _affine.add(_affine.matmul(jnp.abs(_affine.dense(x)), weight), bias)
    if kind == "unit":
        inverse = inverse_norm(_affine.dense(x), feature_map.epsilon)
        return _affine.add(_affine.matmul(x, weight) * inverse, bias)
    assert rho is not None
    rho_weight, rho_bias = _norm_silu.centre(rho["w0"], rho["b0"])
    first = _affine.matmul(x, rho_weight)
    if kind == "symmetrized":
        values = _norm_silu.norm_silu_even(first, rho_bias, rho["ln_g"], rho["ln_b"])
        constant = 2 * rho["b1"]
    else:
        values = hidden(rho, _affine.add(first, rho_bias))
        constant = rho["b1"]
    return _affine.add(
        _affine.matmul(values, rho["w1"] @ weight), constant @ weight + bias
    )


def inverse_norm(x: Array, epsilon: float = 0.0) -> Array:
    """Return `1 / (|x| + epsilon)` with finite gradients everywhere, 1 where `x = 0`.

    The vector is divided by its largest entry first, so nothing overflows or underflows
    and `x * inverse_norm(x)` has the same bits for `x` and any power of two times `x`.

    Args:
      x: `[*rows, D]`.
      epsilon: absolute constant of the published code (1e-10), which breaks the
        invariance for very small vectors; zero is exact.

    Returns:
      `[*rows, 1]`.
    """
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    largest = jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1))
    square = jnp.sum((x / largest) ** 2, axis=-1, keepdims=True)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1))
    return 1 / (norm + epsilon / largest) / largest
