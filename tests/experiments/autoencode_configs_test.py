"""Every config of an INR autoencoder describes a model that can be built."""

import jax
import pytest

from experiments import harness
from experiments.train import _training, autoencode
from symmerge_jax import autoencoders, networks, symmetry, zoo
from tests.experiments import configs

VARIANTS = [
    ("digits_inr", ""),
    ("digits_inr", "probes"),
    ("mnist_inr", ""),
    ("mnist_inr", "faithful"),
    ("mnist_inr", "neural_graphs"),
    ("mnist_inr_cpu", ""),
    ("mnist_inr_cpu", "faithful"),
    ("mnist_inr_cpu", "no_probes"),
    ("mnist_inr_cpu", "probe"),
    ("inr_encoders", ""),
    ("inr_encoders", "linear_messages"),
    ("inr_encoders", "ablated"),
    ("inr_encoders", "permutation"),
    ("inr_encoders", "neural_graphs"),
    ("inr_encoders", "relational_transformer"),
    ("inr_encoders", "neural_graphs_twins"),
    ("inr_encoders", "deep_weight_space"),
    ("inr_encoders", "probe"),
]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
@pytest.mark.slow
def test_every_config_describes_a_model(name, variant):
    config = configs.load(name, variant)
    config = harness.check_config(config, autoencode.default_config())
    sizes = [2, *config.architecture.hidden_sizes, 1]
    architecture = {"kind": "siren", "layer_sizes": sizes}
    shapes = jax.eval_shape(networks.build(architecture).init, jax.random.key(0))
    statistics = {path: (0.0, 1.0) for path, _ in symmetry.tensor_shapes(shapes)}
    model = autoencoders.build(
        architecture,
        _training.encoder_options(config),
        config.decoder.to_dict(),
        statistics,
    )
    variables = jax.eval_shape(model.init, jax.random.key(0))
    assert ("probe" in variables) == (config.encoder.num_probes > 0)
    assert config.batch_size % config.num_microbatches == 0


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="Variants are"):
        configs.load("mnist_inr_cpu", "huge")


def test_the_default_run_takes_a_zoo_of_ones_own(tmp_path, key):
    architecture = {"kind": "siren", "layer_sizes": [2, 4, 1]}
    init = networks.build(architecture).init
    params = jax.vmap(init)(jax.random.split(key, 60))
    zoo.save(tmp_path / "mine.zoo", zoo.create(architecture, params))
    config = configs.load("digits_inr")
    config.zoo = str(tmp_path / "mine.zoo")
    with pytest.raises(ValueError, match="fits_per_image=4 would be ignored"):
        autoencode.plan(config)
    config.fits_per_image = 1
    autoencode.plan(config)
