"""The order of training examples as a function of the step.

There is no iterator and no state: the batch of any step can be asked for, so a resumed
run sees the examples that the uninterrupted run would have seen.
"""

import functools

import numpy as np


def batch_indices(
    seed: int, step: int, batch_size: int, num_examples: int
) -> np.ndarray:
    """Return the examples of one training step.

    Every epoch is a permutation of all examples that follows from the seed and the
    epoch's number. Batches are cut from the stream of epochs, so that a batch may hold
    the end of one epoch and the start of the next, and no example is left out.

    Args:
      seed: seed of the order, at least 0.
      step: number of the step, from 0.
      batch_size: examples per step.
      num_examples: examples in all.

    Returns:
      `[batch_size]` int64 numbers in `0..num_examples - 1`.

    Raises:
      ValueError: a batch larger than the zoo, or a size below 1.

    Example:
      >>> first = [batch_indices(0, step, 2, 6) for step in range(3)]
      >>> sorted(np.concatenate(first).tolist())
      [0, 1, 2, 3, 4, 5]
    """
    if batch_size < 1 or step < 0 or seed < 0:
        raise ValueError(
            f"batch_size must be at least 1, step and seed at least 0, got"
            f" {batch_size}, {step} and {seed}."
        )
    if batch_size > num_examples:
        raise ValueError(
            f"A batch of {batch_size} is larger than the {num_examples} networks to"
            " draw from. Use a smaller batch or a larger zoo."
        )
    first_epoch, start = divmod(step * batch_size, num_examples)
    order = _epoch(seed, first_epoch, num_examples)[start : start + batch_size]
    if len(order) < batch_size:
        rest = _epoch(seed, first_epoch + 1, num_examples)[: batch_size - len(order)]
        order = np.concatenate([order, rest])
    return order.copy()


@functools.lru_cache(maxsize=8)
def _epoch(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Return the permutation of one epoch."""
    return np.random.Generator(np.random.PCG64((seed, epoch))).permutation(num_examples)
