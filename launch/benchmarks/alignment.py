"""What weight matching finds, and how fast, beside the plain loops in one process.

Needs $SYMMERGE_DATA_DIR (MNIST and the real INR files). Six parts:

recovery   orbits of real INRs: permutations (P), signs (D), both (PD), without noise
pairs      512 pairs of INRs from 10 starts each, against a numpy loop over pairs
residual   the residual toy of issue 8 of samuela/git-re-basin
mlp        784-512-512-512-10 with a planted permutation, against the numpy loop
scales     ReLU neurons rescaled by up to 16, and permuted
scaling    time against the number of pairs and against the width
"""

import functools
import os
import pathlib
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import reference_matching
from symmerge_jax import alignment, assignment, networks, symmetry, zoo

NUM_PAIRS = 512
NUM_ZOO = 10
ORBITS = {"P": (True, False), "D": (False, True), "PD": (True, True)}
PUBLISHED_MLP_SECONDS = 1.23
PUBLISHED_RESIDUAL = "3 of 50"


def run(num_pairs: int = NUM_PAIRS) -> dict[str, Any]:
    """Run all parts; seconds are medians after compilation.

    Args:
      num_pairs: pairs of INRs in the first two parts.

    Returns:
      A group of results for every part.
    """
    inr, zoo_inrs = _real_inrs()
    return {
        "recovery": recovery(inr, zoo_inrs, num_pairs),
        "pairs": pairs(inr, num_pairs),
        "residual": residual(),
        "mlp": mlp(),
        "scales": scales(),
        "scaling": scaling(inr),
    }


def recovery(inr, zoo_inrs, num_pairs: int) -> dict[str, Any]:
    """Return the share of pairs of twins that come to lie on each other, bit for bit.

    Args:
      inr: the network of the public files.
      zoo_inrs: networks of another zoo, stacked.
      num_pairs: pairs of twins of each network.

    Returns:
      By orbit and method; for the zoo the mean and the least over its networks.
    """
    network = networks.siren()
    num_zoo = len(jax.tree.leaves(zoo_inrs)[0])
    found: dict[str, Any] = {"num_pairs": num_pairs, "num_zoo": num_zoo}
    for name, (permute, rescale) in ORBITS.items():
        options = {"permute": permute, "rescale": rescale}
        match = functools.partial(alignment.WeightMatching, **options)
        methods = {
            "identity": match(starts=("identity",), order="random"),
            "best_of_2": match(),
            "best_of_10": match(num_random_starts=8),
        }
        found[name] = {}
        for method, aligner in methods.items():
            count = functools.partial(
                _share_recovered, network.spec, aligner, num_pairs, **options
            )
            shares = [
                count(jax.tree.map(lambda x, i=i: x[i], zoo_inrs), seed=i + 1)
                for i in range(num_zoo)
            ]
            found[name][method] = {
                "published_inr": count(inr, seed=0),
                "zoo_mean": statistics.mean(shares),
                "zoo_least": min(shares),
            }
    return found


def pairs(inr, num_pairs: int, *, num_starts: int = 10) -> dict[str, Any]:
    """Time all pairs at once, and one after the other in numpy from the same starts.

    Args:
      inr: the network whose twins are matched.
      num_pairs: pairs of twins.
      num_starts: outward, identity, and random ones.

    Returns:
      Seconds, pairs per second, their ratio, and the shares recovered.
    """
    spec = networks.siren().spec
    aligner = alignment.WeightMatching(num_random_starts=num_starts - 2)
    program = _batched(spec, aligner)
    twins_a, twins_b = _twins(spec, inr, num_pairs, seed=0)
    keys = jax.random.split(jax.random.key(1), num_pairs)
    seconds = _median(program, keys, twins_a, twins_b)
    found, _ = program(keys, twins_a, twins_b)

    generator = np.random.default_rng(0)
    host_a, host_b = jax.device_get((twins_a, twins_b))
    layers = [
        [_layers(jax.tree.map(lambda x, i=i: x[i], t)) for i in range(num_pairs)]
        for t in (host_a, host_b)
    ]

    def one_by_one():
        gains, sweeps = [], 0
        for a, b in zip(*layers, strict=True):
            starts = [
                reference_matching.outward(a, b, signed=True),
                reference_matching.identity(a),
                *(
                    reference_matching.random_start(generator, a, signed=True)
                    for _ in range(num_starts - 2)
                ),
            ]
            _, gain, count = reference_matching.match(a, b, starts, signed=True)
            gains.append(gain)
            sweeps += count
        return gains, sweeps

    reference = _median(one_by_one, repeats=3)
    _, sweeps = one_by_one()
    return {
        "num_pairs": num_pairs,
        "num_starts": num_starts,
        "seconds": seconds,
        "pairs_per_s": num_pairs / seconds,
        "recovered": float(np.mean(found)),
        "reference_seconds": reference,
        "reference_pairs_per_s": num_pairs / reference,
        "reference_sweeps_per_start": sweeps / num_pairs / num_starts,
        "ratio": reference / seconds,
    }


