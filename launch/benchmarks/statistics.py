"""How much running statistics should count where networks are matched by weights.

Merged accuracy for `SymmetrySpec.statistics_weight` between 0 (moved, not matched) and
1 (matched like weights): pairs of BatchNorm CNNs of digits, trained here from different
seeds, and, where the data folder holds it, the pair of splice-site networks (top-1
accuracy of sites, on a subset of the windows). Statistics of the merged network are the
averaged ones or estimated again on data.
"""

import dataclasses
import itertools
import os
import pathlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import symmerge_jax
from symmerge_jax import alignment, files, symmetry

WEIGHTS = (0.0, 0.01, 0.1, 1.0)
NUM_NETWORKS = 6
NUM_WINDOWS = 60


def run():
    table = []
    for name, make in {"digits": _digits, "splice sites": _splice_sites}.items():
        if (problem := make()) is None:
            continue
        pairs, spec, score, estimate = problem
        for weight in WEIGHTS:
            table.append(_row(name, weight, pairs, spec, score, estimate))
            print(table[-1], flush=True)  # noqa: T201
    return {"table": table}


def _row(name, weight, pairs, spec, score, estimate):
    spec = dataclasses.replace(spec, statistics_weight=weight)
    averaged, estimated, distances = [], [], []
    matching = dataclasses.replace(spec, statistics_weight=0.0)
    for a, b in pairs:
        aligner = alignment.WeightMatching(num_random_starts=4)
        element = symmerge_jax.align(a, b, spec, aligner=aligner).result.element
        moved = symmetry.act(element, b, spec)
        merged = jax.tree.map(lambda x, y: (x + y) / 2, a, moved)
        averaged.append(score(merged))
        estimated.append(score(estimate(merged)))
        stay = symmerge_jax.align(
            a,
            moved,
            matching,
            aligner=alignment.WeightMatching(
                permute=False, rescale=False, starts=("identity",), max_sweeps=0
            ),
        )
        distances.append(float(stay.result.objective[0]))
    return {
        "networks": name,
        "pairs": len(pairs),
        "statistics_weight": weight,
        "averaged": round(float(np.mean(averaged)), 4),
        "estimated": round(float(np.mean(estimated)), 4),
        "estimated_std": round(float(np.std(estimated)), 4),
        "distance_of_weights": round(float(np.mean(distances)), 2),
    }


