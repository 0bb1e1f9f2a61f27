"""A certificate that passes could have failed, and true symmetries are not refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import certificates as cases
from symmerge_jax import certificates, networks, symmetry
from symmerge_jax.symmetry import Axis, Group, Space, SymmetrySpec

MLP = networks.mlp((4, 6, 3), "relu")
SPACES = [
    Space("in", Group.TRIVIAL),
    Space("hidden_0", Group.SCALE),
    Space("out", Group.TRIVIAL),
]


WRITTEN = Axis("in", -1), Axis("hidden_0")
READ = Axis("hidden_0", -1), Axis("out")


def mlp_axes(kernel_0=WRITTEN, kernel_1=READ):
    return {
        "dense_0": {"kernel": kernel_0, "bias": (Axis("hidden_0"),)},
        "dense_1": {"kernel": kernel_1, "bias": (Axis("out"),)},
    }


def mlp_spec(**kernels):
    return SymmetrySpec.create(mlp_axes(**kernels), SPACES)


def draw(network=MLP, seed=0, **changes):
    params = jax.tree.map(np.array, network.init(jax.random.key(seed)))
    for name, value in changes.items():
        params[name]["bias"][:] = value
    return params


WRITES_NOTHING = mlp_spec(kernel_0=(Axis("in", -1), None))
READS_NOTHING = mlp_spec(kernel_1=(None, Axis("out")))


@pytest.mark.parametrize("inputs", [np.zeros((1, 4)), np.ones((1, 4))])
def test_the_dummy_of_init_does_not_hide_an_axis(inputs):
    with pytest.raises(ValueError, match="does not fit"):
        certificates.check_spec(draw(), WRITES_NOTHING, apply=MLP.apply, inputs=inputs)
    certificates.check_spec(draw(), MLP, inputs=inputs)


def test_thresholds_that_the_inputs_do_not_reach_do_not_hide_an_axis():
    params = draw(dense_0=-20.0)
    with pytest.raises(ValueError, match="does not fit"):
        certificates.check_spec(params, READS_NOTHING, apply=MLP.apply)
    certificates.check_spec(params, MLP)
    # Pixels reach them.
    proof = certificates.certify(params, {}, MLP)
    assert proof.passed and "[0, 255]" in proof.notes.pairs[0][0]


def test_outputs_that_are_zero_prove_nothing():
    params = draw(dense_0=-1e4)
    proof = certificates.certify(params, {}, MLP)
    assert proof.max_difference == 0 and proof.output_scale == 0 and not proof.passed
    with pytest.raises(ValueError, match=r"b was not tested: .* zero .* pass inputs="):
        proof.require("b")


def test_a_space_that_inputs_do_not_reach_is_named():
    def gated(params, x):
        bias = params["dense_1"]["bias"][None]
        return jnp.where(x[:, :3] > 1e6, MLP.apply(params, x), bias)

    with pytest.raises(ValueError, match=r"not tested: inputs do not reach .*hidden_0"):
        certificates.check_spec(draw(), MLP.spec, apply=gated)
    with pytest.raises(ValueError, match=r"does not fit|not tested"):
        certificates.check_spec(draw(), READS_NOTHING, apply=gated)
    certificates.check_spec(draw(), MLP.spec, apply=gated, inputs=2e6 * np.ones((3, 4)))


def two_outputs(params, x):
    return {"value": 1e9 * x[:, :1], "logits": MLP.apply(params, x)}


def test_a_small_output_beside_a_large_one_counts():
    with pytest.raises(ValueError, match=r"does not fit .* output\['logits'\]"):
        certificates.check_spec(draw(), READS_NOTHING, apply=two_outputs)
    certificates.check_spec(draw(), MLP.spec, apply=two_outputs)
    scale = {"hidden_0": symmetry.Monomial(np.arange(6), np.full(6, 2.0))}
    proof = certificates.certify(draw(), scale, READS_NOTHING, apply=two_outputs)
    assert not proof.passed and proof.output_scale < 100
    with pytest.raises(ValueError, match=r"differ by .* at output\['logits'\]"):
        proof.require("b")


SATURATED = {
    "labels": lambda params, x: MLP.apply(params, x).argmax(-1),
    "labels as floats": lambda p, x: MLP.apply(p, x).argmax(-1).astype(float),
    "saturated": lambda params, x: jax.nn.softmax(1e12 * MLP.apply(params, x)),
}


@pytest.mark.parametrize("name", SATURATED)
def test_labels_prove_nothing(name):
    apply = SATURATED[name]
    with pytest.raises(ValueError, match=r"not tested: .* apply should return logits"):
        certificates.check_spec(draw(), MLP.spec, apply=apply)
    proof = certificates.certify(draw(), {}, MLP.spec, apply=apply)
    assert not proof.passed and "logits" in proof.notes.pairs[0][1]
    both = lambda params, x: (MLP.apply(params, x), apply(params, x))  # noqa: E731
    assert certificates.certify(draw(), {}, MLP.spec, apply=both).passed


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_model_may_compute_in_a_narrow_type(dtype):
    def apply(params, x):
        low = lambda leaf: leaf.astype(dtype)  # noqa: E731
        return MLP.apply(jax.tree.map(low, params), low(x)).astype(jnp.float32)

    certificates.check_spec(draw(), MLP.spec, apply=apply)
    with pytest.raises(ValueError, match="does not fit"):
        certificates.check_spec(draw(), READS_NOTHING, apply=apply)
    element = symmetry.sample(jax.random.key(1), MLP.spec, MLP.spec.sizes(draw()))
    proof = certificates.certify(draw(), element, MLP.spec, apply=apply)
    # It is followed without its casts.
    assert proof.passed and proof.max_difference < 1e-13


@jax.jit
def loops(params, x):
    """A network in float16 with every kind of inner program."""
    low = jax.tree.map(lambda p: p.astype(jnp.float16), params)
    x = jax.checkpoint(MLP.apply)(low, x.astype(jnp.float16))
    x, _ = jax.lax.scan(lambda c, k: (c * k, c), x, jnp.ones(2, jnp.float16))
    x = jax.lax.fori_loop(0, 2, lambda i, c: c + jax.nn.silu(c), x)
    noise = jax.random.normal(jax.random.key(0), x.shape, jnp.float16)
    x = x.at[1, :2].set(x[0, :2]).at[0, :1].add(1)
    return jax.lax.cond(x[0, 0] < 1e4, lambda: x + noise, lambda: x)


def test_a_narrow_model_with_loops_is_followed():
    certificates.check_spec(draw(), MLP.spec, apply=loops)
    element = symmetry.sample(jax.random.key(1), MLP.spec, MLP.spec.sizes(draw()))
    proof = certificates.certify(draw(), element, MLP.spec, apply=loops)
    assert proof.passed and proof.max_difference < 1e-12


def test_what_cannot_be_followed_is_measured():
    def apply(params, x):
        # A sum of one's own.
        add = lambda a, b: a + b + 0 * a  # noqa: E731
        out = MLP.apply(params, x).astype(jnp.float32)
        return jax.lax.reduce(out[None], np.float32(0), add, [0])

    certificates.check_spec(draw(), MLP.spec, apply=apply)
    with pytest.raises(ValueError, match="does not fit"):
        certificates.check_spec(draw(), READS_NOTHING, apply=apply)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_what_is_returned_may_be_rounded_but_not_overflow(dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), draw(dense_0=0.1))
    element = symmetry.sample(jax.random.key(1), MLP.spec, MLP.spec.sizes(params))
    act = lambda element: symmetry.act(element, params, MLP.spec)  # noqa: E731
    proof = certificates.compare_functions(params, act(element), MLP)
    assert proof.passed, proof
    kernel = np.array(act(element)["dense_1"]["kernel"])
    kernel[0] = 2 * kernel[0] + 1
    wrong = {"dense_0": act(element)["dense_0"], "dense_1": {"kernel": kernel}}
    wrong["dense_1"]["bias"] = params["dense_1"]["bias"]
    assert not certificates.compare_functions(params, wrong, MLP).passed
    kernel[0] = np.inf
    proof = certificates.compare_functions(params, wrong, MLP)
    assert not proof.passed
    with pytest.raises(ValueError, match="not finite"):
        proof.require("b")


def test_variances_of_zero_stay_positive():
    def apply(p, x):
        y = (x @ p["w0"] - p["mean"][None]) / jnp.sqrt(p["var"])[None]
        return jax.nn.relu(y * p["gamma"][None]) @ p["w1"]

    random = np.random.default_rng(0)
    params = {
        "w0": random.normal(size=(4, 6)),
        "mean": random.normal(size=6),
        "var": random.uniform(1, 2, size=6),
        "gamma": random.uniform(1, 2, size=6),
        "w1": random.normal(size=(6, 2)),
    }
    kept, out = Axis("h", 0), Axis("out")
    axes = {
        "w0": (Axis("in", -1), kept),
        "mean": (kept,),
        "var": (kept,),
        "gamma": (Axis("h"),),
        "w1": (Axis("h", -1), out),
    }
    spaces = [Space("in", "trivial"), Space("h", "scale"), Space("out", "trivial")]
    spec = SymmetrySpec.create(axes, spaces)
    params["var"][[0, 3]] = 0
    certificates.check_spec(params, spec, apply=apply)
    wrong = SymmetrySpec.create({**axes, "var": (None,)}, spaces)
    with pytest.raises(ValueError, match="does not fit"):
        certificates.check_spec(params, wrong, apply=apply)


def test_parameters_that_no_output_depends_on_are_no_obstacle():
    params = {**draw(), "ema": np.ones(6), "count": np.int32(3), "key": None}
    axes = {**mlp_axes(), "ema": (Axis("hidden_0", 0),)}
    spec = SymmetrySpec.create(axes, SPACES)
    zeros = np.zeros((1, 4))
    certificates.check_spec(params, spec, apply=MLP.apply, inputs=zeros)
    assert certificates.certify(params, {}, spec, apply=MLP.apply, inputs=zeros).passed


def test_equal_tokens_do_not_test_attention():
    def apply(p, ids):
        x = p["table"][ids]
        return jax.nn.softmax((x @ p["q"]) @ (x @ p["k"]).T) @ x @ p["out"]

    random = np.random.default_rng(0)
    shapes = {"table": (5, 4), "q": (4, 3), "k": (4, 3), "out": (4, 2)}
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    qk, read, out = Axis("qk", 0), Axis("d", -1), Axis("out")
    axes = {
        "table": (Axis("in", -1), Axis("d")),
        "q": (read, qk),
        "k": (read, qk),
        "out": (read, out),
    }
    spaces = [Space("in", "trivial"), Space("d", "permutation")]
    spaces += [Space("qk", "trivial"), Space("out", "trivial")]
    spec = SymmetrySpec.create(axes, spaces)
    certificates.check_spec(params, spec, apply=apply, inputs=np.arange(5))
    with pytest.raises(ValueError, match=r"depends on parameter '[kq]' .* that vary"):
        certificates.check_spec(params, spec, apply=apply, inputs=np.zeros(3, int))


def test_dead_layers_beside_living_ones_are_passed():
    network = networks.residual_mlp((3, 5, 2), 4, 2)
    params = jax.tree.map(np.array, network.init(jax.random.key(0)))
    params["block_1"]["read"]["bias"][:] = -1e4
    element = symmetry.sample(
        jax.random.key(0), network.spec, network.spec.sizes(params)
    )
    assert certificates.certify(params, element, network).passed
    params["block_0"]["write"]["kernel"][:] = 0
    certificates.check_spec(params, network)
    assert certificates.certify(params, element, network).passed


def test_outputs_that_are_not_finite_are_refused():
    apply = lambda params, x: MLP.apply(params, x) / jnp.zeros(())  # noqa: E731
    with pytest.raises(ValueError, match="not tested: outputs are not finite"):
        certificates.check_spec(draw(), MLP.spec, apply=apply)


def test_traced_arrays_are_refused():
    for verb in (
        lambda p: certificates.check_spec(p, MLP),
        lambda p: certificates.certify(p, {}, MLP),
        lambda p: certificates.compare_functions(p, p, MLP),
    ):
        with pytest.raises(TypeError, match="needs the values of the networks"):
            jax.jit(verb)(draw())


IMPURE = {
    "float": lambda params, x: x * float(params["dense_0"]["bias"][0]),
    "numpy": lambda params, x: np.asarray(params["dense_0"]["bias"]) * 1.0,
    "if": lambda params, x: x if params["dense_0"]["bias"][0] > 0 else -x,
    "int": lambda params, x: x[: int(params["dense_0"]["bias"][0])],
}


@pytest.mark.parametrize("name", IMPURE)
def test_an_impure_apply_is_named(name):
    with pytest.raises(TypeError, match=r"^apply is not a pure JAX function"):
        certificates.check_spec(draw(), MLP.spec, apply=IMPURE[name])
    with pytest.raises(TypeError, match=r"^apply is not a pure JAX function"):
        certificates.certify(draw(), {}, MLP.spec, apply=IMPURE[name])


def test_what_apply_reads_may_change():
    data = {"factor": np.ones((1, 3))}
    apply = lambda params, x: data["factor"] * MLP.apply(params, x)  # noqa: E731
    one = certificates.certify(draw(), {}, MLP.spec, apply=apply)
    data["factor"] = np.full((1, 3), 7.0)
    other = certificates.certify(draw(), {}, MLP.spec, apply=apply)
    np.testing.assert_allclose(other.output_scale, 7 * one.output_scale)


@pytest.mark.parametrize("x64", [False, True])
def test_strict_promotion_and_double_precision(x64):
    params = draw()
    element = symmetry.sample(jax.random.key(1), MLP.spec, MLP.spec.sizes(params))
    with jax.numpy_dtype_promotion("strict"), jax.enable_x64(x64):
        certificates.check_spec(params, MLP)
        proof = certificates.certify(params, element, MLP)
        assert proof.passed
        assert certificates.compare_functions(params, params, MLP).passed


@pytest.mark.slow
def test_without_compilation():
    with jax.disable_jit():
        certificates.check_spec(draw(), MLP)
        assert certificates.certify(draw(), {}, MLP).passed
        with pytest.raises(ValueError, match="does not fit"):
            certificates.check_spec(draw(), READS_NOTHING, apply=MLP.apply)


@pytest.fixture
def benchmark():
    with jax.numpy_rank_promotion("allow"):  # its networks are as users write them
        yield cases


@pytest.mark.slow
def test_no_wrong_spec_passes(benchmark):
    names = ["mlp gelu", "two outputs", "attention"]
    found = benchmark.wrong_specs(2, names)
    assert found["passed_names"] == []
    assert found["wrong_specs"] == 6
    assert found["refused"] + found["not_tested"] == found["wrong_calls"]


@pytest.mark.slow
def test_no_right_network_is_refused(benchmark):
    found = benchmark.right_specs(1, ["batch norm"])
    assert found["refused_names"] == []
    assert found["right_networks"] == len(benchmark.CHANGES)