def residual(num_trials: int = 100, *, stream: int = 50) -> dict[str, Any]:
    """Count known permutations found in networks with a residual stream.

    One input, one output, one block as wide as the stream, Gaussian kernels, no biases.

    Args:
      num_trials: networks.
      stream: width of the stream, and of the block.

    Returns:
      Share of the networks recovered exactly, by start.
    """
    network = networks.residual_mlp((1, stream, 1), stream)
    match = functools.partial(alignment.WeightMatching, rescale=False)
    methods = {
        "identity": match(starts=("identity",), order="random"),
        "best_of_2": match(),
        "best_of_10": match(num_random_starts=8),
    }

    stay, move, _ = _plant(network, num_trials, with_biases=False)
    keys = jax.random.split(jax.random.key(0), num_trials)
    found: dict[str, Any] = {
        "num_trials": num_trials,
        "stream": stream,
        "published": PUBLISHED_RESIDUAL,
    }
    for name, aligner in methods.items():
        recovered, _ = _batched(network.spec, aligner)(keys, stay, move)
        found[name] = float(np.mean(recovered))
    return found


def mlp(layer_sizes=(784, 512, 512, 512, 10), *, num_trials: int = 5) -> dict[str, Any]:
    """Time a planted permutation of a wide MLP.

    Args:
      layer_sizes: of the MLP, whose weights are Gaussian.
      num_trials: networks, for the share that is recovered.

    Returns:
      Seconds from the outward start (ours) and from the identity, seconds of the numpy
      loop from the identity, ratios, and the shares recovered.
    """
    network = networks.mlp(layer_sizes)
    stacked = _plant(network, num_trials)[:2]
    pairs = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(num_trials)]
    found: dict[str, Any] = {"published_seconds": PUBLISHED_MLP_SECONDS}
    match = functools.partial(alignment.WeightMatching, rescale=False)
    methods = {
        "outward": match(starts=("outward",)),
        "identity": match(starts=("identity",)),
        "best_of_2": match(),
    }
    for name, aligner in methods.items():
        program = _single(network.spec, aligner)
        times, shares = [], []
        jax.block_until_ready(program(jax.random.key(0), *pairs[0]))
        for pair in pairs:
            start = time.perf_counter()
            recovered, _ = jax.block_until_ready(program(jax.random.key(0), *pair))
            times.append(time.perf_counter() - start)
            shares.append(bool(recovered))
        found[f"{name}_seconds"] = statistics.median(times)
        found[f"{name}_recovered"] = statistics.mean(shares)
    times = []
    for pair in pairs:
        a, b = (_layers(jax.device_get(params)) for params in pair)
        start = time.perf_counter()
        order = np.random.default_rng(0)
        starts = [reference_matching.identity(a)]
        reference_matching.match(a, b, starts, signed=False, order=order)
        times.append(time.perf_counter() - start)
    found["reference_seconds"] = statistics.median(times)
    found["ratio_to_reference"] = found["reference_seconds"] / found["outward_seconds"]
    found["ratio_to_published"] = PUBLISHED_MLP_SECONDS / found["outward_seconds"]
    return found