class _Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        for i in range(3):
            x = nn.Conv(32, (3, 3), strides=1 + (i > 0), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        return nn.Dense(10)(x.mean((1, 2)))


def _digits():
    from sklearn import datasets

    digits: Any = datasets.load_digits()
    images = (digits.images / 16).astype(np.float32)[..., None]
    (x, test_x), (y, test_y) = (np.split(z, [1400]) for z in (images, digits.target))
    net, optimizer = _Net(), optax.adam(3e-3)

    @jax.jit
    def step(variables, memory, x, y):
        def loss(params):
            logits, new = net.apply(
                {**variables, "params": params}, x, True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean(), new

        gradient, new = jax.grad(loss, has_aux=True)(variables["params"])
        updates, memory = optimizer.update(gradient, memory)
        params = optax.apply_updates(variables["params"], updates)
        return {**new, "params": params}, memory

    def train(seed):
        variables = net.init(jax.random.key(seed), x[:1])
        memory, generator = (
            optimizer.init(variables["params"]),
            np.random.default_rng(seed),
        )
        for _ in range(250):
            chosen = generator.integers(0, len(x), 64)
            variables, memory = step(variables, memory, x[chosen], y[chosen])
        return dict(variables)

    apply = jax.jit(net.apply)
    update = jax.jit(lambda v: net.apply(v, x, True, mutable=["batch_stats"])[1])

    def estimate(variables):
        for _ in range(60):
            variables = {**variables, **update(variables)}
        return variables

    score = lambda v: float((apply(v, test_x).argmax(1) == test_y).mean())  # noqa: E731
    trained = [train(seed) for seed in range(NUM_NETWORKS)]
    pairs = list(itertools.combinations(trained, 2))
    return pairs, _digits_spec(), score, estimate


def _digits_spec():
    axis, space, group = symmetry.Axis, symmetry.Space, symmetry.Group
    names = ["in", "h0", "h1", "h2"]
    params, statistics = {}, {}
    for i, (read, written) in enumerate(itertools.pairwise(names)):
        conv = (None, None, axis(read, -1), axis(written, 0))
        params[f"Conv_{i}"] = {"kernel": conv}
        norm = f"BatchNorm_{i}"
        params[norm] = {key: (axis(written),) for key in ("scale", "bias")}
        statistics[norm] = {key: (axis(written, 0),) for key in ("mean", "var")}
    params["Dense_0"] = {
        "kernel": (axis("h2", -1), axis("out")),
        "bias": (axis("out"),),
    }
    spaces = [space("in", group.TRIVIAL), *(space(n, group.SCALE) for n in names[1:])]
    spaces.append(space("out", group.TRIVIAL))
    tree = {"params": params, "batch_stats": statistics}
    return symmetry.SymmetrySpec.create(tree, spaces)


def _splice_sites():
    folder = pathlib.Path(os.environ.get("SYMMERGE_DATA_DIR", "data")) / "openspliceai"
    if not folder.is_dir():
        return None
    pair = []
    for seed in (10, 11):
        tensors = files.load_torch_state_dict(folder / f"mane_400nt_rs{seed}.pt")
        pair.append(
            {k: np.asarray(v) for k, v in tensors.items() if not k.endswith("tracked")}
        )
    windows = np.load(folder / "windows.npz")
    one_hot = lambda c: (c[:, None] == np.arange(4)[None, :, None]).astype(np.float32)  # noqa: E731
    sites = np.argsort(-(windows["y"] > 0).sum(1), kind="stable")[:NUM_WINDOWS]
    x, y, data = (
        one_hot(windows["x"][sites]),
        windows["y"][sites],
        windows["background"],
    )
    data = one_hot(data[:40])
    apply = jax.jit(lambda params, x: _splice(params, x, None))

    def score(params):
        parts = [apply(params, x[i : i + 20]) for i in range(0, len(x), 20)]
        logits = jax.nn.log_softmax(jnp.concatenate(parts), axis=1)
        top = []
        for kind in (1, 2):
            scores, true = np.ravel(logits[:, kind]), (y == kind).ravel()
            top.append(true[np.argsort(-scores)[: true.sum()]].mean())
        return float(np.mean(top))

    @jax.jit
    def estimate(params):
        found = {}
        _splice(params, data, found)
        return {**params, **found}

    return [tuple(pair)], _splice_spec(pair[0]), score, estimate


def _splice(params, x, found):
    """Return logits; with `found`, normalise by the batch and put its moments there."""

    def conv(name, x, dilation=1):
        kernel = params[name + ".weight"]
        pad = (kernel.shape[-1] - 1) * dilation // 2
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            (1,),
            [(pad, pad)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NCH", "OIH", "NCH"),
        )
        return y + params[name + ".bias"][:, None]

    def norm(name, x):
        mean, var = params[name + ".running_mean"], params[name + ".running_var"]
        if found is not None:
            mean, var = x.mean((0, 2)), x.var((0, 2))
            found.update({name + ".running_mean": mean, name + ".running_var": var})
        x = (x - mean[:, None]) * jax.lax.rsqrt(var + 1e-5)[:, None]
        x = x * params[name + ".weight"][:, None] + params[name + ".bias"][:, None]
        return jax.nn.leaky_relu(x, 0.1)

    x = conv("initial_conv", x)
    y = conv("initial_skip.conv", x)
    for number, dilation in {0: 1, 1: 1, 2: 1, 3: 1, 5: 4, 6: 4, 7: 4, 8: 4}.items():
        unit = f"residual_units.{number}."
        z = conv(unit + "conv1", norm(unit + "batchnorm1", x), dilation)
        x = x + conv(unit + "conv2", norm(unit + "batchnorm2", z), dilation)
        if number in (3, 8):
            y = y + conv(f"residual_units.{number + 1}.conv", x)
    return conv("final_conv", y[:, :, 200:-200])


def _splice_spec(tensors):
    """Return the permutations: of the stream, of what is skipped to the end, inside."""

    def spaces_of(name):
        layer = name.rsplit(".", 1)[0]
        if layer == "initial_conv":
            return "stream", "in"
        if layer == "final_conv":
            return "out", "skip"
        if layer.endswith("conv"):
            return "skip", "stream"
        inside = "inside" + layer.split(".")[1]
        if "batchnorm" in layer:
            return "stream" if layer.endswith("1") else inside, None
        return (inside, "stream") if layer.endswith("1") else ("stream", inside)

    axis, space, group = symmetry.Axis, symmetry.Space, symmetry.Group
    axes, names = {}, {}
    for name in tensors:
        written, read = spaces_of(name)
        names[written] = None
        axes[name] = (axis(written),)
        if read is not None:
            axes[name] += axis(read, -1), None
    inside = sorted(name for name in names if name.startswith("inside"))
    spaces = [space("in", group.TRIVIAL)]
    spaces += [space(n, group.PERMUTATION) for n in ("stream", *inside, "skip")]
    spaces.append(space("out", group.TRIVIAL))
    statistics = [name for name in tensors if ".running_" in name]
    return symmetry.SymmetrySpec.create(axes, spaces, statistics=statistics)
