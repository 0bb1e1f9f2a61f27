"""Weight matching of MLPs that were trained apart, beside the published algorithm.

Needs $SYMMERGE_DATA_DIR (MNIST). A planted permutation is found at once; networks of
different seeds are what takes sweeps.
"""

import functools
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import reference_matching, timing
from symmerge_jax import alignment, networks, symmetry, training, zoo
from symmerge_jax.typing import Params

SIZES = (784, 512, 512, 512, 10), (784, 128, 128, 128, 10)

SOLVERS = {
    "default": alignment.WeightMatching(),
    "default_compiled": jax.jit(alignment.WeightMatching()),
    "to_the_end": alignment.WeightMatching(tolerance=0.0),
    "identity": alignment.WeightMatching(starts=("identity",), tolerance=0.0),
}

FRESH = """
import sys, time
import jax
from benchmarks import matching_apart
pair = matching_apart.read_pair(sys.argv[2])
start = time.perf_counter()
jax.block_until_ready(matching_apart.call(sys.argv[1], *pair))
print(time.perf_counter() - start)
"""


def run(
    *,
    num_epochs: int = 4,
    num_networks: int = 4,
    repeats: int = 5,
    num_processes: int = 3,
) -> dict[str, Any]:
    """Train networks of each size and match them by every method.

    Args:
      num_epochs: passes over the 60,000 training images, by Adam.
      num_networks: of which all pairs are matched once, and the first one is timed.
      repeats: timed calls of each method, which take turns.
      num_processes: fresh processes for the first calls.

    Returns:
      By size, as `sizes`: accuracies on the test images and distances of the matched
      networks, by pair; seconds of a call, of the first call in a fresh process, and
      of that process.
    """
    train, test = examples("train"), examples("test")
    options = num_epochs, num_networks, repeats, num_processes
    return {"sizes": [_measure(sizes, train, test, *options) for sizes in SIZES]}


def call(method: str, network: networks.Network, params_a, params_b) -> Any:
    """Return the permutations and signs that a method finds, by space."""
    if method == "published":
        generator = np.random.default_rng(0)
        return _published(network.spec, generator, params_a, params_b)
    problem = alignment.AlignmentProblem(
        params_a=params_a, params_b=params_b, spec=network.spec
    )
    return SOLVERS[method](jax.random.key(0), problem).element


def read_pair(file: str) -> tuple[networks.Network, Params, Params]:
    """Return the network and the pair of a file."""
    with np.load(file) as arrays:
        sizes = arrays["sizes"].tolist()
        layers = {k: jax.numpy.asarray(x) for k, x in arrays.items() if k != "sizes"}
    pair = symmetry.unflatten({tuple(k.split("/")): x for k, x in layers.items()})
    return networks.mlp(sizes), pair["a"], pair["b"]


def train_apart(
    sizes: Sequence[int],
    train: tuple[np.ndarray, np.ndarray],
    num_epochs: int,
    num_networks: int = 2,
) -> tuple[networks.Network, list[Params]]:
    """Return an MLP, and some of its trainings from different seeds.

    Args:
      sizes: of its layers.
      train: inputs and classes.
      num_epochs: passes over them, by Adam.
      num_networks: trainings.
    """
    network = networks.mlp(sizes)
    state, step_fn, batch_fn = zoo.train_classifiers(
        network,
        *train,
        num_networks=num_networks,
        options=zoo.EpochOptions(num_epochs=num_epochs),
    )
    state = training.train(state, step_fn, batch_fn, num_steps=num_epochs)
    rows = [symmetry.rows(state.params, number) for number in range(num_networks)]
    return network, rows


def _measure(sizes, train, test, num_epochs, num_networks, repeats, num_processes):
    network, trained = train_apart(sizes, train, num_epochs, num_networks)
    pair = trained[:2]
    evaluate = jax.jit(functools.partial(networks.evaluate_classifier, network.apply))

    def accuracy(params):
        return float(evaluate(params, *test)["accuracy"])

    methods = (*SOLVERS, "published")
    calls = {name: functools.partial(call, name, network, *pair) for name in methods}
    seconds = timing.side_by_side(calls, repeats=repeats)
    first = {name: [] for name in methods}
    with tempfile.TemporaryDirectory() as folder:
        file = str(pathlib.Path(folder, "pair.npz"))
        leaves = symmetry.flatten(dict(zip("ab", pair, strict=True)))
        arrays: dict[str, Any] = {
            "/".join(path): np.asarray(x) for path, x in leaves.items()
        }
        np.savez(file, sizes=sizes, **arrays)
        for _ in range(num_processes):
            for name in methods:
                first[name].append(_fresh(name, file))
    found: dict[str, Any] = {
        "layer_sizes": sizes,
        "num_epochs": num_epochs,
        "parents_accuracy": [accuracy(params) for params in trained],
    }
    for name in methods:
        first_call, process = np.median(first[name], axis=0).tolist()
        found[name] = {
            "seconds": seconds[name],
            "ratio_to_published": seconds["published"] / seconds[name],
            "first_call_seconds": first_call,
            "process_seconds": process,
            "midpoint_accuracies": [],
            "squared_distances": [],
        }
        for a, b in itertools.combinations(trained, 2):
            moved = symmetry.act(call(name, network, a, b), b, network.spec)
            mean = jax.tree.map(lambda x, y: (x + y) / 2, a, moved)
            squares = jax.tree.map(lambda x, y: float(((x - y) ** 2).sum()), a, moved)
            found[name]["midpoint_accuracies"].append(accuracy(mean))
            found[name]["squared_distances"].append(sum(jax.tree.leaves(squares)))
    return found


def _published(spec, generator, params_a, params_b):
    perms, _ = reference_matching.published(generator, params_a, params_b, spec)
    return {
        name: symmetry.Monomial(perm, jax.numpy.ones(len(perm)))
        for name, perm in perms.items()
    }


def _fresh(method: str, file: str) -> list[float]:
    """Return the seconds of the first call in a new process, and of that process."""
    start = time.perf_counter()
    command = [sys.executable, "-c", FRESH, method, file]
    folder = pathlib.Path(__file__).parents[1]  # from where `benchmarks` is imported
    out = subprocess.check_output(command, cwd=folder)
    return [float(out), time.perf_counter() - start]


def examples(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels `[S, 784]` in [0, 1] and classes."""
    if not (folder := os.environ.get("SYMMERGE_DATA_DIR")):
        raise FileNotFoundError(
            "The benchmark needs MNIST: set SYMMERGE_DATA_DIR to the folder of mnist/."
        )
    images = zoo.load_images("mnist", split, folder)
    pixels = networks.to_unit_range(images.images)
    return pixels.reshape(len(pixels), -1), images.labels
