"""Refusals: every message names the path, what came and what was expected."""

import functools

import chex
import jax
import jaxtyping
import numpy as np
import pytest

from symmerge_jax import networks, symmetry
from symmerge_jax.symmetry import Axis, Group, Space, SymmetrySpec

IN, HIDDEN, OUT = (
    Space("in", Group.TRIVIAL),
    Space("h", Group.SIGN, frequency=30.0),
    Space("out", Group.TRIVIAL),
)
AXES = {
    "first": {"kernel": (Axis("in", -1), Axis("h")), "bias": (Axis("h"),)},
    "last": {"kernel": (Axis("h", -1, repeat=2), Axis("out"))},
}
SHAPES = {
    "first": {"kernel": np.zeros((3, 4)), "bias": np.zeros(4)},
    "last": {"kernel": np.zeros((8, 2))},
}
SPEC = SymmetrySpec.create(AXES, [IN, HIDDEN, OUT])


def replaced(tree, layer, **leaves):
    return {**tree, layer: {**tree[layer], **leaves}}


def test_spec_is_hashable_equal_and_static_under_jit():
    again = SymmetrySpec.create(AXES, [IN, HIDDEN, OUT])
    assert again == SPEC and hash(again) == hash(SPEC)

    @functools.partial(jax.jit, static_argnames="spec")
    @chex.assert_max_traces(n=1)
    def function(x, spec):
        return x

    function(1.0, spec=SPEC), function(1.0, spec=again)


def test_spec_does_not_depend_on_the_order_of_the_tree():
    backwards = {
        layer: dict(reversed(leaves.items()))
        for layer, leaves in reversed(list(AXES.items()))
    }
    assert SymmetrySpec.create(backwards, [IN, HIDDEN, OUT]) == SPEC
    assert SPEC.paths == (("first", "bias"), ("first", "kernel"), ("last", "kernel"))


def test_sizes_divide_repeated_axes_and_read_shapes_too():
    assert SPEC.sizes(SHAPES) == {"in": 3, "h": 4, "out": 2}
    network = networks.mlp((5, 7, 2))
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    assert network.spec.sizes(shapes) == {"in": 5, "hidden_0": 7, "out": 2}