def scales(layer_sizes=(16, 64, 64, 10), *, num_trials: int = 40) -> dict[str, Any]:
    """Undo scales drawn log-uniformly from [1/16, 16], and permutations.

    Args:
      layer_sizes: of a ReLU MLP whose weights are Gaussian.
      num_trials: networks.

    Returns:
      Shares of neurons that find their place with and without balancing, and the
      largest error of the function of a balanced network, relative, in float64.
    """
    network = networks.mlp(layer_sizes)
    spec = network.spec
    stay, move, answer = _plant(network, num_trials, largest_scale=16.0)
    keys = jax.random.split(jax.random.key(0), num_trials)
    found: dict[str, Any] = {"num_trials": num_trials, "largest_scale": 16}
    methods = {
        "identity_unbalanced": alignment.WeightMatching(
            rescale=False, starts=("identity",), order="random"
        ),
        "identity_balanced": alignment.WeightMatching(starts=("identity",)),
        "best_of_2_balanced": alignment.WeightMatching(),
    }
    for name, aligner in methods.items():
        _, element = _batched(spec, aligner)(keys, stay, move)
        placed = [element[s].perm == answer[s].perm for s in element]
        found[f"placed_{name}"] = float(np.mean(np.concatenate(placed, axis=1)))
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), move)
        x = jax.random.normal(jax.random.key(1), (256, layer_sizes[0]), jnp.float64)

        @jax.jit
        @jax.vmap
        def error(params):
            balanced = symmetry.balance_scales(params, spec)
            before = network.apply(params, x)
            after = network.apply(symmetry.act(balanced, params, spec), x)
            return jnp.max(jnp.abs(after - before)) / jnp.max(jnp.abs(before))

        found["balancing_error"] = float(np.max(error(double)))
    return found


def scaling(inr) -> dict[str, Any]:
    """Time 1 to 2048 pairs of INRs, and MLPs of width 32 to 2048.

    Args:
      inr: the network whose twins are matched.

    Returns:
      Seconds by number of pairs (PD, outward and identity starts); by width seconds of
      matching two independent MLPs 64-n-n-10, and of one assignment problem of n.
    """
    spec = networks.siren().spec
    found: dict[str, Any] = {"pairs": [], "widths": []}
    for count in (1, 8, 64, 512, 2048):
        twins = _twins(spec, inr, count, seed=count)
        keys = jax.random.split(jax.random.key(1), count)
        seconds = _median(_batched(spec, alignment.WeightMatching()), keys, *twins)
        found["pairs"].append({"num_pairs": count, "seconds": seconds})
    aligner = alignment.WeightMatching(starts=("outward",), max_sweeps=4)
    for width in (32, 64, 128, 256, 512, 1024, 2048):
        network = networks.mlp((64, width, width, 10), "gelu")
        a, b = (_gaussian(network, jax.random.key(i)) for i in range(2))
        program = _single(network.spec, aligner)
        similarity = jax.random.normal(jax.random.key(2), (width, width))
        solve = jax.jit(functools.partial(assignment.solve_lap, maximize=True))
        found["widths"].append(
            {
                "width": width,
                "seconds": _median(program, jax.random.key(0), a, b, repeats=3),
                "lap_seconds": _median(solve, similarity, repeats=3),
            }
        )
    return found


def panels(result: dict[str, Any]) -> dict[str, Any]:
    """Return the panels of `plots.scaling_panels` for the results of `scaling`."""
    by_pairs, by_width = result["pairs"], result["widths"]
    widths = [row["width"] for row in by_width]
    return {
        "pairs of INRs": (
            {
                "2 starts, PD": (
                    [row["num_pairs"] for row in by_pairs],
                    [row["seconds"] for row in by_pairs],
                )
            },
            1.0,
        ),
        "width of two hidden layers": (
            {
                "matching": (widths, [row["seconds"] for row in by_width]),
                "one assignment": (widths, [row["lap_seconds"] for row in by_width]),
            },
            3.0,
        ),
    }


