"""Whether certificates can be fooled: wrong specs that pass, right ones refused.

Wrong specs are true ones with one mistake. A mistake that leaves a spec true (a smaller
group, say) is not counted: it is found out by moving many random networks in float64.
Right specs come with networks as they are met: dead neurons, zero biases, weights of
any size and type, and models that compute in float32 or bfloat16.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import certificate_cases, certificate_mistakes, timing
from symmerge_jax import certificates, networks, symmetry


def run(num_wrong: int = 16, num_seeds: int = 2) -> dict[str, Any]:
    """Count both kinds of mistake.

    Args:
      num_wrong: wrong specs of each network, drawn at random; all if there are fewer.
      num_seeds: networks of each kind with the right spec.

    Returns:
      Numbers of wrong specs, of calls that they were tried with (random inputs, inputs
      as in use, and the zeros of `model.init`) and of calls that passed, refused the
      spec, or said that it was not tested; numbers of right networks and of those that
      were refused; names of what went wrong; seconds of a large MLP.
    """
    return {**wrong_specs(num_wrong), **right_specs(num_seeds), **times()}


def wrong_specs(num_wrong: int, names: Any = None) -> dict[str, Any]:
    """Try wrong specs of the named networks, all by default."""
    random = np.random.default_rng(0)
    cases = certificate_cases.cases()
    count = {"wrong_specs": 0, "wrong_calls": 0, "refused": 0, "not_tested": 0}
    passed = []
    for case in [cases[name] for name in names or cases]:
        mutations = list(certificate_mistakes.mutations(case.spec))
        found = 0
        for index in random.permutation(len(mutations)):
            what, fields = mutations[index]
            spec = certificate_mistakes.build(fields, case.draw(random))
            if spec is None or certificate_mistakes.is_true(case, spec):
                continue
            count["wrong_specs"] += 1
            for given, options in _ways(case, random):
                verdict = _try_wrong(case, spec, random, options)
                count["wrong_calls"] += 1
                if verdict == "passed":
                    passed.append(f"{case.name}: {what}, {given}")
                else:
                    count[verdict] += 1
            found += 1
            if found == num_wrong:
                break
    if names is None:
        case = certificate_cases.transposed_flatten()
        assert not certificate_mistakes.is_true(case, case.spec)
        count["wrong_specs"] += 1
        for given, options in _ways(case, random):
            verdict = _try_wrong(case, case.spec, random, options)
            count["wrong_calls"] += 1
            if verdict == "passed":
                passed.append(f"{case.name}, {given}")
            else:
                count[verdict] += 1
    return {**count, "wrong_passed": len(passed), "passed_names": passed}


def right_specs(num_seeds: int, names: Any = None) -> dict[str, Any]:
    """Try right specs of the named networks, all by default."""
    cases = certificate_cases.cases()
    refused, number = [], 0
    for case in [cases[name] for name in names or cases]:
        for kind, change in CHANGES.items():
            for seed in range(num_seeds):
                random = np.random.default_rng(seed)
                params, apply = change(case.draw(random), case.apply, random)
                number += 1
                ways = _ways(case, random)[:2]
                given, options = ways[seed % len(ways)]
                if reason := _try_right(apply, params, case.spec, options, seed):
                    refused.append(f"{case.name}, {kind}, {given}: {reason}")
    if names is None:
        for seed in range(num_seeds):
            network = networks.mlp((3, 1, 1, 2), ("relu", "tanh")[seed % 2])
            # Positive weights: without a living neuron nothing can be tested.
            params = jax.tree.map(
                lambda x: np.abs(x) + 0.1, network.init(jax.random.key(seed))
            )
            number += 1
            if reason := _try_right(network.apply, params, network.spec, {}, seed):
                refused.append(f"one neuron: {reason}")
    return {
        "right_networks": number,
        "right_refused": len(refused),
        "refused_names": refused,
    }


def times() -> dict[str, float]:
    """Return seconds of a check and a comparison, of the second call."""
    network = networks.mlp((784, 512, 512, 512, 10))
    params = network.init(jax.random.key(0))
    sizes = network.spec.sizes(params)
    element = symmetry.sample(jax.random.key(1), network.spec, sizes)
    twin = symmetry.act(element, params, network.spec)
    calls = {
        "check_spec": lambda: certificates.check_spec(params, network),
        "certify": lambda: certificates.certify(params, element, network),
        "compare": lambda: certificates.compare_functions(params, twin, network),
    }
    found = {}
    for name, call in calls.items():
        for kind in ("first", "second"):
            found[f"{name}_{kind}_seconds"] = timing.once(call)
    return found


def _ways(case, random) -> list[tuple[str, dict[str, Any]]]:
    """Return the ways in which a user passes inputs."""
    ways = [
        ("inputs as in use", {"inputs": case.inputs(random)}),
        ("zeros", {"inputs": case.dummy}),
    ]
    if case.input_shape is not None:
        ways.insert(0, ("random inputs", {"input_shape": case.input_shape}))
    return ways


def _try_wrong(case, spec, random, options) -> str:
    try:
        certificates.check_spec(case.draw(random), spec, apply=case.apply, **options)
    except ValueError as error:
        return "not_tested" if "not tested" in str(error) else "refused"
    return "passed"


def _try_right(apply, params, spec, options, seed: int) -> str:
    """Return why a right network is refused, or nothing."""
    try:
        certificates.check_spec(params, spec, apply=apply, **options)
        batch = spec.batch_shape(params)
        sizes = spec.sizes(jax.tree.map(lambda x: x[(0,) * len(batch)], params))
        sample = lambda key: symmetry.sample(key, spec, sizes, scale_std=0.5)  # noqa: E731
        key = jax.random.key(seed)
        if batch:
            element = jax.vmap(sample)(jax.random.split(key, batch[0]))
            act = jax.vmap(lambda g, x: symmetry.act(g, x, spec))
        else:
            element = sample(key)
            act = lambda g, x: symmetry.act(g, x, spec)  # noqa: E731
        certificates.certify(params, element, spec, apply=apply, **options).require(
            "certify:"
        )
        with jax.enable_x64(True):
            double = jax.tree.map(
                lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, element
            )
            twin = jax.tree.map(np.asarray, act(double, params))
        certificates.compare_functions(
            params, twin, spec, apply=apply, **options
        ).require("compare:")
    except ValueError as error:
        return str(error)
    return ""


def _cast(dtype):
    return lambda p, apply, random: (jax.tree.map(lambda x: x.astype(dtype), p), apply)


def _scaled(factor: float):
    # Positive biases: they outweigh what is read, and would let whole layers die.
    def change(params, apply, random):
        scale = lambda x: factor * (np.abs(x) if x.ndim == 1 else x)  # noqa: E731
        return jax.tree.map(scale, params), apply

    return change


def _computing(dtype):
    """Return models that fix their computing type, as `nn.Dense(dtype=...)` does."""

    def low(x):
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def change(params, apply, random):
        return params, lambda p, x: apply(*jax.tree.map(low, (p, jnp.asarray(x))))

    return change


def _zero_biases(params, apply, random):
    zero = lambda x: np.zeros_like(x) if x.ndim == 1 and (x < 0).any() else x  # noqa: E731
    return jax.tree.map(zero, params), apply


def _dead(params, apply, random):
    """Let some neurons die: zero weights, and zero variance."""

    def kill(x):
        x = x.copy()
        x[..., ::3] = 0
        return x

    return jax.tree.map(kill, params), apply


def _batch(params, apply, random):
    return jax.tree.map(lambda x: np.stack([x, 0.7 * x, 1.5 * x]), params), apply


CHANGES = {
    "as trained": lambda params, apply, random: (params, apply),
    "float64": _cast(np.float64),
    "float16": _cast(np.float16),
    "bfloat16": _cast(jnp.bfloat16),
    "weights of 1e-3": _scaled(1e-3),
    "weights of 1e3": _scaled(1e3),
    "computing in float32": _computing(jnp.float32),
    "computing in bfloat16": _computing(jnp.bfloat16),
    "zero biases": _zero_biases,
    "dead neurons": _dead,
    "a batch": _batch,
}
