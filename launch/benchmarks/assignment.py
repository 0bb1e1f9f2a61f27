"""Speed of assignment problems: the policy table, and what the potentials save.

Costs are float32 and of two kinds: "random", independent Gaussian, and "similar",
inner products of neurons with 64 Gaussian features and their noisy permuted copies (as
in weight matching). All solvers run in turn in one process; times are medians.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize

from benchmarks import timing
from symmerge_jax import assignment

SIZES = (8, 32, 128, 256, 512, 1024)
BATCHES = (1, 16, 256, 4096)
MAX_ENTRIES = 2**22
MAX_OPTAX_WORK = 2**24
NUM_REPEATS = 5
TARGET = 60_000


def run() -> dict:
    """Measure the solvers, the large batch of a matching, proofs, and Sinkhorn."""
    return {
        "table": list(_policy()),
        "matching": [_matching(noise, features) for noise, features in _MATCHINGS],
        "proof": [_proof(size, batch) for size, batch in ((32, 256), (512, 1))],
        "sinkhorn": [_sinkhorn(size, batch) for size, batch in ((32, 64), (512, 1))],
    }


def _policy():
    """Yield milliseconds of each solver, per size, batch and kind of costs."""
    for size in SIZES:
        for batch in BATCHES:
            if batch * size**2 > MAX_ENTRIES:
                continue
            for kind in ("random", "similar"):
                cost = jnp.asarray(-_costs(kind, batch, size))
                solvers = {
                    "host": jax.jit(functools.partial(_solve, method="host")),
                    "device": jax.jit(functools.partial(_solve, method="device")),
                    "scipy_loop": _scipy_loop,
                }
                if batch * size**3 <= MAX_OPTAX_WORK:
                    solvers["optax"] = jax.jit(jax.vmap(_optax))
                times = _milliseconds(solvers, cost)
                best = min(times, key=lambda name: times[name])
                yield {"n": size, "batch": batch, "costs": kind, **times, "best": best}


_MATCHINGS = ((0.0, 64), (0.3, 64), (1.0, 64), (0.0, 3), (0.3, 3))


def _matching(noise, num_features, size=32):
    """Solve as many layers as 512 pairs x 10 starts need, in one compiled call."""
    similarity = _similar(2048, size, num_features, noise)
    copies = -(-TARGET // len(similarity))
    whole = jnp.asarray(np.tile(np.abs(similarity), (copies, 1, 1))[:TARGET])
    solve = jax.jit(functools.partial(_solve, method="auto", maximize=True))
    ours = _milliseconds({"ours": solve}, whole, num_repeats=3)["ours"]
    part = whole[: len(similarity)]
    loop = functools.partial(_scipy_loop, maximize=True)
    times = _milliseconds({"ours": solve, "loop": loop}, part)
    return {
        "noise": noise,
        "num_features": num_features,
        "num_problems": TARGET,
        "seconds": ours / 1e3,
        "times_scipy_loop": times["loop"] / times["ours"],
    }


def _proof(size, batch):
    """Compare proving an assignment optimal with finding it."""
    cost = jnp.asarray(_costs("random", batch, size))
    perm = assignment.solve_lap(cost)
    prove = jax.jit(lambda cost: assignment.optimality_gap(cost, perm))
    solve = jax.jit(assignment.solve_lap)
    times = _milliseconds({"solve": solve, "prove": prove}, cost)
    return {"n": size, "batch": batch, **times, "gap": float(prove(cost).max())}


def _sinkhorn(size, batch, num_iters=20):
    """Time both gradients, and the dense solve of a published backward pass."""
    similarity = jnp.asarray(_costs("random", batch, size))
    dense = jnp.asarray(_costs("random", batch, 2 * size - 1))

    def loss(similarity, gradient):
        options = {"num_iters": num_iters, "gradient": gradient}
        return (assignment.sinkhorn(similarity, **options) ** 2).sum()

    solve = jax.jit(jnp.linalg.solve)
    times = _milliseconds(
        {
            "unrolled": jax.jit(jax.grad(lambda x: loss(x, "unrolled"))),
            "implicit": jax.jit(jax.grad(lambda x: loss(x, "implicit"))),
            "dense_solve_alone": lambda _: solve(dense, dense[..., :1]),
        },
        similarity,
    )
    return {"n": size, "batch": batch, "num_iters": num_iters, **times}


def _solve(cost, *, method, maximize=False):
    return assignment.solve_lap(cost, method=method, maximize=maximize)


def _optax(cost):
    return optax.assignment.hungarian_algorithm(cost)


def _scipy_loop(cost, maximize=False):
    matrices = np.asarray(cost)
    return [optimize.linear_sum_assignment(one, maximize)[1] for one in matrices]


def _milliseconds(solvers, argument, num_repeats=NUM_REPEATS):
    """Return the median time of each function, all taking turns."""
    calls = {name: functools.partial(s, argument) for name, s in solvers.items()}
    times = timing.side_by_side(calls, repeats=num_repeats)
    return {name: 1e3 * seconds for name, seconds in times.items()}


def _costs(kind, batch, size):
    if kind == "similar":
        return _similar(batch, size, 64, 0.3)
    return np.random.default_rng(0).normal(size=(batch, size, size)).astype(np.float32)


def _similar(batch, size, num_features, noise):
    """Return `[batch, size, size]` similarities of networks with their noisy copies."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(batch, size, num_features))
    b = a[:, rng.permutation(size)] + noise * rng.normal(size=a.shape)
    return (a @ b.transpose(0, 2, 1)).astype(np.float32)
