"""Which networks are paired, in which batches, with which twins, and what it lowers."""

import itertools

import jax
import numpy as np
import pytest

from experiments.populations import pairable
from experiments.train import matcher_training
from symmerge_jax import learning, symmetry
from tests.experiments import populations as small

KINDS = pairable.KINDS


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The config and the population of each kind of networks."""
    folder = tmp_path_factory.mktemp("zoos")
    found = {}
    for kind in KINDS:
        path = small.save_zoo(folder / f"{kind}.zoo", kind)
        config = small.config(kind, path)
        found[kind] = config, small.load(config, folder)
    return found


def rows_of(population, params):
    """Return which networks of a population these are, by their last bias."""
    *_, (path, known) = sorted(symmetry.flatten(population.params).items())
    flat = symmetry.flatten(params)[path]
    same = (flat[:, None] == known[None]).reshape(len(flat), len(known), -1).all(-1)
    assert (same.sum(1) == 1).all()
    return same.argmax(1)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_all_of_a_part_each_once(kind, known):
    _, population = known[kind]
    image = np.arange(24) // 3 if kind == "siren" else np.zeros(24)
    for part, rows in population.parts.items():
        pairs = pairable.draw_pairs(population, part, 1000, 0)
        wanted = {
            frozenset(pair)
            for pair in itertools.combinations(rows.tolist(), 2)
            if image[pair[0]] == image[pair[1]]
        }
        assert {frozenset(pair) for pair in pairs.tolist()} == wanted
        assert len(pairs) == len(wanted) >= 6
        assert 0 < (pairs[:, 0] < pairs[:, 1]).mean() < 1  # either may come first
    assert not set(population.parts["test"]) & set(population.parts["train"])


@pytest.mark.parametrize("kind", KINDS)
def test_whether_there_are_pairs_is_told_without_listing_them(kind, known, monkeypatch):
    config, population = known[kind]
    rows, found = [[], [3], [3, 4], [0, 3], [0, 3, 5, 9]], []
    parts = [population._replace(parts={"val": np.array(x, int)}) for x in rows]
    listed = [len(pairable.draw_pairs(part, "val", 1, 0)) > 0 for part in parts]

    def list_pairs(*_):
        raise AssertionError("all pairs are listed")

    monkeypatch.setattr(learning.Pairable, "pairs", list_pairs)
    for part in parts:
        try:
            pairable._require_pair(part, "val", "population")
            found.append(True)
        except ValueError:
            found.append(False)
    assert found == listed and len(set(found)) == 2
    pairable.sources(config)


def test_pairs_depend_on_the_seed_and_the_part_alone(known):
    _, population = known["mlp"]
    draw = pairable.draw_pairs
    pairs = draw(population, "train", 5, 3)
    assert pairs.shape == (5, 2) and len({*map(frozenset, pairs.tolist())}) == 5
    np.testing.assert_array_equal(draw(population, "train", 5, 3), pairs)
    assert (draw(population, "train", 5, 4) != pairs).any()
    same = population._replace(parts={"val": population.parts["train"]})
    assert (draw(same, "val", 5, 3) != pairs).any()


def test_turned_networks_see_in_turned_images_what_they_saw(known):
    config, population = known["mlp"]
    config = config.copy_and_resolve_references()
    config.rotated = True
    turned = small.planned(config)["rotated"]
    apply = jax.vmap(population.network.apply, in_axes=(0, None))
    for part in ("train", "test"):
        images, seen = (getattr(x.task, part).inputs for x in (population, turned))
        np.testing.assert_array_equal(
            seen.reshape(-1, 8, 8), np.rot90(images.reshape(-1, 8, 8), axes=(1, 2))
        )
        found, expected = apply(turned.params, seen), apply(population.params, images)
        # Float32: sums over the pixels in another order.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
        assert np.abs(apply(population.params, seen) - expected).max() > 1e-2
    jax.tree.map(np.testing.assert_array_equal, turned.parts, population.parts)
    np.testing.assert_array_equal(
        turned.task.test.targets, population.task.test.targets
    )


def test_other_networks_are_all_held_out(known, tmp_path):
    config, _ = known["mlp"]
    config = config.copy_and_resolve_references()
    config.other_data.source, config.other_data.num_networks = "digits/all", 7
    sizes = [64, 4, 3, 10]
    path = small.save_zoo(tmp_path / "wide.zoo", "mlp", 5, layer_sizes=sizes)
    config.other_width.hidden_sizes, config.other_width.zoo = (4, 3), path
    found = small.planned(config)
    assert list(found) == ["held_out", "other_data", "other_width"]
    for name, num in (("other_data", 7), ("other_width", 5)):
        np.testing.assert_array_equal(found[name].parts["test"], np.arange(num))
        assert len(found[name].params["dense_0"]["bias"]) == num
    assert found["other_width"].zoo.architecture["layer_sizes"] == sizes


def batches_of(config, seed, population):
    job = matcher_training.plan(config, "ours").job(population)
    return job.batches(seed, config.ours.batch_size)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_batches_pair_each_training_network_with_another(kind, known):
    config, population = known[kind]
    rows = population.parts["train"]
    batch_fn = batches_of(config, 0, population)
    firsts, seconds = [], []
    for step in range(len(rows) // 4):
        batch = batch_fn(step)
        first, second = (rows_of(population, batch[name]) for name in ("a", "b"))
        assert (first != second).all()
        data = batch["data"]
        if kind == "siren":
            np.testing.assert_array_equal(first // 3, second // 3)
            grid = population.task.train.inputs
            where = (data["inputs"][:, :, None] == grid).all(-1).argmax(-1)
            wanted = population.task.train.targets[first[:, None], where]
            np.testing.assert_array_equal(data["targets"], wanted)
        else:
            assert data["targets"].shape == (4, 6)
        assert data["inputs"].shape == (4, 6, *population.network.input_shape)
        firsts.extend(first)
        seconds.extend(second)
    assert sorted(firsts) == list(rows) and set(seconds) <= set(rows)
    again = batches_of(config, 0, population)(0)
    jax.tree.map(np.testing.assert_array_equal, again, batch_fn(0))
    other = batches_of(config, 1, population)(0)
    assert (rows_of(population, other["a"]) != rows_of(population, again["a"])).any()


def test_a_network_alone_with_its_image_is_its_own_partner(known):
    config, population = known["siren"]
    rows = np.array([0, 3, 6, 9, 12, 13])
    lonely = population._replace(parts={"train": rows})
    batches = [batches_of(config, 0, lonely)(step) for step in range(6)]
    first, second = (
        np.concatenate([rows_of(lonely, batch[name]) for batch in batches])
        for name in ("a", "b")
    )
    expected = np.where(first == 12, 13, np.where(first == 13, 12, first))
    np.testing.assert_array_equal(second, expected)
    assert {12, 13} < set(first)


TWINS = [
    ("mlp", "ours", {}),
    ("mlp", "ours", {"activation": "tanh"}),
    ("cnn", "ours", {}),
    ("siren", "ours", {}),
    ("siren", "deep_align", {}),
]


@pytest.mark.parametrize(("kind", "model", "changes"), TWINS)
@pytest.mark.slow
def test_elements_bring_twins_back(kind, model, changes, known, tmp_path):
    config, population = known[kind]
    config = config.copy_and_resolve_references()
    if changes:
        config.zoo = small.save_zoo(tmp_path / "a.zoo", kind, **changes)
        population = small.load(config, tmp_path)
    for name in ("noise", "dropout", "prune"):
        config.augment[name] = 0.0
    matcher = small.untrained(config, population, model)
    spec, copies = matcher.network.spec, matcher_training.plan(config, model).copies

    def twins_and_back(params, key):
        twins, elements = learning.moved_copies(
            key, params, spec, copies, signed=matcher.signed
        )
        act = jax.vmap(lambda element, twin: symmetry.act(element, twin, spec))
        return twins, elements, act(elements, twins)

    run = jax.jit(twins_and_back)
    twins, elements, back = run(population.params, jax.random.key(0))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7),
        back,
        population.params,
    )
    perm, scale = elements["hidden_0"]
    assert len({tuple(row) for row in np.asarray(perm)}) > 3
    scale = np.asarray(scale)
    if spec.space("hidden_0").group is symmetry.Group.SCALE:
        assert 1 / 1.1 - 1e-5 < scale.min() < 0.95 < 1.05 < scale.max() < 1 / 0.9 + 1e-5
    else:  # A matcher that knows no signs is shown none.
        assert set(scale.ravel()) == ({-1.0, 1.0} if matcher.signed else {1.0})
    inputs = population.task.test.inputs
    apply = jax.vmap(population.network.apply, in_axes=(0, None))
    np.testing.assert_allclose(
        apply(twins, inputs), apply(population.params, inputs), rtol=0, atol=1e-5
    )


def test_changed_twins_compute_something_else(known):
    config, population = known["siren"]
    config = config.copy_and_resolve_references()
    config.augment.update(noise=0.0, dropout=0.0, prune=0.0)
    config.distort.shift = 0.1
    matcher = small.untrained(config, population)
    spec, copies = matcher.network.spec, matcher_training.plan(config, "ours").copies

    @jax.jit
    def twins_moved_back(params, key):
        twins, elements = learning.moved_copies(
            key, params, spec, copies, signed=matcher.signed
        )
        return jax.vmap(lambda g, x: symmetry.act(g, x, spec))(elements, twins)

    back = twins_moved_back(population.params, jax.random.key(0))
    # A shift moves phases alone: the bias of the first layer.
    difference = jax.tree.map(
        lambda x, y: float(np.abs(x - y).max()), back, population.params
    )
    assert difference["dense_0"].pop("bias") > 1e-3
    assert max(jax.tree.leaves(difference)) < 1e-6


@pytest.mark.slow
def test_the_loss_is_the_weighted_sum_and_training_lowers_it(known):
    config, population = known["mlp"]
    config = config.copy_and_resolve_references()
    config.ours.losses.update(supervised=2.0, alignment=0.5, task=0.25)
    config.ours.batch_size = 12
    matcher = small.untrained(config, population)
    batch = batches_of(config, 0, population)(0)
    variables = jax.jit(matcher.init)(jax.random.key(0))
    fixed = jax.random.key(7)
    total, parts = jax.jit(
        matcher_training.plan(config, "ours").job(population).loss_fn
    )(variables, batch, fixed)
    expected = 2 * parts["supervised"] + parts["alignment"] / 2 + parts["task"] / 4
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    config.ours.losses.update(supervised=1.0, alignment=0.0, task=0.0)
    loss_fn = matcher_training.plan(config, "ours").job(population).loss_fn
    run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    start, names = run(variables, batch, fixed)[0]
    assert list(names) == ["supervised"]
    np.testing.assert_allclose(start, parts["supervised"], rtol=1e-5)
    for step in range(30):
        _, gradients = run(variables, batch, jax.random.key(step))
        variables = jax.tree.map(lambda x, g: x - 0.1 * g, variables, gradients)
    assert run(variables, batch, fixed)[0][0] < 0.8 * start
