"""What weight matching finds, and how fast, beside the plain loops in one process.

Needs $SYMMERGE_DATA_DIR (MNIST and the real INR files). Parts:

recovery   orbits of real INRs: permutations (P), signs (D), both (PD), without noise
pairs      512 pairs of INRs from 10 starts each, against a numpy loop over pairs
residual   the residual toy of issue 8 of samuela/git-re-basin
mlp        784-512-512-512-10 with a planted permutation, against the numpy loop
scales     ReLU neurons rescaled by up to 16, and permuted
scaling    time against the number of pairs and against the width
apart      MLPs of MNIST trained apart, against the published algorithm
"""

import functools
import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import alignment_cases, matching_apart, reference_matching, timing
from symmerge_jax import alignment, assignment, networks, symmetry

NUM_PAIRS = 512
ORBITS = {"P": (True, False), "D": (False, True), "PD": (True, True)}


def run(num_pairs: int = NUM_PAIRS) -> dict[str, Any]:
    """Run all parts; seconds are medians after compilation.

    Args:
      num_pairs: pairs of INRs in the first two parts.

    Returns:
      A group of results for every part.
    """
    inr, zoo_inrs = alignment_cases.real_inrs()
    return {
        "recovery": recovery(inr, zoo_inrs, num_pairs),
        "pairs": pairs(inr, num_pairs),
        "residual": residual(),
        "mlp": mlp(),
        "scales": scales(),
        "scaling": scaling(inr),
        "apart": matching_apart.run(),
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
            "identity": match(starts=("identity",), order="random", tolerance=0.0),
            "default": match(),
            "best_of_10": match(num_random_starts=9),
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
      num_starts: outward, and random ones.

    Returns:
      Seconds, pairs per second, their ratio, and the shares recovered.
    """
    spec = networks.siren().spec
    aligner = alignment.WeightMatching(
        starts=("outward",), num_random_starts=num_starts - 1, tolerance=0.0
    )
    program = alignment_cases.batched(spec, aligner)
    twins_a, twins_b = alignment_cases.twins(spec, inr, num_pairs, seed=0)
    keys = jax.random.split(jax.random.key(1), num_pairs)
    found, _ = program(keys, twins_a, twins_b)

    generator = np.random.default_rng(0)
    host_a, host_b = jax.device_get((twins_a, twins_b))
    layers = [
        [
            reference_matching.to_layers(jax.tree.map(lambda x, i=i: x[i], t))
            for i in range(num_pairs)
        ]
        for t in (host_a, host_b)
    ]

    def one_by_one():
        gains, sweeps = [], 0
        for a, b in zip(*layers, strict=True):
            starts = [
                reference_matching.outward(a, b, signed=True),
                *(
                    reference_matching.random_start(generator, a, signed=True)
                    for _ in range(num_starts - 1)
                ),
            ]
            _, gain, count = reference_matching.match(a, b, starts, signed=True)
            gains.append(gain)
            sweeps += count
        return gains, sweeps

    times = timing.side_by_side(
        {"ours": lambda: program(keys, twins_a, twins_b), "numpy": one_by_one},
        repeats=3,
    )
    seconds, reference = times["ours"], times["numpy"]
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
        "identity": match(starts=("identity",), order="random", tolerance=0.0),
        "default": match(),
        "best_of_10": match(num_random_starts=9),
    }

    stay, move, _ = alignment_cases.plant(network, num_trials, with_biases=False)
    keys = jax.random.split(jax.random.key(0), num_trials)
    found: dict[str, Any] = {"num_trials": num_trials, "stream": stream}
    for name, aligner in methods.items():
        recovered, _ = alignment_cases.batched(network.spec, aligner)(keys, stay, move)
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
    stacked = alignment_cases.plant(network, num_trials)[:2]
    pairs = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(num_trials)]
    match = functools.partial(alignment.WeightMatching, rescale=False, tolerance=0.0)
    methods = {
        "outward": match(starts=("outward",)),
        "identity": match(starts=("identity",)),
        "nearest": match(),
    }
    times = {name: [] for name in (*methods, "reference")}
    shares = {name: [] for name in methods}
    for pair in pairs:
        calls: dict[str, Any] = {"reference": functools.partial(_by_hand, *pair)}
        for name, aligner in methods.items():
            program = alignment_cases.single(network.spec, aligner)
            calls[name] = functools.partial(program, jax.random.key(0), *pair)
            shares[name].append(bool(calls[name]()[0]))
        for name, seconds in timing.side_by_side(calls, repeats=1).items():
            times[name].append(seconds)
    found = {f"{name}_recovered": statistics.mean(s) for name, s in shares.items()}
    found |= {f"{name}_seconds": statistics.median(s) for name, s in times.items()}
    found["ratio_to_reference"] = found["reference_seconds"] / found["outward_seconds"]
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
    stay, move, answer = alignment_cases.plant(network, num_trials, largest_scale=16.0)
    keys = jax.random.split(jax.random.key(0), num_trials)
    found: dict[str, Any] = {"num_trials": num_trials, "largest_scale": 16}
    methods = {
        "identity_unbalanced": alignment.WeightMatching(
            rescale=False, starts=("identity",), order="random", tolerance=0.0
        ),
        "identity_balanced": alignment.WeightMatching(
            starts=("identity",), order="random", tolerance=0.0
        ),
        "default_balanced": alignment.WeightMatching(),
    }
    for name, aligner in methods.items():
        _, element = alignment_cases.batched(spec, aligner)(keys, stay, move)
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
        twins = alignment_cases.twins(spec, inr, count, seed=count)
        keys = jax.random.split(jax.random.key(1), count)
        seconds = timing.median(
            alignment_cases.batched(spec, alignment.WeightMatching()), keys, *twins
        )
        found["pairs"].append({"num_pairs": count, "seconds": seconds})
    aligner = alignment.WeightMatching(starts=("outward",), tolerance=0.0, max_sweeps=4)
    for width in (32, 64, 128, 256, 512, 1024, 2048):
        network = networks.mlp((64, width, width, 10), "gelu")
        a, b = (alignment_cases.gaussian(network, jax.random.key(i)) for i in range(2))
        program = alignment_cases.single(network.spec, aligner)
        similarity = jax.random.normal(jax.random.key(2), (width, width))
        solve = jax.jit(functools.partial(assignment.solve_lap, maximize=True))
        found["widths"].append(
            {
                "width": width,
                "seconds": timing.median(program, jax.random.key(0), a, b, repeats=3),
                "lap_seconds": timing.median(solve, similarity, repeats=3),
            }
        )
    return found


def panels(result: dict[str, Any]) -> dict[str, Any]:
    """Return the panels of `plots.scaling` for the results of `scaling`."""
    by_pairs, by_width = result["pairs"], result["widths"]
    widths = [row["width"] for row in by_width]
    return {
        "pairs of INRs": (
            {
                "default, PD": (
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


def _share_recovered(spec, aligner, num_pairs, params, *, seed, permute, rescale):
    twins = alignment_cases.twins(
        spec, params, num_pairs, seed=seed, permute=permute, rescale=rescale
    )
    keys = jax.random.split(jax.random.key(seed), num_pairs)
    recovered, _ = alignment_cases.batched(spec, aligner)(keys, *twins)
    return float(np.mean(recovered))


def _by_hand(params_a, params_b):
    """Match one pair in numpy, from the identity, in random order."""
    a, b = (
        reference_matching.to_layers(jax.device_get(p)) for p in (params_a, params_b)
    )
    starts = [reference_matching.identity(a)]
    order = np.random.default_rng(0)
    return reference_matching.match(a, b, starts, signed=False, order=order)
