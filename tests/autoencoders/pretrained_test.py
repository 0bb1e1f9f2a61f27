import hashlib
import pathlib

import jax
import numpy as np
import pytest

from symmerge_jax import autoencoders, symmetry

FOLDER = pathlib.Path(autoencoders.__file__).parent / "pretrained"


def test_they_are_small_and_the_cards_are_theirs():
    names = autoencoders.pretrained()
    assert names == ("digits-siren-32", "mnist-siren-32")
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) < 5e6
    for name in names:
        weights = (FOLDER / name / "weights.safetensors").read_bytes()
        card = (FOLDER / name / autoencoders.CARD).read_text()
        assert hashlib.sha256(weights).hexdigest() in card
        metadata = autoencoders.load_canonicalizer(name).metadata
        assert f"{metadata['mse']:.4g}" in card
        assert metadata["mse"] < 0.02 < metadata["mse_without_scale_gmn"]


@pytest.mark.slow
def test_twins_get_one_latent_and_one_network():
    found = autoencoders.load_canonicalizer("digits-siren-32")
    leaves = jax.tree.leaves(found.variables)
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
    params = found.autoencoder.network.init(jax.random.key(0))
    twins = symmetry.sample_orbit(jax.random.key(1), params, found.spec, 3)
    latents = found.encode(twins)
    np.testing.assert_allclose(latents, latents[:1].repeat(3, 0), atol=1e-4)
    decoded = found.reconstruct(twins)
    for leaf in jax.tree.leaves(decoded):
        np.testing.assert_allclose(leaf[1:], leaf[:1].repeat(2, 0), atol=1e-4)


def test_a_folder_of_that_name_is_preferred(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-siren-32").mkdir()
    with pytest.raises(FileNotFoundError, match="Ours are digits-siren-32"):
        autoencoders.load_canonicalizer("digits-siren-32")
