"""What, of two aligned networks, foretells the loss of their mean.

Weight matching has a local optimum for each start. Those of many starts are ranked by
what can be known of an element without a label, and the ranks are compared with those
of the losses at the midpoint. Needs $SYMMERGE_DATA_DIR (MNIST).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from benchmarks import matching_apart
from symmerge_jax import alignment, networks, symmetry
from symmerge_jax.typing import Array, Params

SIZES = (784, 400, 200, 100, 10), (784, 128, 128, 128, 10)

NUM_SAMPLES = 500


def run(*, num_starts: int = 60, num_epochs: int = 4) -> dict[str, Any]:
    """Rank the local optima of one pair of MLPs of each size by every criterion.

    Args:
      num_starts: optima; the first is that of "outward", the second of "identity".
      num_epochs: passes over the 60,000 training images, by Adam.

    Returns:
      As `table`, for each size and criterion, Spearman's correlation with the loss at
      the midpoint, and the accuracy of the midpoint that it would choose; as
      `midpoints`, by size, the range of these.
    """
    train, test = (matching_apart.examples(split) for split in ("train", "test"))
    table, midpoints = [], []
    for sizes in SIZES:
        network, pair = matching_apart.train_apart(sizes, train, num_epochs)
        rows = _optima(network, pair, train[0][:NUM_SAMPLES], test, num_starts)
        loss = np.array([row.pop("loss") for row in rows])
        accuracy = np.array([row.pop("accuracy") for row in rows])
        midpoints.append(
            {
                "layer_sizes": sizes,
                "accuracy_of_starts": dict(
                    outward=accuracy[0],
                    identity=accuracy[1],
                    median=float(np.median(accuracy)),
                    best=accuracy.max(),
                ),
            }
        )
        for name in rows[0]:
            values = np.array([row[name] for row in rows])
            table.append(
                {
                    "hidden": "-".join(map(str, sizes[1:-1])),
                    "criterion": name,
                    "spearman": np.corrcoef(*map(stats.rankdata, (values, loss)))[0, 1],
                    "accuracy_chosen": accuracy[values.argmin()],
                }
            )
    return {"num_starts": num_starts, "midpoints": midpoints, "table": table}


def _optima(network, pair, inputs, test, num_starts) -> list[dict[str, float]]:
    """Return the measures of each midpoint, and all criteria."""
    spec = network.spec
    a, b = (
        symmetry.act(symmetry.balance_scales(params, spec), params, spec)
        for params in pair
    )
    noise = np.random.default_rng(0).normal(size=inputs.shape).astype(np.float32)
    samples = {"data": inputs, "noise": noise}
    influence = {
        f"{name} of {kind}": _influence(network, a, x, **options)
        for kind, x in samples.items()
        for name, options in _INFLUENCES.items()
    }
    score = jax.jit(functools.partial(networks.evaluate_classifier, network.apply))
    apply = jax.jit(network.apply)
    problem = alignment.AlignmentProblem(params_a=a, params_b=b, spec=spec)
    rows = []
    for number in range(num_starts):
        starts = alignment.WeightMatching().starts[number : number + 1]
        solver = alignment.WeightMatching(
            starts=starts, num_random_starts=0 if starts else 1, tolerance=0.0
        )
        found = solver(jax.random.key(number), problem)
        moved = symmetry.act(jax.tree.map(jnp.asarray, found.element), b, spec)
        mean = jax.tree.map(lambda x, y: (x + y) / 2, a, moved)
        row = {name: float(x) for name, x in score(mean, *test).items()}
        squares = jax.tree.map(lambda x, y: (x - y) ** 2, a, moved)
        row["distance"] = float(sum(x.sum() for x in jax.tree.leaves(squares)))
        for name, weights in influence.items():
            terms = jax.tree.map(lambda x, w: (x * w).sum(), squares, weights)
            row[f"distance, {name}"] = float(sum(jax.tree.leaves(terms)))
        for kind, x in samples.items():
            parents = (apply(a, x) + apply(moved, x)) / 2
            row[f"outputs on {kind}"] = float(((apply(mean, x) - parents) ** 2).mean())
        rows.append(row)
    return rows


_INFLUENCES = {
    "by what reads": dict(by_inputs=False),
    "by inputs and what reads": dict(by_inputs=True),
}


def _influence(network, params: Params, x: Array, *, by_inputs: bool) -> Params:
    """Return the mean squared effect on the outputs of a change of each weight.

    Of the first order, by the derivatives of outputs by the values before activations;
    with `by_inputs` times the second moments of what a weight is multiplied by.
    """

    def outputs(shifts):
        shifted = {
            layer: {**own, "bias": own["bias"] + shifts[layer]}
            for layer, own in params.items()
        }
        return lambda x: network.apply(shifted, x[None])[0]

    none = {layer: jnp.zeros_like(own["bias"]) for layer, own in params.items()}
    slopes = jax.vmap(jax.jacrev(lambda shifts, x: outputs(shifts)(x)), (None, 0))
    effect = {k: (s**2).mean(0).sum(0) for k, s in slopes(none, x).items()}
    features = {"in": x, **network.features(params, x)}
    inputs = ["in", *(space.name for space in network.spec.matched_spaces)]
    moments = [
        (features[name] ** 2).mean(0)
        if by_inputs
        else jnp.ones(features[name].shape[1])
        for name in inputs
    ]
    return {
        layer: {"kernel": moment[:, None] * effect[layer], "bias": effect[layer]}
        for layer, moment in zip(params, moments, strict=True)
    }
