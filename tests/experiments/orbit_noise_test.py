import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import harness
from experiments.train import orbit_noise
from symmerge_jax import networks, zoo
from tests.experiments import configs

SIREN = {"kind": "siren", "layer_sizes": [2, 5, 4, 1]}
NUM = 60
NETWORK = networks.build(SIREN)
TWINS = orbit_noise.NOISES[1:]


@pytest.fixture(scope="module")
def inrs(tmp_path_factory):
    """INRs of two classes, dark and bright images."""
    params = jax.vmap(NETWORK.init)(jax.random.split(jax.random.key(0), NUM))
    labels = np.arange(NUM) % 2
    params["dense_2"]["bias"] += (2 * labels[:, None] - 1).astype(np.float32)
    path = tmp_path_factory.mktemp("zoos") / "inrs.zoo"
    made = {"source": "mnist/train"}
    zoo.save(path, zoo.create(SIREN, params, labels=labels, provenance=made))
    return str(path)


def smoke(inrs, **changes):
    config = orbit_noise.default_config()
    config.update(zoo=inrs, val_fraction=0.2, test_fraction=0.2)
    config.encoder.update(width=4, num_layers=1, messages="linear")
    config.update(batch_size=8, num_steps=4, warmup_steps=1, log_every=1)
    config.update(evaluate_every=2, checkpoint_every=2)
    config.mlp.update(width=8, num_epochs=3)
    config.readers = ("weights", "closed", "aligned", "scale_gmn")
    config.update(changes)
    return config


def planned(inrs, **changes):
    plan = orbit_noise.plan(smoke(inrs, **changes))
    return plan, plan.source.load(None)


def test_half_turns_keep_the_function():
    with jax.enable_x64():
        params = NETWORK.init(jax.random.key(0))
        params = jax.tree.map(lambda x: x.astype(jnp.float64), params)
        turned = orbit_noise._turn_phases(jax.random.key(1), params, spec=NETWORK.spec)
        points = networks.coordinate_grid(4, 4).astype(np.float64)
        before, after = (NETWORK.apply(x, points) for x in (params, turned))
        np.testing.assert_allclose(after, before, atol=1e-12)
        biases = [np.asarray(x["dense_0"]["bias"]) for x in (params, turned)]
        assert np.abs(biases[1] - biases[0]).max() > np.pi / 30 - 1e-12


@pytest.mark.parametrize("noise", TWINS)
def test_twins_draw_the_same_with_other_weights(inrs, noise):
    _, population = planned(inrs)
    twins = orbit_noise._noisy(noise, population, 0)
    points = networks.coordinate_grid(5, 5)
    render = jax.jit(lambda params: networks.render(NETWORK, params, points))
    np.testing.assert_allclose(render(twins), render(population.params), atol=1e-4)
    moved = twins["dense_0"]["kernel"] != np.asarray(
        population.params["dense_0"]["kernel"]
    )
    assert moved.any(axis=(1, 2)).mean() > 0.9


@pytest.mark.parametrize("noise", TWINS)
def test_a_closed_form_shows_no_noise(inrs, noise):
    plan, population = planned(inrs)
    assert_same_forms("closed", plan, population, noise, atol=1e-5)


def assert_same_forms(reader, plan, population, noise, *, atol):
    plain, noisy = (
        orbit_noise._formed(
            reader, plan, population, orbit_noise._noisy(x, population, 0)
        )
        for x in ("none", noise)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(y, x, atol=atol), plain, noisy)


def test_readers_of_every_step_are_measured_and_a_run_resumes(inrs, tmp_path):
    config = smoke(inrs)
    results = harness.run(orbit_noise.EXPERIMENT, config, tmp_path)
    accuracies = results["accuracies"]
    assert set(accuracies) == set(config.readers)
    assert all([*row] == [*orbit_noise.NOISES] for row in accuracies.values())
    assert results["num_test"] == 12
    assert len(set(accuracies["scale_gmn"].values())) == 1
    assert (tmp_path / "ladder.png").exists()
    text = harness.to_text(orbit_noise.EXPERIMENT.tables(results))
    assert "+ half turns" in text

    (tmp_path / "readers/closed.npz").unlink()
    kept = (tmp_path / "readers/weights.npz").stat().st_mtime_ns
    assert harness.run(orbit_noise.EXPERIMENT, config, tmp_path) == results
    assert (tmp_path / "readers/weights.npz").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"readers": ("template",)}, "need a canonicalizer"),
        ({"canonicalizer": "mnist-siren-32"}, "canonicalizer"),
        (
            {"readers": ("decoded",), "canonicalizer": "mnist-siren-32"},
            "another architecture",
        ),
        ({"readers": ("x",)}, "'x'"),
        ({"mlp": {"width": 0, "num_epochs": 1}}, "config.mlp.width must be >= 1"),
    ],
)
def test_wrong_values_are_refused_before_any_work(inrs, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        harness.run(orbit_noise.EXPERIMENT, smoke(inrs, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_networks_are_read_as_a_canonicalizer_aligns_and_decodes_them(tmp_path):
    config = configs.load("orbit_noise", "smoke")
    config.architecture.hidden_sizes = (32, 32)
    config.update(readers=("template", "decoded"), noises=("none", "turns"))
    config.canonicalizer = "mnist-siren-32"
    results = harness.run(orbit_noise.EXPERIMENT, config, tmp_path)
    assert [*results["accuracies"]] == ["template", "decoded"]
    plan = orbit_noise.plan(config)
    population = plan.source.load(tmp_path)
    assert_same_forms("decoded", plan, population, "turns", atol=1e-3)


def test_config_knows_its_variants():
    for variant in ("own", "shared"):
        config = configs.load("orbit_noise", variant)
        assert config.fit.shared_init == (variant == "shared")
        harness.check_config(config, orbit_noise.default_config())
    with pytest.raises(ValueError, match="Variants are"):
        configs.load("orbit_noise", "cifar")
