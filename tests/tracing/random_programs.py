"""Random programs: a seed chooses steps among the primitives that networks use.

A program makes the same decisions every time that it is called; parameters are made
when they are first asked for. Sizes are few, so that values often fit together.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.tracing.architectures._parts import wide

SIZES = (4, 6, 6, 8)
ACTIVATIONS = (
    jax.nn.relu,
    jnp.tanh,
    jax.nn.gelu,
    jax.nn.leaky_relu,
    jnp.abs,
    jnp.sin,
    jax.nn.softplus,
    lambda x: x,
    lambda x: jnp.clip(x, -1, 2),
    lambda x: x * x / 4,
)
STEADY = ACTIVATIONS[:-1]  # what may be repeated and stays finite


class _Run:
    """One run of a program: decisions, parameters and live values."""

    def __init__(self, seed, param, x):
        self.rng = np.random.default_rng(seed)
        self.param_fn, self.names = param, []
        self.values, self.used = [jnp.asarray(x)], {0}
        self.dtype = x.dtype

    def param(self, *shape, positive=False):
        """A new parameter, or now and then one that was used before."""
        old = [n for n, s in self.names if s == shape and not positive]
        if old and self.rng.random() < 0.08:
            return self.param_fn(old[self.rng.integers(len(old))], shape)
        turned = [n for n, s in self.names if len(shape) == 2 and s == shape[::-1]]
        if turned and self.rng.random() < 0.08:
            return self.param_fn(turned[-1], shape[::-1]).T
        name = f"p{len(self.names)}" + ("_scale" if positive else "")
        self.names.append((name, shape))
        return self.param_fn(name, shape)

    def pick(self, rank=None, like=None):
        """A live value, the newest ones most often."""
        fit = [
            i
            for i, v in enumerate(self.values)
            if (rank is None or v.ndim == rank)
            and (like is None or v.shape == like.shape)
        ]
        if not fit:
            return None
        i = fit[-1 - min(self.rng.geometric(0.6) - 1, len(fit) - 1)]
        self.used.add(i)
        return self.values[i]

    def choose(self, *options):
        return options[self.rng.integers(len(options))]

    def size(self):
        return int(self.rng.choice(SIZES))


def dense(run):
    x, n = run.pick(), run.size()
    y = x @ run.param(x.shape[-1], n)
    if run.rng.random() < 0.7:
        y = y + wide(run.param(n), y)
    return run.choose(*ACTIVATIONS)(y)


def convolution(run):
    if (x := run.pick(rank=3)) is None:
        return None
    n, c = run.size(), x.shape[-1]
    groups = run.choose(1, 1, 1 if c % 2 else 2, c)
    n = c if groups in (c, 3) else n
    y = jax.lax.conv_general_dilated(
        x,
        run.param(run.choose(1, 3), c // groups, n),
        (1,),
        "SAME",
        dimension_numbers=("NHC", "HIO", "NHC"),
        feature_group_count=groups,
    )
    return run.choose(*ACTIVATIONS)(y)


def combine(run):
    x = run.pick()
    y = run.pick(like=x)
    return run.choose(
        jnp.add,
        jnp.add,
        jnp.subtract,
        jnp.multiply,
        jnp.maximum,
        lambda a, b: jnp.where(a > b, a, 0.5 * b),
        lambda a, b: jax.nn.sigmoid(a) * b,
    )(x, y)


def normalise(run):
    x = run.pick()
    n, kind = x.shape[-1], run.choose("layer", "rms", "group", "batch")
    if kind == "group" and n % 2 == 0:
        y = x.reshape(*x.shape[:-1], 2, n // 2)
        y = y - y.mean(-1, keepdims=True)
        y = (y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + 0.1)).reshape(x.shape)
    elif kind == "batch":
        y = x - wide(run.param(n), x)
        y = y * wide(jax.lax.rsqrt(run.param(n, positive=True) + 0.1), x)
    else:
        y = x - x.mean(-1, keepdims=True) if kind == "layer" else x
        y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + 0.1)
    y = y * wide(run.param(n, positive=True), y)
    return y + wide(run.param(n), y) if run.rng.random() < 0.5 else y


def join(run):
    x = run.pick()
    y = run.choose(run.pick(like=x), run.pick(rank=x.ndim))
    z = jnp.concatenate([x, y], -1)
    return z @ run.param(z.shape[-1], run.size())


def halves(run):
    x = run.pick()
    if x.shape[-1] % 2:
        return None
    a, b = jnp.split(x, 2, -1)
    return run.choose(
        lambda: a + b,
        lambda: jnp.tanh(a) * b,
        lambda: jnp.concatenate([b, a], -1),
        lambda: jnp.concatenate([a, jnp.tanh(b)], -1),
        lambda: b,
    )()


def fold(run):
    x = run.pick()
    n = x.shape[-1]
    if n % 2:
        return None
    k = run.choose(2, n // 2)
    y = x.reshape(*x.shape[:-1], k, n // k)
    return run.choose(
        lambda: y.max(-1) @ run.param(k, run.size()),
        lambda: y.sum(-2) @ run.param(n // k, run.size()),
        lambda: jax.nn.softmax(y, -1).reshape(x.shape),
        lambda: jnp.swapaxes(y, -1, -2).reshape(x.shape),
        lambda: (y * jnp.tanh(y).sum(-1, keepdims=True)).reshape(x.shape),
        lambda: jnp.einsum("...ki,kio->...ko", y, run.param(k, n // k, 4)).reshape(
            *x.shape[:-1], 4 * k
        ),
    )()


def attention(run):
    if (x := run.pick(rank=3)) is None:
        return None
    n, heads, k, v = x.shape[-1], run.choose(1, 2), 4, run.choose(2, 4)
    if run.rng.random() < 0.3:
        y = x @ run.param(n, 3 * heads * k)
        q, key, value = (z.reshape(*x.shape[:2], heads, k) for z in jnp.split(y, 3, -1))
        v = k
    else:
        q, key, value = (
            jnp.einsum("btd,dhk->bthk", x, run.param(n, heads, m)) for m in (k, k, v)
        )
    if run.rng.random() < 0.3:
        q = q * jax.lax.rsqrt((q * q).mean(-1, keepdims=True) + 0.1)
    s = jnp.einsum("bthk,bshk->bhts", q, key)
    if run.rng.random() < 0.3:
        s = s + run.param(heads)[None, :, None, None] * jnp.arange(3.0, dtype=run.dtype)
    z = jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(s, -1), value)
    if run.rng.random() < 0.5:
        return jnp.einsum("bthk,hkd->btd", z, run.param(heads, v, n))
    return z.reshape(*x.shape[:2], heads * v) @ run.param(heads * v, n)


def recurrence(run):
    x, n = run.pick(), run.size()
    u = x @ run.param(x.shape[-1], n)
    kernel, f = run.param(n, n), run.choose(*STEADY)
    if x.ndim == 2:
        h = u
        for _ in range(2):
            h = f(u + h @ kernel)
        return h
    first = run.choose(jnp.zeros, jnp.zeros, jnp.ones)((x.shape[0], n), run.dtype)
    gate = run.rng.random() < 0.4

    def body(h, u):
        new = f(h @ kernel + u)
        new = jax.nn.sigmoid(u) * new + 0.5 * h if gate else new
        return new, new

    h, y = jax.lax.scan(body, first, u.swapaxes(0, 1))
    return run.choose(h, y.swapaxes(0, 1))


def stack(run):
    x, m = run.pick(), run.choose(4, 6)
    n = x.shape[-1]
    f = run.choose(*STEADY)
    weights = run.param(3, n, m), run.param(3, m), run.param(3, m, n)

    def body(x, w):
        return x + f(x @ w[0] + wide(w[1], x)) @ w[2], None

    return jax.lax.scan(body, x, weights)[0]


def experts(run):
    x, e, f = run.pick(), run.choose(3, 4), run.choose(4, 6)
    n = x.shape[-1]
    h = jnp.einsum("...i,eif->...ef", x, run.param(e, n, f))
    h = run.choose(*ACTIVATIONS)(h)
    g = jax.nn.softmax(x @ run.param(n, e), -1)
    if run.rng.random() < 0.7:
        return jnp.einsum("...ef,efo,...e->...o", h, run.param(e, f, n), g)
    return jnp.einsum("...ef,fo,...e->...o", h, run.param(f, n), g)


def branch(run):
    x = run.pick()
    f, g = run.choose(*STEADY), run.choose(*STEADY)
    test = run.choose(x, x[..., 0], run.values[0]).sum()
    return jax.lax.cond(test > 0.1, f, g, x)


def pool(run):
    if (x := run.pick(rank=3)) is None:
        return None
    return run.choose(
        lambda: x.mean(1),
        lambda: x.max(1),
        lambda: x[:, 0],
        lambda: x - x.mean(1, keepdims=True),
        lambda: jnp.cumsum(x, 1),
        lambda: jnp.swapaxes(jnp.swapaxes(x, 1, 2) @ run.param(3, 3), 1, 2),
    )()


def reduce(run):
    x = run.pick()
    return run.choose(
        lambda: x - x.mean(-1, keepdims=True),
        lambda: x * x.max(-1, keepdims=True),
        lambda: x + jax.nn.logsumexp(x, -1, keepdims=True),
        lambda: x / (1 + jnp.abs(x).sum(-1, keepdims=True)),
        lambda: jax.nn.softmax(x, -1),
    )()


def place(run):
    """Something that tells neurons apart by their places."""
    x = run.pick()
    n = x.shape[-1]
    line = wide(jnp.linspace(0.5, 2, n, dtype=run.dtype), x)
    return run.choose(
        lambda: x + line,
        lambda: x * line,
        lambda: x + x[..., :1],
        lambda: x + x[..., ::-1],
        lambda: jnp.roll(x, 1, -1) + 0.5 * x,
        lambda: jnp.cumsum(x, -1),
        lambda: jnp.sort(x, -1),
        lambda: x[..., np.arange(n)[::-1] // 2],
        lambda: jnp.where(jnp.arange(n).reshape(line.shape) < n // 2, x, 0.5 * x),
        lambda: x.at[..., 1].set(0.3),
        lambda: jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 1)])[..., :n] + x,
        lambda: x * jax.nn.one_hot(x.argmax(-1), n, dtype=run.dtype),
        lambda: jax.lax.top_k(x, 2)[0] @ run.param(2, n),
    )()


def products(run):
    x = run.pick()
    n = x.shape[-1]
    y = jnp.tanh(x)[..., :, None] * x[..., None, :]
    return run.choose(
        lambda: y.max(-1),
        lambda: (y * run.param(n, n).reshape((1,) * (x.ndim - 1) + (n, n))).sum(-2),
        lambda: y.reshape(*x.shape[:-1], n * n) @ run.param(n * n, 4),
    )()


STEPS = (
    *(dense,) * 4,
    *(combine,) * 3,
    *(normalise,) * 2,
    *(attention,) * 2,
    *(fold,) * 2,
    convolution,
    join,
    halves,
    recurrence,
    stack,
    experts,
    branch,
    pool,
    reduce,
    *(place,) * 3,
    products,
)


def _run(seed, param, x):
    """The outputs of a program: every value that nothing read, projected."""
    run = _Run(seed, param, x)
    run.values.append(dense(run))
    for _ in range(run.rng.integers(2, 6)):
        y = run.choose(*STEPS)(run)
        run.values += [y] if y is not None and y.size <= 4000 else []
    last = len(run.values) - 1
    read = [y for i, y in enumerate(run.values) if i not in run.used or i == last]
    return [y @ run.param(y.shape[-1], 2) for y in read]


def program(seed):
    """A function of parameters and one input, generic parameters, and the input.

    Every second program sees a series [2, 3, 4], the others vectors [2, 4].
    """
    rng = np.random.default_rng([seed, 1])
    shape = (2, 3, 4) if seed % 2 else (2, 4)
    x = rng.normal(size=shape).astype(np.float32)
    shapes = {}

    def ask(name, shape):
        shapes[name] = shape
        return jnp.zeros(shape, np.float32)

    jax.eval_shape(lambda x: _run(seed, ask, x), x)
    params = {}
    for name, shape in shapes.items():
        y = rng.normal(size=shape) / max(np.prod(shape[:-1]), 2) ** 0.4
        params[name] = (np.exp(y) if "scale" in name else y).astype(np.float32)
    return lambda p, x: _run(seed, lambda name, _: p[name], x), params, (x,)
