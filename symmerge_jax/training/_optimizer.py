"""AdamW with linear warm-up, a decay of the learning rate and clipping.

The published autoencoders use the same: Kalogeropoulos et al. 2024 (arXiv
2406.10685) and Boufalis et al. 2025 (arXiv 2511.12601) train with AdamW, a linear
warm-up of 1,000 steps, a constant rate after it, and clip the global norm.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

_DECAYS = {
    "constant": lambda p, final: jnp.ones_like(p),
    "linear": lambda p, final: 1.0 - (1.0 - final) * p,
    "cosine": lambda p, final: final + (1.0 - final) * 0.5 * (1 + jnp.cos(jnp.pi * p)),
}


def make_optimizer(
    learning_rate: float,
    num_steps: int,
    warmup_steps: int = 0,
    *,
    schedule: Literal["constant", "cosine", "linear"] = "constant",
    final_fraction: float = 0.0,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Return AdamW with warm-up and clipping, and its learning rate.

    The gradient is clipped to the global norm `clip_norm`, then
    `params -= lr_k (m / (sqrt(v) + eps) + weight_decay params)` with the
    bias-corrected moments `m` and `v`. The decay of weights applies to **all**
    parameters, as in the published code. Flax variables of the collection "constants"
    stay as they are.

    The rate of update `k = 1, ..., num_steps` is `learning_rate min(1, k /
    warmup_steps)` during the warm-up and `learning_rate d(p)` after it, with
    `p = (k - warmup_steps) / (num_steps - warmup_steps)` and `d(p)` one of

    - constant: `1`
    - linear: `1 - (1 - final_fraction) p`
    - cosine: `final_fraction + (1 - final_fraction) (1 + cos(pi p)) / 2`

    Args:
      learning_rate: largest rate, > 0.
      num_steps: steps of the whole run, where the decay of the rate ends.
      warmup_steps: steps until the largest rate; 0 starts with it.
      schedule: shape of the decay.
      final_fraction: last rate as a fraction of the largest, in [0, 1]; unused by the
        constant schedule.
      weight_decay: decoupled weight decay, >= 0.
      clip_norm: largest global norm of the gradient; None for no clipping.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: added to the root of the second moment.
      amsgrad: use the largest second moment so far. Optax takes the maximum after
        the bias correction, PyTorch before it.

    Returns:
      `(optimizer, schedule_fn)`; `schedule_fn(k - 1)` is the rate of update `k`. Pass
      both to `make_train_step`, so that the learning rate is logged.

    Raises:
      ValueError: a value outside its range, or an unknown schedule.

    References:
      Loshchilov and Hutter 2019, arXiv 1711.05101, Algorithm 2; Reddi et al. 2018,
      arXiv 1904.09237, Algorithm 2 (amsgrad).
    """
    _require(learning_rate > 0, "learning_rate must be positive", learning_rate)
    _require(num_steps >= 1, "num_steps must be at least 1", num_steps)
    _require(warmup_steps >= 0, "warmup_steps must not be negative", warmup_steps)
    _require(
        0 <= final_fraction <= 1, "final_fraction must be in [0, 1]", final_fraction
    )
    _require(schedule in _DECAYS, f"schedule must be one of {[*_DECAYS]}", schedule)
    _require(weight_decay >= 0, "weight_decay must not be negative", weight_decay)
    _require(
        clip_norm is None or clip_norm > 0,
        "clip_norm must be positive or None (no clipping)",
        clip_norm,
    )
    _require(0 <= b1 < 1, "b1 must be in [0, 1)", b1)
    _require(0 <= b2 < 1, "b2 must be in [0, 1)", b2)
    if schedule != "constant" and warmup_steps >= num_steps:
        raise ValueError(
            f"warmup_steps={warmup_steps} leaves no step of num_steps={num_steps} for"
            f" the {schedule} decay: shorten the warm-up or use schedule='constant'."
        )

    def schedule_fn(step: Any) -> jax.Array:
        k = jnp.asarray(step + 1, dtype=jnp.result_type(float))
        warmup = jnp.minimum(1.0, k / max(warmup_steps, 1))
        progress = (k - warmup_steps) / max(num_steps - warmup_steps, 1)
        decay = _DECAYS[schedule](jnp.clip(progress, 0.0, 1.0), final_fraction)
        return learning_rate * warmup * decay

    scale_by_moments = optax.scale_by_amsgrad if amsgrad else optax.scale_by_adam
    steps = [
        scale_by_moments(b1=b1, b2=b2, eps=eps),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(schedule_fn),
        optax.masked(optax.set_to_zero(), _constants),
    ]
    if clip_norm is not None:
        steps.insert(0, optax.clip_by_global_norm(clip_norm))
    return optax.chain(*steps), schedule_fn


def _require(is_valid: bool, message: str, value: Any) -> None:
    if not is_valid:
        raise ValueError(f"{message}, got {value!r}.")


def _constants(params: Any) -> Any:
    """Return True for every array below a key "constants", False for the others."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(getattr(k, "key", None) == "constants" for k in path),
        params,
    )
