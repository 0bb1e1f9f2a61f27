import numpy as np
import pytest

from symmerge_jax import zoo


@pytest.mark.parametrize("batch_size, num_examples", [(4, 12), (5, 12), (12, 12)])
def test_every_epoch_holds_every_example_once(batch_size, num_examples):
    stream = np.concatenate(
        [zoo.batch_indices(3, s, batch_size, num_examples) for s in range(36)]
    )
    epochs = stream[: len(stream) // num_examples * num_examples]
    epochs = epochs.reshape(-1, num_examples)
    for epoch in epochs:
        assert sorted(epoch) == list(range(num_examples))
    assert not np.array_equal(epochs[0], epochs[1])


def test_batch_follows_from_seed_and_step():
    one = zoo.batch_indices(0, 1000, 7, 50)
    one_again = zoo.batch_indices(0, 1000, 7, 50)
    np.testing.assert_array_equal(one, one_again)
    assert not np.array_equal(one, zoo.batch_indices(1, 1000, 7, 50))
    one[:] = 0
    np.testing.assert_array_equal(zoo.batch_indices(0, 1000, 7, 50), one_again)


def test_impossible_batches_are_refused():
    with pytest.raises(ValueError, match="batch of 9 is larger than the 8 networks"):
        zoo.batch_indices(0, 0, 9, 8)
    with pytest.raises(ValueError, match="at least 1"):
        zoo.batch_indices(0, 0, 0, 8)
