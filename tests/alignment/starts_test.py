"""Where weight matching starts, and when it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symmerge_jax import networks, symmetry
from symmerge_jax.alignment import AlignmentProblem, AlignmentResult, WeightMatching
from tests.alignment.weight_matching_test import make_pair, random_params


def test_without_sweeps_the_best_start_is_kept(key):
    network = networks.siren((2, 6, 5, 1))
    twin, params, _ = make_pair(network, 0)
    problem = AlignmentProblem(params_a=twin, params_b=params, spec=network.spec)
    stay = WeightMatching(starts=("identity",), max_sweeps=0)(key, problem)
    np.testing.assert_array_equal(stay.element["hidden_0"].perm, np.arange(6))
    assert stay.objective.shape == (1,) and stay.num_iters == 0
    best = WeightMatching(max_sweeps=0)(key, problem)
    moved = symmetry.act(best.element, params, network.spec)
    np.testing.assert_array_equal(moved["dense_1"]["kernel"], twin["dense_1"]["kernel"])


def test_another_aligner_gives_a_start(key):
    network = networks.residual_mlp((1, 30, 1), 30)
    params_a, params_b, element = make_pair(network, 0, rescale=False)

    def oracle(key, problem):
        return AlignmentResult(element, *4 * [jnp.zeros(())])

    alone = WeightMatching(starts=("identity",), rescale=False, max_sweeps=1)
    helped = WeightMatching(starts=(), rescale=False, max_sweeps=1, init=oracle)
    problem = AlignmentProblem(params_a=params_a, params_b=params_b, spec=network.spec)
    alone, helped = alone(key, problem), jax.jit(helped)(key, problem)
    assert alone.objective[-1] > 1e-3
    assert helped.objective[-1] < 1e-8


@pytest.mark.parametrize("changed", ["dense_0", "dense_1"])
def test_the_nearest_start_is_searched_from(key, changed):
    """Networks in one order: outward goes wrong where the first layers differ."""
    network = networks.mlp((3, 8, 8, 2), "tanh")
    params = random_params(0, network)
    other = {**params, changed: random_params(1, network)[changed]}
    problem = AlignmentProblem(params_a=params, params_b=other, spec=network.spec)

    def start_of(*starts):
        found = WeightMatching(starts=starts, max_sweeps=0)(key, problem)
        assert found.start_objectives.shape == (1,)
        return found.objective[0]

    outward, identity = start_of("outward"), start_of("identity")
    assert (outward > identity) == (changed == "dense_0")
    assert start_of("outward", "identity") == min(outward, identity)


def test_a_search_ends_where_a_sweep_gains_too_little(key):
    network = networks.mlp((10, 40, 40, 5), "relu")
    a, b = (random_params(seed, network) for seed in range(2))
    problem = AlignmentProblem(params_a=a, params_b=b, spec=network.spec)
    whole = WeightMatching(tolerance=0.0)(key, problem)
    shares = -np.diff(whole.objective) / whole.objective[:-1]
    short = WeightMatching(tolerance=float(shares[0] + shares[1]) / 2)(key, problem)
    assert shares[0] > shares[1] > 0
    assert short.num_iters == 2 < whole.num_iters
    assert short.converged and whole.converged
    np.testing.assert_array_equal(short.objective[:3], whole.objective[:3])


def test_matched_scales_are_followed_where_the_distance_rises(key):
    network = networks.mlp((6, 20, 20, 20, 3), "relu")
    a, b = (random_params(seed, network) for seed in (4, 5))
    problem = AlignmentProblem(params_a=a, params_b=b, spec=network.spec)
    solver = WeightMatching(starts=("identity",), scales="matched", tolerance=0.0)
    found = jax.jit(solver)(key, problem)
    rises = np.flatnonzero(np.diff(found.objective) > 0)
    assert found.converged and len(rises) and found.num_iters > rises[0] + 3
