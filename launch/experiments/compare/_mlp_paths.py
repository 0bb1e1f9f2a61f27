"""Align a pair of classifiers and measure the straight path between them."""

import functools
import time
from typing import Any

import jax
import numpy as np

from symmerge_jax import alignment, merging, networks, symmetry

MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""What is measured at every point of a path: losses in nats, accuracies in [0, 1]."""


def make_problem(
    network: networks.Network, params_a: Any, params_b: Any, data: Any
) -> alignment.AlignmentProblem:
    """Return the problem of a pair; `data` is None for methods that use none."""
    if data is None:
        return alignment.AlignmentProblem(
            params_a=params_a, params_b=params_b, spec=network.spec
        )

    def features(params, data):
        return network.features(params, data["inputs"])

    def loss(params, data):
        measures = networks.evaluate_classifier(
            network.apply, params, data["inputs"], data["labels"]
        )
        return measures["loss"]

    return alignment.AlignmentProblem(
        params_a=params_a,
        params_b=params_b,
        spec=network.spec,
        data={"inputs": data.train_inputs, "labels": data.train_labels},
        features_fn=features,
        loss_fn=loss,
    )


def align_pair(
    network: networks.Network,
    aligner: alignment.Aligner,
    problem: alignment.AlignmentProblem,
    key: Any,
) -> tuple[Any, dict[str, Any]]:
    """Return the second network moved onto the first, and how that went.

    Args:
      network: the architecture of both.
      aligner: the solver.
      problem: the pair, with data and functions where the solver needs them.
      key: random key.

    Returns:
      The moved parameters; and `seconds` (of the compiled solver), `objective` (what
      the solver minimises, its own unit), `start_objectives`, `num_iters`, `converged`
      and `function_error`, the largest change of an output relative to the largest
      output, in float64.
    """
    program = jax.jit(aligner).lower(key, problem).compile()
    start = time.perf_counter()
    result = jax.block_until_ready(program(key, problem))
    seconds = time.perf_counter() - start
    proof = alignment.certify(
        network.apply, problem.params_b, result.element, network.spec
    )
    proof.require("The aligned network")
    moved = symmetry.act(result.element, problem.params_b, network.spec)
    return jax.device_get(moved), {
        "seconds": seconds,
        "objective": float(result.objective[-1]),
        "start_objectives": np.asarray(result.start_objectives).tolist(),
        "num_iters": int(result.num_iters),
        "converged": bool(result.converged),
        "function_error": float(proof.max_difference / proof.output_scale),
    }


def measure_path(
    network: networks.Network, params_a: Any, params_b: Any, data: Any, num_points: int
) -> dict[str, Any]:
    """Measure the networks on the line from `a` (0) to `b` (1).

    Args:
      network: the architecture of both.
      params_a: the network that stays.
      params_b: the network that was aligned with it.
      data: images and classes of two splits, train and test.
      num_points: an odd number of points, so that one is the midpoint.

    Returns:
      `curves`: `MEASURES`, each a list of `num_points`. `numbers` of both splits:
      `*_barrier` and `*_auc` of the loss in nats (`merging.Barrier`), loss and accuracy
      of the midpoint, mean accuracy of the two ends, and by how much the midpoint is
      below it.
    """
    curves, numbers = {}, {}
    for split in ("train", "test"):
        rows = {x: getattr(data, f"{split}_{x}") for x in ("inputs", "labels")}
        found = jax.device_get(
            merging.loss_barrier(
                _losses(network.apply), params_a, params_b, num_points, data=rows
            )
        )
        loss, accuracy = found.losses["loss"], 1 - found.losses["error"]
        middle, parents = num_points // 2, float(accuracy[0] + accuracy[-1]) / 2
        curves[f"{split}_loss"] = loss.tolist()
        curves[f"{split}_accuracy"] = accuracy.tolist()
        numbers |= {
            f"{split}_barrier": float(found.barrier["loss"]),
            f"{split}_auc": float(found.auc["loss"]),
            f"{split}_midpoint_loss": float(loss[middle]),
            f"{split}_midpoint_accuracy": float(accuracy[middle]),
            f"{split}_parents_accuracy": parents,
            f"{split}_accuracy_drop": parents - float(accuracy[middle]),
        }
    return {"curves": curves, "numbers": numbers}


@functools.lru_cache(maxsize=4)
def _losses(apply):
    """Return the losses of one network as one function, so that it compiles once."""

    def losses(params, rows):
        found = networks.evaluate_classifier(
            apply, params, rows["inputs"], rows["labels"]
        )
        return {"loss": found["loss"], "error": 1 - found["accuracy"]}

    return losses
