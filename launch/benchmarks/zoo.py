"""Networks per second of the zoo generator, against fitting one network at a time.

Needs MNIST (in $SYMMERGE_DATA_DIR/mnist, or downloaded). The baseline is what one would
write first: `networks.siren`, autodiff, Adam with the best of some constant learning
rates on the full grid, one network after the other, all its steps in one compiled
program. It is timed for as many steps as it needs to the PSNR that is asked for.
"""

import itertools
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from symmerge_jax import networks, zoo

TARGET_PSNR = 24.0
LEARNING_RATES = (1e-3, 2e-3, 3e-3, 5e-3)
NUM_BASELINE = 8
MAX_STEPS = 600


def run(num_networks: int = 2000) -> dict[str, Any]:
    """Measure the generator and the baseline.

    Args:
      num_networks: MNIST-INRs to make.

    Returns:
      Seconds (with compilation), mean PSNR in dB and networks per second of the MNIST
      and the digits zoo, and GFLOP/s of its products; networks per second, steps and
      learning rate of the baseline; and the ratio of the two rates.
    """
    data_dir = os.environ.get("SYMMERGE_DATA_DIR")
    mnist = zoo.load_images("mnist", "train", data_dir, num_images=num_networks)
    digits = zoo.load_images("digits", "all")
    small = zoo.SirenOptions(num_steps=40, stride=1, output_ridge=None)
    result = {**_measure("mnist", mnist, zoo.SirenOptions())}
    result |= _measure("digits", digits, small)
    result |= _baseline(networks.to_unit_range(mnist.images[:NUM_BASELINE]))
    result["ratio"] = result["mnist_per_second"] / result["baseline_per_second"]
    return result


def _measure(name, image_set, options):
    start = time.perf_counter()
    made = zoo.generate_siren_zoo(image_set, options=options)
    seconds = time.perf_counter() - start
    return {
        f"{name}_networks": len(made),
        f"{name}_seconds": seconds,
        f"{name}_per_second": len(made) / seconds,
        f"{name}_gflops": len(made) / seconds * _flops(image_set, options) / 1e9,
        f"{name}_psnr": float(np.mean(made.metrics["psnr"])),
        **{
            f"{name}_std_{'_'.join(path)}": std
            for path, (_, std) in zoo.statistics(made).items()
        },
    }


def _flops(image_set, options) -> float:
    """Return multiplications and additions in the products of one fit.

    Six for each weight, pixel and step: forward, and twice that backward. The sines and
    cosines, one of each per neuron and pixel, are not counted.
    """
    height, width = image_set.images.shape[1:]
    pixels = -(-height // options.stride) * -(-width // options.stride)
    sizes = zoo.SIREN["layer_sizes"]
    num_weights = sum(m * n for m, n in itertools.pairwise(sizes))
    return 6.0 * num_weights * pixels * options.num_steps


def _baseline(images):
    network = networks.build(zoo.SIREN)
    grid = jnp.asarray(networks.coordinate_grid(*images.shape[1:]))
    targets = jnp.asarray(images.reshape(len(images), -1))

    def fit(key, target, learning_rate, num_steps):
        def loss_fn(params):
            return jnp.mean((network.apply(params, grid)[:, 0] - target) ** 2)

        def step(state, _):
            params, adam_state = state
            loss, gradient = jax.value_and_grad(loss_fn)(params)
            updates, adam_state = adam.update(gradient, adam_state)
            updates = jax.tree.map(lambda u: -learning_rate * u, updates)
            return (optax.apply_updates(params, updates), adam_state), loss

        adam = optax.scale_by_adam()
        params = network.init(key)
        return jax.lax.scan(step, (params, adam.init(params)), None, length=num_steps)

    fit = jax.jit(fit, static_argnames="num_steps")
    keys = jax.random.split(jax.random.key(0), len(targets))
    needed = {}
    for rate in LEARNING_RATES:
        losses = [
            fit(k, t, rate, MAX_STEPS)[1] for k, t in zip(keys, targets, strict=True)
        ]
        psnr = -10 * np.log10(np.stack(losses)).mean(axis=0)
        reached = np.flatnonzero(psnr >= TARGET_PSNR)
        needed[rate] = int(reached[0]) if reached.size else MAX_STEPS
    rate = min(needed, key=lambda r: needed[r])
    timing.once(fit, keys[0], targets[0], rate, needed[rate])  # compiles
    seconds = sum(
        timing.once(fit, key, target, rate, needed[rate])
        for key, target in zip(keys, targets, strict=True)
    )
    return {
        "baseline_learning_rate": rate,
        "baseline_steps": needed[rate],
        "baseline_per_second": len(targets) / seconds,
    }
