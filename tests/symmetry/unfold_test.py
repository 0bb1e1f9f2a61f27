import numpy as np

from symmerge_jax import symmetry


def test_rows_hold_what_a_neuron_writes_and_reads(get_case):
    case = get_case("mlp_tanh")
    rows = symmetry.unfold(case.params, case.spec, "hidden_0", -1, 1)
    first, second = case.params["dense_0"], case.params["dense_1"]
    for neuron, row in enumerate(rows):
        expected = np.concatenate(
            [
                [first["bias"][neuron]],
                first["kernel"][:, neuron],
                second["kernel"][neuron],
            ]
        )
        np.testing.assert_array_equal(np.sort(row), np.sort(expected))
    assert symmetry.unfold(case.params, case.spec, "hidden_0", 0).shape == (6, 0)


def test_rows_move_with_their_space(case, key):
    for space in case.spec.spaces:
        if space.group is symmetry.Group.TRIVIAL:
            continue
        element = symmetry.sample(key, case.spec, case.sizes, rescale=False)
        element = {space.name: element[space.name]}
        moved = symmetry.act(element, case.params, case.spec)
        rows = symmetry.unfold(case.params, case.spec, space.name, -1, 0, 1)
        np.testing.assert_array_equal(
            symmetry.unfold(moved, case.spec, space.name, -1, 0, 1),
            rows[element[space.name].perm],
        )
