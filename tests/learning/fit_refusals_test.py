"""What trainings refuse before any work, and what they choose where nothing is said."""

import dataclasses

import jax
import numpy as np
import pytest

from symmerge_jax import learning, zoo
from tests.learning import small
from tests.learning.fit_test import fit_inrs


def not_finite():
    inrs = small.make_zoo(small.SIREN)
    params = jax.tree.map(np.array, inrs.params)
    params["dense_0"]["bias"][3] = np.nan
    return dataclasses.replace(inrs, params=params)


REFUSED = {
    "batch": (
        lambda at: fit_inrs(at, small.options(batch_size=19)),
        "A batch of 19 is larger than the 18 networks",
    ),
    "encoder": (
        lambda at: fit_inrs(at, small.options(), encoder={"kind": "x"}),
        "Unknown encoder kind 'x'",
    ),
    "loss": (
        lambda at: fit_inrs(at, small.options(), loss="mse"),
        "loss is 'mse', known are",
    ),
    "rate": (
        lambda at: fit_inrs(at, small.options(learning_rate=-1.0)),
        "learning_rate must be positive",
    ),
    "nan": (
        lambda at: learning.fit_canonicalizer(not_finite(), at),
        "Network 3 of the zoo has NaN",
    ),
    "no images": (
        lambda at: learning.fit_canonicalizer(small.make_zoo(small.MLP), at),
        "give images as inputs",
    ),
    "other images": (
        lambda at: learning.fit_canonicalizer(
            small.make_zoo(small.MLP), at, inputs=small.IMAGES[:, :2]
        ),
        r"The network reads inputs \[S, 3\]",
    ),
    "no pixels": (
        lambda at: learning.fit_canonicalizer(
            dataclasses.replace(small.make_zoo(small.SIREN), images=None), at
        ),
        "give coordinates as inputs",
    ),
    "targets": (
        lambda at: learning.fit_predictor(
            small.make_zoo(small.MLP), np.arange(3) % 2, at
        ),
        r"one entry for each of 20 networks, got the shape \(3,\)",
    ),
    "no labels": (
        lambda at: learning.fit_matcher(small.make_zoo(small.MLP), at),
        "need images as inputs, and their labels",
    ),
    "lonely": (
        lambda at: learning.fit_matcher(
            zoo.select(small.make_zoo(small.SIREN), np.arange(0, 20, 2)),
            at,
            val_fraction=0.2,
        ),
        "no two validation networks to pair",
    ),
    "losses": (
        lambda at: learning.fit_matcher(
            small.make_zoo(small.SIREN),
            at,
            features=small.FEATURES,
            weights=learning.LossWeights(0.0, 0.0, 0.0),
        ),
        "losses must be >= 0 and not all zero",
    ),
}


@pytest.mark.parametrize(("fit", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_before_any_work(tmp_path, fit, message):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["num_steps", "batch_size", "log_every"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        small.options(**{name: 0})


@pytest.mark.parametrize(
    ("num_examples", "num_steps", "batch_size", "warmup_steps"),
    [(1000, 1000, 64, 50), (18, 200, 18, 20), (18, 3, 18, 0)],
)
def test_what_is_left_open_fits_small_zoos_and_few_steps(
    num_examples, num_steps, batch_size, warmup_steps
):
    options = learning.FitOptions(num_steps=num_steps).resolve(num_examples)
    assert (options.batch_size, options.warmup_steps) == (batch_size, warmup_steps)
    given = learning.FitOptions(batch_size=8, warmup_steps=2)
    assert given.resolve(num_examples) == given
    parts = learning.FitOptions(num_microbatches=4).resolve(num_examples)
    assert parts.batch_size == min(64, num_examples // 4 * 4)


@pytest.mark.parametrize(
    "fit",
    [
        learning.fit_canonicalizer,
        learning.fit_matcher,
        lambda params, at: learning.fit_predictor(params, np.zeros(3), at),
    ],
)
def test_networks_that_are_not_a_zoo_are_refused(tmp_path, fit, unchecked):
    params = dict(small.make_zoo(small.MLP).params)
    with pytest.raises(TypeError, match=r"a zoo\.Zoo, got dict: make one with zoo"):
        fit(params, tmp_path / "run")
