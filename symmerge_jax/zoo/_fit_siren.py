"""Fit many SIRENs to many images, or signals, at once.

Each network starts from its own random initialisation and takes Adam steps (Kingma &
Ba, arXiv 1412.6980, with Nesterov momentum) on a random sub-grid of pixels; in the end
its linear output layer is solved by least squares on all pixels. The tensors have
learning rates of their own, chosen by random search for the fewest steps to 24 dB on
MNIST such that the weights keep the spread of published ones (Navon et al., 2023, arXiv
2301.12780). Networks are independent: how one comes out does not depend on the others.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from symmerge_jax import networks
from symmerge_jax.typing import Key, Params
from symmerge_jax.zoo import _siren_gradient

# Learning rates. Those of sine layers are in radians: they are divided by `w0`.
_FIRST_KERNEL, _FIRST_BIAS = 0.5, 0.2
_HIDDEN_KERNEL, _HIDDEN_BIAS = 0.2, 0.03
_OUTPUT = 0.008

_State = tuple[Params, optax.OptState, Array]
"""Parameters, state of Adam, and for each network 1 while it is fitted, then 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SirenOptions:
    """How SIRENs are fitted.

    Attributes:
      num_steps: Adam steps, at most.
      target_psnr: PSNR in dB on the full grid at which a network stops, or None to
        take all the steps.
      check_every: steps between two looks at the full grid; used with `target_psnr`.
      stride: every step sees one random row of each `stride` neighbouring rows, and so
        for columns; 1 is the full grid.
      learning_rate: common factor of the learning rates of all tensors.
      warmup: part of the steps in which the learning rate rises linearly.
      decay: learning rate in the end as a part of the largest; cosine in between.
      output_ridge: penalty of the final least squares for the output layer, or None for
        no least squares.
      shared_init: whether all networks of a zoo start from one initialisation, that of
        its first network, so that their weights can be compared as they are.
      group_size: networks fitted together, or None: 4 on CPUs, so that activations
        stay in the cache, and a whole chunk elsewhere.
    """

    num_steps: int = 150
    target_psnr: float | None = None
    check_every: int = 25
    stride: int = 2
    learning_rate: float = 1.0
    warmup: float = 0.05
    decay: float = 0.05
    output_ridge: float | None = 1e-4
    shared_init: bool = False
    group_size: int | None = None

    def __post_init__(self):
        for name in ("num_steps", "check_every", "stride", "group_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        for name in ("learning_rate", "output_ridge"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}.")
        for name in ("warmup", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} must lie in [0, 1], got {getattr(self, name)}."
                )


def fit_sirens(
    key: Key,
    indices: Int[Array, " N"],
    images: Float[Array, "N H W"],
    architecture: Mapping[str, Any],
    options: SirenOptions,
) -> tuple[Params, dict[str, Array]]:
    """Fit one SIREN to each image, or to each signal, an image of one row.

    The initialisation of a network follows from `key` and its number in the zoo alone,
    or from `key` if it is shared; the sub-grids follow from `key` and are those of all
    networks.

    Returns:
      The stacked parameters, and per network `psnr` (dB for a peak of 1, full grid, at
      most 120) and `num_steps`.
    """
    network = networks.build(architecture)
    factors = [space.frequency or 1.0 for space in network.spec.spaces[1:-1]]
    offset = architecture.get("output_offset", 0.5)
    height, width = images.shape[1:]
    targets = images.reshape(len(images), -1)
    grid = jnp.asarray(networks.coordinate_grid(height, width))
    init_key, pixel_key = jax.random.split(key)
    adam = optax.scale_by_adam(b1=0.9, b2=0.92, nesterov=True)
    rates = _learning_rates(factors, options.learning_rate)

    # Drawn before the loop: random numbers are slow to compile.
    sub_grids = jax.vmap(lambda k: _sub_grid(k, height, width, options.stride))(
        jax.random.split(pixel_key, options.num_steps)
    )

    def step(state: _State, index: Array) -> tuple[_State, None]:
        params, adam_state, active = state
        pixels = sub_grids[index]
        _, gradient = _siren_gradient.loss_and_gradient(
            params, grid[pixels], targets[:, pixels], factors, offset
        )
        updates, adam_state = adam.update(gradient, adam_state)
        rate = active * _schedule(index, options)
        params = jax.tree.map(
            lambda p, r, u: p - (rate * r).reshape(-1, *[1] * (p.ndim - 1)) * u,
            params,
            rates,
            updates,
        )
        return (params, adam_state, active), None

    def psnr(params: Params) -> Array:
        mse = _siren_gradient.mean_squared_error(params, grid, targets, factors, offset)
        return -10 * jnp.log10(jnp.maximum(mse, 1e-12))

    starts = jnp.zeros_like(indices) if options.shared_init else indices
    params = jax.vmap(lambda i: network.init(jax.random.fold_in(init_key, i)))(starts)
    state = (params, adam.init(params), jnp.ones(len(images)))
    target = options.target_psnr
    if target is None:
        state, _ = lax.scan(step, state, jnp.arange(options.num_steps))
        num_steps = jnp.full(len(images), options.num_steps)
    else:
        state, num_steps = _fit_to_target(
            step, lambda params: psnr(params) < target, state, options
        )
    params = state[0]
    if options.output_ridge is not None:
        params = _siren_gradient.solve_output_layer(
            params, grid, targets, factors, offset, options.output_ridge
        )
    return params, {"psnr": psnr(params), "num_steps": num_steps}


