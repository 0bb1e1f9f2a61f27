"""The numpy loop that the benchmark of alignments compares with is not a straw man."""

import jax
import numpy as np
import pytest

from benchmarks import (
    alignment as benchmark,
    alignment_cases,
    matching_apart,
    reference_matching as reference,
)
from symmerge_jax import alignment, networks, plots, symmetry

NETWORK = networks.mlp((3, 6, 5, 2), "tanh")


def gaussian(seed):
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0))
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: generator.normal(size=x.shape).astype(np.float32), shapes
    )


def test_reference_moves_like_act(key):
    params = gaussian(0)
    element = symmetry.sample(key, NETWORK.spec, NETWORK.spec.sizes(params))
    pairs = [tuple(map(np.asarray, element[f"hidden_{i}"])) for i in range(2)]
    moved = reference.move(reference.to_layers(params), pairs)
    expected = reference.to_layers(symmetry.act(element, params, NETWORK.spec))
    jax.tree.map(np.testing.assert_array_equal, moved, expected)


@pytest.mark.parametrize("start", ["identity", "outward"])
@pytest.mark.slow
def test_reference_does_the_same_search(start):
    for seed in range(3):
        a, b = gaussian(2 * seed), gaussian(2 * seed + 1)
        layers = [reference.to_layers(params) for params in (a, b)]
        starts = [
            reference.identity(layers[0])
            if start == "identity"
            else reference.outward(*layers, signed=True)
        ]
        found, gain, _ = reference.match(*layers, starts, signed=True)
        problem = alignment.AlignmentProblem(params_a=a, params_b=b, spec=NETWORK.spec)
        solver = alignment.WeightMatching(starts=(start,), tolerance=0.0)
        ours = solver(jax.random.key(0), problem)
        for i, (perm, sign) in enumerate(found):
            np.testing.assert_array_equal(ours.element[f"hidden_{i}"].perm, perm)
            np.testing.assert_array_equal(ours.element[f"hidden_{i}"].scale, sign)
        squares = sum(np.sum(x**2) for x in jax.tree.leaves((a, b)))
        np.testing.assert_allclose(ours.objective[-1], squares - 2 * gain, rtol=1e-5)


def test_reference_keeps_the_best_start():
    layers = [reference.to_layers(gaussian(seed)) for seed in range(2)]
    generator = np.random.default_rng(0)
    starts = [
        reference.random_start(generator, layers[0], signed=True) for _ in range(5)
    ]
    gains = [reference.match(*layers, [s], signed=True)[1] for s in starts]
    assert max(gains) > min(gains)
    _, gain, _ = reference.match(*layers, starts, signed=True)
    assert gain == max(gains)


def test_published_algorithm_finds_a_planted_permutation(key):
    network = networks.mlp((32, 16, 16, 8))
    shapes = jax.eval_shape(network.init, key)
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: generator.normal(size=x.shape).astype(np.float32), shapes
    )
    element = symmetry.sample(key, network.spec, network.spec.sizes(params))
    element = {
        g: symmetry.Monomial(x.perm, 0 * x.scale + 1) for g, x in element.items()
    }
    twin = symmetry.act(element, params, network.spec)
    found, num_sweeps = reference.published(generator, params, twin, network.spec)
    answer = symmetry.inverse(element, network.spec)
    for name, perm in found.items():
        np.testing.assert_array_equal(perm, answer[name].perm)
    assert 1 < num_sweeps < 10


@pytest.mark.slow
def test_small_parts_of_the_benchmark():
    found = benchmark.mlp((5, 8, 3), num_trials=2)
    assert found["outward_recovered"] == 1
    assert found["ratio_to_reference"] > 0
    found = benchmark.scales((4, 6, 6, 3), num_trials=2)
    assert found["placed_default_balanced"] == 1
    assert found["balancing_error"] < 1e-12
    found = benchmark.residual(2, stream=6)
    assert found["best_of_10"] == 1


def test_networks_trained_apart_are_matched_by_every_method(monkeypatch):
    random = np.random.default_rng(0)
    examples = random.random((600, 784), np.float32), random.integers(0, 10, 600)
    monkeypatch.setattr(matching_apart, "SIZES", ((784, 12, 10),))
    monkeypatch.setattr(matching_apart, "examples", lambda split: examples)
    monkeypatch.setattr(matching_apart, "_fresh", lambda method, file: [2.0, 3.0])
    found = matching_apart.run(
        num_epochs=1, num_networks=3, repeats=1, num_processes=1
    )["sizes"][0]
    assert len(found["parents_accuracy"]) == 3
    for name in (*matching_apart.SOLVERS, "published"):
        row = found[name]
        assert (row["first_call_seconds"], row["process_seconds"]) == (2.0, 3.0)
        assert row["seconds"] > 0 and len(row["midpoint_accuracies"]) == 3
    compiled, default = found["default_compiled"], found["default"]
    np.testing.assert_allclose(
        compiled["squared_distances"], default["squared_distances"], rtol=1e-5
    )
    ends = found["to_the_end"]["squared_distances"]
    assert np.mean(ends) <= np.mean(default["squared_distances"]) * (1 + 1e-6)


def test_scaling_is_drawn():
    rows = [{"num_pairs": n, "seconds": 0.1 * n} for n in (1, 8)]
    widths = [
        {"width": n, "seconds": 1e-6 * n**3, "lap_seconds": 1e-7 * n**3}
        for n in (32, 64)
    ]
    panels = benchmark.panels({"pairs": rows, "widths": widths})
    figure = plots.scaling(panels, "seconds")
    assert [len(axis.lines) for axis in figure.axes] == [2, 3]
    assert figure.axes[1].get_xlabel() == "width of two hidden layers"


@pytest.mark.slow
def test_recovery_and_speed_on_real_inrs(data_dir, monkeypatch):
    monkeypatch.setattr(benchmark, "ORBITS", {"PD": (True, True)})
    inr, others = alignment_cases.real_inrs()
    found = benchmark.recovery(inr, jax.tree.map(lambda x: x[:2], others), 4)
    assert found["PD"]["best_of_10"] == {
        "published_inr": 1, "zoo_mean": 1, "zoo_least": 1
    }  # fmt: skip
    found = benchmark.pairs(inr, 4, num_starts=3)
    assert found["recovered"] == 1 and found["ratio"] > 0
