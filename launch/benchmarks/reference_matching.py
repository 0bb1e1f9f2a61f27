"""Weight matching as one writes it by hand: numpy and scipy, one pair, one start.

The plain alternative that `alignment.py` in this folder measures against. It does the
same work as `alignment.WeightMatching` for chains of dense layers: the same objective,
the same rule to stop, the best of the same starts. It is written to be fast in numpy:
the rows of the network that stays are joined once, and the other network is permuted by
indexing. It takes a fifth of the time of the published loop.
"""

import jax.numpy as jnp
import numpy as np
from scipy import optimize

from symmerge_jax import symmetry

_SLACK = 8 * float(np.finfo(np.float32).eps)


def to_layers(params):
    """Return `[(kernel [I, O], bias [O]), ...]` of an MLP or SIREN."""
    return [
        (np.asarray(layer["kernel"]), np.asarray(layer["bias"]))
        for _, layer in sorted(params.items())
    ]


def match(layers_a, layers_b, starts, *, signed, order=None, max_sweeps=100):
    """Return the best element from several starts, its gain, and the sweeps of all.

    Args:
      layers_a: the network that stays.
      layers_b: the network that moves.
      starts: list of elements, each a list of `(perm, sign)` by hidden layer.
      signed: match signs too.
      order: a numpy generator to draw the order of the layers, as published; None to go
        from inputs to outputs.
      max_sweeps: bound on the sweeps from each start.

    Returns:
      The element, the inner product of both networks that it reaches, and the number of
      sweeps from all starts.
    """
    rows_a = [
        _rows(layers_a[i][0], layers_a[i][1], layers_a[i + 1][0])
        for i in range(len(layers_a) - 1)
    ]
    best, best_gain, sweeps = None, -np.inf, 0
    for start in starts:
        element, count = _descend(
            rows_a, layers_b, list(start), signed, order, max_sweeps
        )
        gain = _inner_product(layers_a, move(layers_b, element))
        sweeps += count
        if gain > best_gain:
            best, best_gain = element, gain
    return best, best_gain, sweeps


def published(generator, params_a, params_b, spec, *, max_sweeps=100):
    """Match two networks as published, space by space, in eager JAX and scipy.

    Algorithm 1 of Ainsworth et al. 2023 (arXiv 2209.04836), written after its
    description: from the identity, in random order, one assignment problem per space
    in every sweep, until a sweep gains nothing. For every parameter of a space, rows of
    `a` are multiplied with rows of `b`, which all other permutations have moved.

    Args:
      generator: of numpy, for the order.
      params_a: the network that stays.
      params_b: the network that moves.
      spec: symmetry of both; signs and scales are not matched.
      max_sweeps: bound on the sweeps.

    Returns:
      Permutations by space, and the number of sweeps.
    """
    leaves_a, leaves_b = map(symmetry.flatten, (params_a, params_b))
    sizes, axes_of = spec.sizes(params_a), dict(spec.axes)
    names = [space.name for space in spec.movable_spaces]
    perms = {name: jnp.arange(sizes[name]) for name in names}
    num_sweeps, improved = 0, True
    while improved and num_sweeps < max_sweeps:
        num_sweeps, improved = num_sweeps + 1, False
        for index in generator.permutation(len(names)):
            name = names[index]
            similarity = jnp.zeros((sizes[name], sizes[name]))
            for path, number, _ in spec.uses(name, -1, 0, 1):
                b = leaves_b[path]
                for other, axis in enumerate(axes_of[path]):
                    if other != number and axis is not None and axis.space in perms:
                        b = jnp.take(b, perms[axis.space], axis=other)
                rows_a, rows_b = (
                    jnp.moveaxis(x, number, 0).reshape(sizes[name], -1)
                    for x in (leaves_a[path], b)
                )
                similarity += rows_a @ rows_b.T
            found = optimize.linear_sum_assignment(similarity, maximize=True)[1]
            rows = jnp.arange(sizes[name])
            before = jnp.sum(similarity[rows, perms[name]])
            improved |= bool(jnp.sum(similarity[rows, found]) > before + 1e-12)
            perms[name] = jnp.asarray(found)
    return perms, num_sweeps