def _fit_to_target(
    step: Callable[[_State, Array], tuple[_State, None]],
    misses: Callable[[Params], Array],
    state: _State,
    options: SirenOptions,
) -> tuple[_State, Array]:
    """Take steps until each network has its target or no steps are left."""

    def unfinished(carry: tuple[_State, Array, Array]) -> Array:
        (_, _, active), _, start = carry
        return (start < options.num_steps) & jnp.any(active > 0)

    def some_steps(carry: tuple[_State, Array, Array]) -> Any:
        (params, adam_state, active), num_steps, start = carry
        stop = jnp.minimum(start + options.check_every, options.num_steps)
        params, adam_state, _ = lax.fori_loop(
            start, stop, lambda i, s: step(s, i)[0], (params, adam_state, active)
        )
        num_steps = num_steps + ((stop - start) * active).astype(num_steps.dtype)
        active = active * misses(params)
        return (params, adam_state, active), num_steps, stop

    num_steps = jnp.zeros(len(state[2]), jnp.int32)
    state, num_steps, _ = lax.while_loop(unfinished, some_steps, (state, num_steps, 0))
    return state, num_steps


def _learning_rates(factors: Sequence[float], common: float) -> Params:
    """Return the learning rate of every tensor, as a tree like the parameters."""
    rates = {}
    for i, factor in enumerate(factors):
        kernel = _HIDDEN_KERNEL if i else _FIRST_KERNEL
        bias = _HIDDEN_BIAS if i else _FIRST_BIAS
        rates[f"dense_{i}"] = {"kernel": kernel / factor, "bias": bias / factor}
    rates[f"dense_{len(factors)}"] = {"kernel": _OUTPUT, "bias": _OUTPUT}
    return jax.tree.map(lambda rate: common * rate, rates)


def _schedule(step: Array, options: SirenOptions) -> Array:
    """Return the learning rate at a step as a part of the largest."""
    warm = jnp.minimum(1.0, (step + 1) / max(1.0, options.warmup * options.num_steps))
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * step / options.num_steps))
    return warm * (options.decay + (1 - options.decay) * cosine)


def _sub_grid(key: Key, height: int, width: int, stride: int) -> Array:
    """Return pixel numbers of a row and column drawn from each block of `stride`."""

    def draw(key: Key, size: int) -> Array:
        num_blocks = -(-size // stride)
        edges = jnp.arange(num_blocks + 1) * size // num_blocks
        part = jax.random.uniform(key, (num_blocks,))
        return edges[:-1] + jnp.floor(part * jnp.diff(edges)).astype(edges.dtype)

    row_key, column_key = jax.random.split(key)
    rows, columns = draw(row_key, height), draw(column_key, width)
    return (rows[:, None] * width + columns[None]).reshape(-1)