def test_batch_shape_is_what_all_leaves_share():
    def lift(shape):
        return jax.tree.map(lambda x: np.zeros((*shape, *x.shape)), SHAPES)

    assert SPEC.batch_shape(SHAPES) == ()
    assert SPEC.batch_shape(lift((5, 6))) == (5, 6)
    mixed = replaced(lift((5,)), "last", kernel=np.zeros((4, 8, 2)))
    with pytest.raises(
        ValueError, match=r"'last/kernel' has batch axes \(4,\).*\(5,\)"
    ):
        SPEC.batch_shape(mixed)
    with pytest.raises(ValueError, match=r"missing \['first/bias'"):
        SPEC.batch_shape({"last": SHAPES["last"]})
    with pytest.raises(ValueError, match=r"'first/bias' has shape \(\)"):
        SPEC.batch_shape(jax.tree.map(lambda x: x.sum(), SHAPES))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"first": SHAPES["first"]}, r"missing \['last/kernel'\], unknown \[\]"),
        ({**SHAPES, "more": np.zeros(2)}, r"missing \[\], unknown \['more'\]"),
        (
            replaced(SHAPES, "first", bias=np.zeros((2, 4))),
            r"'first/bias' has shape \(2, 4\), but the spec describes 1 axes",
        ),
        (
            replaced(SHAPES, "first", kernel=np.zeros((3, 5))),
            "'first/kernel' gives space 'h' 5 neurons, but 'first/bias' gives it 4",
        ),
        (
            replaced(SHAPES, "last", kernel=np.zeros((7, 2))),
            "'last/kernel': axis of length 7 over space 'h' is no multiple of repeat=2",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        SPEC.sizes(params)


@pytest.mark.parametrize(
    ("axes", "spaces", "message"),
    [
        (
            AXES,
            [IN, HIDDEN, OUT, OUT],
            r"duplicate space among \['in', 'h', 'out', 'ou",
        ),
        (AXES, [IN, OUT], "'first/bias' names unknown space 'h'.*'in', 'out'"),
        (
            AXES,
            [IN, HIDDEN, Space("idle", Group.SIGN), OUT],
            "no parameter uses space 'idle'",
        ),
        (
            AXES,
            [IN, Space("h", Group.SIGN, over=("out",)), OUT],
            "space 'h' lies over, or follows, 'out', which is not listed before it",
        ),
        (
            AXES,
            [IN, Space("h", Group.SIGN, over=("in",)), OUT],
            r"'first/bias' has space 'h', but no axis over \['in'\]",
        ),
        (
            AXES,
            [HIDDEN, IN, OUT],
            "'first/kernel' reads space 'in', which does not come before 'h'.*nothing"
            " else writes 'h' earlier.*order",
        ),
        (
            {"first": {"kernel": AXES["first"]["kernel"]}, "last": AXES["last"]},
            [IN, HIDDEN, OUT],
            "periodic space 'h' needs exactly one bias, found 0",
        ),
        (
            replaced(AXES, "last", bias=(Axis("h"),)),
            [IN, HIDDEN, OUT],
            "periodic space 'h' needs exactly one bias, found 2",
        ),
    ],
)
def test_specs_that_describe_no_network_are_refused(axes, spaces, message):
    with pytest.raises(ValueError, match=message):
        SymmetrySpec.create(axes, spaces)


@pytest.mark.parametrize("leaf", [Axis("in"), "in", None])
def test_leaves_that_are_no_tuples_are_refused(leaf):
    with pytest.raises(TypeError, match="'first/kernel' must be a tuple with one Axis"):
        SymmetrySpec.create(replaced(AXES, "first", kernel=leaf), [IN, HIDDEN, OUT])


@pytest.fixture
def without_type_checks():
    """Our own message, which the type checker of the tests would pre-empt."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("without_type_checks")
def test_entries_that_are_no_axes_are_refused():
    with pytest.raises(
        TypeError, match=r"'first/kernel' must hold one Axis, Blocks or None.*'in'"
    ):
        SymmetrySpec.create(
            replaced(AXES, "first", kernel=("in", "h")), [IN, HIDDEN, OUT]
        )


def test_duplicate_paths_are_refused():
    with pytest.raises(ValueError, match="duplicate path 'x/y'"):
        SymmetrySpec(((("x", "y"), (Axis("in"),)),) * 2, (IN,))


def test_axes_and_spaces_refuse_values_without_meaning():
    with pytest.raises(ValueError, match="'h': size must be an integer >= 1, got 0"):
        Space("h", Group.SIGN, size=0)
    with pytest.raises(ValueError, match="'h': permute=False leaves nothing of Group"):
        Space("h", Group.PERMUTATION, permute=False)
    with pytest.raises(ValueError, match=r"'h': what follows another .*PERMUTATION"):
        Space("h", Group.PERMUTATION, follows="in")
    with pytest.raises(ValueError, match="'h': repeat must be >= 1, got 0"):
        Axis("h", repeat=0)
    with pytest.raises(ValueError, match=r"'h': a frequency belongs to a sine.*SCALE"):
        Space("h", Group.SCALE, frequency=30.0)
    for frequency in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="'h': frequency must be > 0, got"):
            Space("h", Group.SIGN, frequency=frequency)


def test_unknown_space_lists_the_known():
    assert SPEC.space("h") is HIDDEN
    with pytest.raises(
        ValueError, match=r"'hidden'; the spaces are \['in', 'h', 'out'\]"
    ):
        SPEC.space("hidden")


def test_uses_yields_axes_by_power():
    assert [path for path, *_ in SPEC.uses("h", 1)] == [
        ("first", "bias"),
        ("first", "kernel"),
    ]
    assert list(SPEC.uses("h", -1)) == [(("last", "kernel"), 0, Axis("h", -1, 2))]


def test_check_finite_names_tensor_and_index():
    symmetry.check_finite(SHAPES)
    bad = np.zeros((3, 4))
    bad[1, 2], bad[2, 3] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"'first/kernel'.*nan at index \(1, 2\) \(2 "):
        symmetry.check_finite(replaced(SHAPES, "first", kernel=bad))


def test_flatten_and_unflatten_are_inverse():
    leaves = symmetry.flatten(SHAPES)
    assert list(leaves) == [("first", "kernel"), ("first", "bias"), ("last", "kernel")]
    assert symmetry.unflatten(leaves) == SHAPES


LAYERS = {"w": (Axis("in", -1), Axis("h")), "v": (Axis("h", -1), Axis("out"))}


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SymmetrySpec(LAYERS, (IN,)), "axes must be a tuple, got dict; Symm"),
        (lambda: SymmetrySpec.create(LAYERS, IN), "spaces must be a list .*got Space"),
        (lambda: SymmetrySpec.create(LAYERS, {"in": IN}), "list of Space.*got dict"),
        (lambda: SymmetrySpec.create(LAYERS, ["in"]), r"hold Space\(name.*got 'in'"),
        (lambda: SymmetrySpec.create({"b": Axis("h")}, [IN]), r"write \(Axis\("),
        (lambda: Axis(IN), "named by a string, got .*pass its name, 'in'"),
        (lambda: Axis(-1, "in"), "named by a string, got -1"),
        (lambda: Axis("h", repeat=2.5), "repeat must be an integer, got 2.5"),
        (
            lambda: Axis("h", power=True),
            "power must be an integer or a Fraction, got True",
        ),
        (lambda: Space("h", Group.SIGN, "30"), "frequency must be a number"),
    ],
)
def test_fields_of_another_kind_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_groups_may_be_named():
    for group in Group:
        for name in (group.value, group.name, str(group)):
            assert Space("h", name) == Space("h", group)
    with pytest.raises(ValueError, match="unknown group 'scales'; write one of"):
        Space("h", "scales")


def test_statistics_are_found_by_name_or_named():
    axes = {
        "params": {"w": (Axis("in", -1), Axis("h", 0)), "v": LAYERS["v"]},
        "batch_stats": {"mean": (Axis("h", 0),)},
        "bn": {"running_var": (Axis("h", 0),), "other": (Axis("h", 0),)},
    }
    spaces = [IN, Space("h", Group.PERMUTATION), OUT]
    found = SymmetrySpec.create(axes, spaces).statistics
    assert found == (("batch_stats", "mean"), ("bn", "running_var"))
    spec = SymmetrySpec.create(
        axes, spaces, statistics=["bn/other"], statistics_weight=0.5
    )
    assert spec.statistics == (("bn", "other"),)
    assert spec.match_weight(("bn", "other")) == 0.5
    assert spec.match_weight(("batch_stats", "mean")) == 1
    assert SymmetrySpec.create(axes, spaces, statistics=[]).statistics == ()
    with pytest.raises(ValueError, match="No parameter is called 'ema'"):
        SymmetrySpec.create(axes, spaces, statistics=["ema"])
    with pytest.raises(ValueError, match="statistics_weight must be >= 0"):
        SymmetrySpec.create(axes, spaces, statistics_weight=-1.0)


def test_without_scales_there_is_nothing_that_only_adds_some():
    """A space of scales alone has no axis of its own that would tell its size."""
    neurons = Axis("h", 0, also=(("more", 1), ("flips", 1)))
    spec = SymmetrySpec.create(
        {"w": (symmetry.Blocks(((neurons,), (2,))),), "b": (Axis("h", 0),)},
        [
            Space("h", Group.PERMUTATION),
            Space("more", Group.SCALE, follows="h"),
            Space("flips", Group.SIGN, follows="h"),
        ],
    )
    left = spec.without_scales()
    assert left.sizes({"w": np.zeros(5), "b": np.zeros(3)}) == {"h": 3, "flips": 3}
    [kept] = [axis.also for _, _, axis in left.uses("flips", 1)]
    assert kept == (("flips", 1),)
