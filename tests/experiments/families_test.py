import jax
import numpy as np
import pytest

from experiments.populations import families
from symmerge_jax import networks, symmetry, testing, zoo

SIREN = {"kind": "siren", "layer_sizes": [2, 5, 4, 1]}
NETWORK = networks.build(SIREN)
OPTIONS = {"num_steps": 2, "stride": 1}


def make_zoo(**changes):
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0))
    each = [testing.random_params(jax.random.key(i), shapes) for i in range(2)]
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4)).astype(np.uint8)
    recipe = {"made_by": "generate_siren_zoo", "seed": 7, "options": OPTIONS}
    arguments = {
        "images": images,
        "image_row": np.array([2, 0]),
        "provenance": recipe,
        **changes,
    }
    params = jax.tree.map(lambda *x: np.stack(x), *each)
    return zoo.create(SIREN, params, **arguments)


def members_of(family, num=3, seed=0):
    return families.make_members(family, make_zoo(), NETWORK.spec, num, seed)


@pytest.mark.parametrize("family", ["P", "D", "PD"])
def test_an_orbit_permutes_or_flips_or_both(family):
    inrs, members = make_zoo(), members_of(family)
    x = np.random.default_rng(1).uniform(-1, 1, (6, 2)).astype(np.float32)
    for r in range(2):
        one = jax.tree.map(lambda leaf, r=r: leaf[r], inrs.params)
        for i in range(3):
            twin = jax.tree.map(lambda leaf, r=r, i=i: leaf[r, i], members)
            np.testing.assert_allclose(
                NETWORK.apply(one, x), NETWORK.apply(twin, x), atol=1e-5
            )
    before, after = (p["dense_0"]["kernel"] for p in (inrs.params, members))
    same_place = np.abs(before)[:, None] == np.abs(after)
    assert same_place.all() == (family == "D")
    sums = lambda kernel: np.sort(kernel.sum(axis=-2), axis=-1)  # noqa: E731
    same_sign = np.isclose(sums(before)[:, None], sums(after))
    assert same_sign.all() == (family == "P")


def test_families_share_their_draws():
    p, pd = (np.abs(members_of(f)["dense_0"]["kernel"]) for f in ("P", "PD"))
    np.testing.assert_array_equal(p, pd)  # the same permutations
    other = np.abs(members_of("P", seed=1)["dense_0"]["kernel"])
    assert (p != other).any()


def test_pairs_are_a_cyclic_shift_with_noise_on_the_second():
    members = members_of("PD")
    clean = families.shifted_pairs(members, 0.0, 0, are_twins=True)
    noisy = families.shifted_pairs(members, 0.1, 0, are_twins=True)
    double = families.shifted_pairs(members, 0.2, 0, are_twins=True)
    np.testing.assert_array_equal(clean.row, [0, 0, 0, 1, 1, 1])
    kernel = lambda params: params["dense_1"]["kernel"]  # noqa: E731
    flat = kernel(members).reshape(6, 5, 4)
    np.testing.assert_array_equal(kernel(clean.params_a), flat)
    np.testing.assert_array_equal(kernel(clean.params_b), flat[[1, 2, 0, 4, 5, 3]])
    for pairs in (noisy, double):
        np.testing.assert_array_equal(kernel(pairs.clean_b), kernel(clean.params_b))
        np.testing.assert_array_equal(kernel(pairs.params_a), flat)
    noise = kernel(noisy.params_b) - kernel(noisy.clean_b)
    assert 0.08 < noise.std() < 0.12
    np.testing.assert_allclose(
        kernel(double.params_b) - kernel(double.clean_b), 2 * noise, atol=1e-6
    )
    fits = families.shifted_pairs(members, 0.0, 0, are_twins=False)
    assert fits.clean_b is None


@pytest.mark.slow
def test_separate_fits_have_the_recipe_of_the_zoo_and_other_starts():
    inrs = make_zoo()
    fits = members_of("fits", num=2)
    assert fits["dense_1"]["kernel"].shape == (2, 2, 5, 4)
    own = zoo.generate_siren_zoo(
        zoo.ImageSet(np.asarray(inrs.images)[inrs.image_row], inrs.labels, "x"),
        seed=8,
        architecture=SIREN,
        options=zoo.SirenOptions(**OPTIONS),
        fits_per_image=2,
    )
    np.testing.assert_array_equal(
        fits["dense_1"]["kernel"].reshape(4, 5, 4),
        symmetry.fold_phases(own.params, NETWORK.spec)["dense_1"]["kernel"],
    )
    other = members_of("fits", num=2, seed=1)
    assert (other["dense_1"]["kernel"] != fits["dense_1"]["kernel"]).all()


def test_chosen_pairs_are_twins_with_noise_on_the_second():
    members = members_of("PD")
    pairs = families.chosen_pairs(members, np.array([[0, 2], [1, 0]]), 0.1, 0)
    for r, (a, b) in enumerate([(0, 2), (1, 0)]):
        for found, member in ((pairs.params_a, a), (pairs.clean_b, b)):
            expected = members["dense_1"]["kernel"][r, member]
            np.testing.assert_array_equal(found["dense_1"]["kernel"][r], expected)
    noise = pairs.params_b["dense_1"]["kernel"] - pairs.clean_b["dense_1"]["kernel"]
    assert 0.06 < noise.std() < 0.14
    np.testing.assert_array_equal(pairs.row, [0, 1])


def test_families_that_cannot_be_made_are_refused():
    imported = make_zoo(provenance={"made_by": "import_dws"})
    with pytest.raises(ValueError, match=r"has 'fits', but .* were imported"):
        families.check_source(("fits",), imported)
    without = make_zoo(images=None, image_row=None)
    with pytest.raises(ValueError, match="has 'fits', but"):
        families.check_source(("P", "fits"), without)
    families.check_source(families.TWINS, imported)
    families.check_source(("fits",), make_zoo())


def test_families_have_one_title():
    assert [families.title(name) for name in families.FAMILIES] == [
        *("P orbit", "D orbit", "PD orbit", "separate fits")
    ]
