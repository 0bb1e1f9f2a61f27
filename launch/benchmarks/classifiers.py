"""CNN classifiers per minute of the zoo generator, against one network at a time.

Needs MNIST (in $SYMMERGE_DATA_DIR/mnist, or downloaded). The baseline is what one would
write first: JAX's convolution, a jitted step of Adam, a Python loop over steps and
networks, with the same recipe. The same loop with our network, and the generator with
one worker, tell what each part is worth.
"""

import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from symmerge_jax import networks, zoo

OPTIONS = zoo.ZooOptions(
    num_steps=300,
    decay=False,
    learning_rate=(5e-3, 5e-3),
    init_scale=(1.0, 1.0),
    l2reg=(1e-8, 1e-8),
    train_fractions=(1.0,),
)
NUM_BASELINE = 4
SIZE = (64, 28, 28)
"""Images of a step."""


def run(num_networks: int = 128) -> dict[str, Any]:
    """Measure generator and baselines on MNIST.

    Args:
      num_networks: CNNs to make.

    Returns:
      Networks per minute after compilation and median test accuracies of each, ratios,
      and the generator's GFLOP/s.
    """
    data_dir = os.environ.get("SYMMERGE_DATA_DIR")
    train, test = (
        zoo.load_images("mnist", part, data_dir) for part in ("train", "test")
    )
    result: dict[str, Any] = {"num_steps": OPTIONS.num_steps, "batch_size": SIZE[0]}
    times = []

    def on_chunk(done, total, stats):
        del total, stats
        times.append((time.perf_counter(), done))

    made = zoo.generate_classifier_zoo(
        train,
        test,
        num_networks=num_networks,
        options=OPTIONS,
        chunk_size=8,
        on_chunk=on_chunk,
    )
    # The first chunks compile; both workers are busy from then on.
    workers = os.cpu_count() or 1
    (begin, before), (end, after) = times[workers], times[-1]
    result["generator_per_minute"] = 60 * (after - before) / (end - begin)
    result["generator_accuracy"] = float(np.median(made.metrics["test_accuracy"]))
    data = [(networks.classifier_inputs(x.images), x.labels) for x in (train, test)]
    network = networks.build(zoo.SMALL_CNN)
    for name, apply in (("loop", _convolutions), ("loop_patches", network.apply)):
        seconds, accuracies = _train_one_by_one(network.init, apply, *data)
        result[f"{name}_per_minute"] = 60 / seconds
        result[f"{name}_accuracy"] = float(np.median(accuracies))
        result[f"ratio_to_{name}"] = result["generator_per_minute"] * seconds / 60
    flops = _flops_per_step(network) * OPTIONS.num_steps
    result["generator_gflops"] = flops * result["generator_per_minute"] / 60e9
    return result


def _train_one_by_one(init, apply, train, test):
    """Return the median seconds per network, and test accuracies."""
    inputs, labels = (jnp.asarray(x) for x in train)
    optimizer = optax.adam(OPTIONS.learning_rate[0])

    def loss_fn(params, rows):
        logits = apply(params, inputs[rows])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows])
        return jnp.mean(losses)

    @jax.jit
    def step(params, opt_state, rows):
        gradients = jax.grad(loss_fn)(params, rows)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state

    accuracy = jax.jit(
        lambda params: networks.evaluate_classifier(apply, params, *test)["accuracy"]
    )
    seconds, accuracies = [], []
    for number in range(NUM_BASELINE + 1):
        generator = np.random.default_rng(number)
        shape = (OPTIONS.num_steps, OPTIONS.batch_size)
        order = generator.integers(0, len(inputs), shape).astype(np.int32)
        params = init(jax.random.key(number))
        start = time.perf_counter()
        opt_state = optimizer.init(params)
        for rows in order:
            params, opt_state = step(params, opt_state, rows)
        accuracies.append(float(accuracy(params)))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:])), accuracies[1:]  # the first one compiles


def _convolutions(params, x):
    for name in ("conv_0", "conv_1", "conv_2"):
        layer = params[name]
        dimensions = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(
            x, layer["kernel"], (2, 2), "VALID", dimension_numbers=dimensions
        )
        x = jax.nn.relu(x + layer["bias"])
    x = jnp.mean(x, axis=(1, 2))
    return x @ params["dense"]["kernel"] + params["dense"]["bias"]


def _flops_per_step(network) -> float:
    """Return multiplications and additions of the convolutions of one step.

    Forward, and twice that backward, but for the gradient of the images.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    side, flops = SIZE[1], 0.0
    for number in range(3):
        kernel = shapes[f"conv_{number}"]["kernel"].shape
        side = (side - kernel[0]) // 2 + 1
        passes = 2 if number == 0 else 3
        flops += passes * 2 * SIZE[0] * side**2 * float(np.prod(kernel))
    return flops