def move(layers, element):
    """Return the layers of the network moved by an element."""
    moved = []
    for i, (kernel, bias) in enumerate(layers):
        if i > 0:
            perm, sign = element[i - 1]
            kernel = kernel[perm] * sign[:, None]
        if i < len(element):
            perm, sign = element[i]
            kernel, bias = kernel[:, perm] * sign, bias[perm] * sign
        moved.append((kernel, bias))
    return moved


def outward(layers_a, layers_b, *, signed):
    """Return the start that matches layer by layer from the inputs on."""
    element = []
    for (kernel_a, bias_a), (kernel_b, bias_b) in zip(
        layers_a[:-1], layers_b[:-1], strict=True
    ):
        if element:
            perm, sign = element[-1]
            kernel_b = kernel_b[perm] * sign[:, None]
        similarity = kernel_a.T @ kernel_b + np.outer(bias_a, bias_b)
        if len(element) == len(layers_a) - 2:  # outputs are fixed too
            similarity = similarity + layers_a[-1][0] @ layers_b[-1][0].T
        element.append(_project(similarity, signed))
    return element


def identity(layers):
    """Return the start that moves nothing."""
    sizes = [len(bias) for _, bias in layers[:-1]]
    return [(np.arange(size), np.ones(size, np.float32)) for size in sizes]


def random_start(generator, layers, *, signed):
    """Return a uniformly random start."""
    element = []
    for _, bias in layers[:-1]:
        size = len(bias)
        sign = generator.choice([-1.0, 1.0], size) if signed else np.ones(size)
        element.append((generator.permutation(size), sign.astype(np.float32)))
    return element


def _descend(rows_a, layers_b, element, signed, order, max_sweeps):
    num_hidden, sweeps, improved = len(rows_a), 0, True
    while improved and sweeps < max_sweeps:
        improved, sweeps = False, sweeps + 1
        numbers = range(num_hidden) if order is None else order.permutation(num_hidden)
        for i in numbers:
            similarity = rows_a[i] @ _rows_of_b(layers_b, element, i).T
            found = _project(similarity, signed)
            gain, present = (_gain(similarity, m) for m in (found, element[i]))
            if gain > present + _SLACK * np.abs(similarity).max(1).sum():
                element[i], improved = found, True
    return element, sweeps


def _inner_product(layers_a, moved):
    return sum(
        float(np.vdot(x, y))
        for a, b in zip(layers_a, moved, strict=True)
        for x, y in zip(a, b, strict=True)
    )


def _rows(incoming, bias, outgoing):
    return np.concatenate([incoming.T, bias[:, None], outgoing], axis=1)


def _rows_of_b(layers_b, element, index):
    """Return the rows of a hidden layer of b, its neighbours being moved."""
    (incoming, bias), (outgoing, _) = layers_b[index], layers_b[index + 1]
    if index > 0:
        perm, sign = element[index - 1]
        incoming = incoming[perm] * sign[:, None]
    if index + 1 < len(element):
        perm, sign = element[index + 1]
        outgoing = outgoing[:, perm] * sign
    return _rows(incoming, bias, outgoing)


def _project(similarity, signed):
    gain = np.abs(similarity) if signed else similarity
    perm = optimize.linear_sum_assignment(gain, maximize=True)[1]
    chosen = similarity[np.arange(len(perm)), perm]
    sign = np.where(chosen < 0, -1, 1) if signed else np.ones(len(perm))
    return perm, sign.astype(similarity.dtype)


def _gain(similarity, monomial):
    perm, sign = monomial
    return float(np.sum(sign * similarity[np.arange(len(perm)), perm]))