def _real_inrs():
    """Return the network of the public INR files, and 10 others of another zoo."""
    if not (folder := os.environ.get("SYMMERGE_DATA_DIR")):
        raise FileNotFoundError(
            "The benchmark needs real networks: set SYMMERGE_DATA_DIR to the folder"
            " that holds mnist_inrs/ and mnist/."
        )
    real = zoo.import_dws(pathlib.Path(folder, "mnist_inrs")).params
    images = zoo.load_images("mnist", "test", folder, num_images=NUM_ZOO)
    others = zoo.generate_siren_zoo(images, options=zoo.SirenOptions()).params
    return jax.tree.map(lambda x: x[0], real), others


def _twins(spec, params, num_pairs, *, seed, permute=True, rescale=True):
    """Return pairs of twins, `[num_pairs]` each."""
    draw = functools.partial(
        symmetry.sample_orbit, num_twins=num_pairs, permute=permute, rescale=rescale
    )
    keys = jax.random.split(jax.random.key(seed))
    return tuple(draw(key, params, spec) for key in keys)


def _share_recovered(spec, aligner, num_pairs, params, *, seed, permute, rescale):
    twins = _twins(spec, params, num_pairs, seed=seed, permute=permute, rescale=rescale)
    keys = jax.random.split(jax.random.key(seed), num_pairs)
    recovered, _ = _batched(spec, aligner)(keys, *twins)
    return float(np.mean(recovered))


@functools.lru_cache
def _single(spec, aligner):
    """Return the program from a pair to (`b` lies on `a` bit for bit, the element)."""
    return jax.jit(functools.partial(_solve, spec, aligner))


@functools.lru_cache
def _batched(spec, aligner):
    """Return the same program for many pairs at once."""
    return jax.jit(jax.vmap(functools.partial(_solve, spec, aligner)))


def _solve(spec, aligner, key, params_a, params_b):
    problem = alignment.AlignmentProblem(
        params_a=params_a, params_b=params_b, spec=spec
    )
    element = aligner(key, problem).element
    moved = symmetry.act(element, params_b, spec)
    same = jax.tree.map(lambda x, y: jnp.all(x == y), params_a, moved)
    return jnp.all(jnp.stack(jax.tree.leaves(same))), element


def _plant(network, num_trials, *, with_biases=True, largest_scale=1.0):
    """Return Gaussian networks, their twins, and what undoes it, `[num_trials]` each.

    Twins are permuted, and rescaled log-uniformly up to the factor.
    """
    spec = network.spec

    def sample(key, params):
        element = symmetry.sample(key, spec, spec.sizes(params), rescale=False)
        for index, (name, (perm, scale)) in enumerate(element.items()):
            exponent = jax.random.uniform(
                jax.random.fold_in(key, index), scale.shape, minval=-1, maxval=1
            )
            element[name] = symmetry.Monomial(perm, largest_scale**exponent)
        return element

    weights_key, move_key = jax.random.split(jax.random.key(0))
    draw = functools.partial(_gaussian, network)
    stay = jax.jit(jax.vmap(draw))(jax.random.split(weights_key, num_trials))
    if not with_biases:
        stay = {
            path: leaf * (path[-1] != "bias")
            for path, leaf in symmetry.flatten(stay).items()
        }
        stay = symmetry.unflatten(stay)
    keys = jax.random.split(move_key, num_trials)
    element = jax.jit(jax.vmap(sample))(keys, stay)
    # Twins come from weights in memory: drawn again, these might be rounded otherwise.
    move = jax.jit(jax.vmap(lambda g, x: symmetry.act(g, x, spec)))(element, stay)
    return stay, move, jax.vmap(symmetry.inverse)(element)


def _gaussian(network, key):
    """Return parameters that are all standard normal."""
    shapes = jax.eval_shape(network.init, key)
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, drawn)


def _layers(params):
    return reference_matching.to_layers(params)


def _median(fn, *args, repeats=5):
    """Return the median seconds of a call, after one that compiles."""
    jax.block_until_ready(fn(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn(*args))
        times.append(time.perf_counter() - start)
    return statistics.median(times)
