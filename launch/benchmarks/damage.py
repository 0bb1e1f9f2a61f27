"""Damage to every kind of file that is written: what is loaded of it afterwards.

Every variant is one file of a kind with one byte changed, one bit flipped, eight bytes
zeroed, or its end cut off. Loading it must give what was saved, or one error that names
the file; it must never give anything else.
"""

import contextlib
import logging
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from symmerge_jax import (
    autoencoders,
    deep_align,
    load,
    load_architecture,
    networks,
    save,
    symmetry,
    training,
    zoo,
)

OUTCOMES = ("refused", "equal", "unclear", "silent")
"""Refused: one line with the name of the file. Unclear: another error. Silent: other
values than those that were saved."""

_ARCHITECTURE = {"kind": "siren", "layer_sizes": [2, 3, 1], "w0": 30.0}


class Kind(NamedTuple):
    """One kind of file.

    Attributes:
      write: writes one to a new folder; returns the path that `read` takes.
      read: returns all that it holds.
    """

    write: Callable[[pathlib.Path], pathlib.Path]
    read: Callable[[pathlib.Path], Any]


def run(num_flips: int = 500, num_cuts: int = 250) -> dict[str, Any]:
    """Return how many variants of each kind had each outcome.

    Args:
      num_flips: changes of bytes, a third of each sort, per kind.
      num_cuts: truncations per kind.
    """
    counts = {name: examine(name, num_flips, num_cuts) for name in KINDS}
    return {
        "num_flips": num_flips,
        "num_cuts": num_cuts,
        "table": [{"kind": name, **count} for name, count in counts.items()],
    }


def examine(name: str, num_flips: int, num_cuts: int, seed: int = 0) -> dict[str, Any]:
    """Return how often each of `OUTCOMES` was seen, and examples of the bad ones."""
    kind, examples = KINDS[name], []
    counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    with _quiet(), tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, "folder")
        folder.mkdir()
        path = kind.write(folder)
        saved = kind.read(path)
        for file, what, content in _variants(folder, num_flips, num_cuts, seed):
            original = file.read_bytes()
            file.write_bytes(content)
            outcome = _outcome(kind, path, saved, folder)
            file.write_bytes(original)
            counts[outcome.partition(":")[0]] += 1
            if outcome not in ("refused", "equal"):
                examples.append(f"{file.name}, {what}: {outcome}")
        assert _same(kind.read(path), saved)
    return {**counts, **({"examples": examples[:5]} if examples else {})}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the warnings of parts that are made again."""
    logger = logging.getLogger("symmerge_jax")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _variants(
    folder: pathlib.Path, num_flips: int, num_cuts: int, seed: int
) -> Iterator[tuple[pathlib.Path, str, bytes]]:
    """Yield a file, what is done to it, and its damaged content."""
    random = np.random.default_rng(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number in range(num_flips):
        file = files[number % len(files)]
        content = bytearray(file.read_bytes())
        place = int(random.integers(len(content)))
        if number % 3 == 0:
            content[place] ^= 1 << int(random.integers(8))
        elif number % 3 == 1:
            content[place] ^= int(random.integers(1, 256))
        else:
            content[place : place + 8] = bytes(len(content[place : place + 8]))
        yield file, f"byte {place} changed", bytes(content)
    for number in range(num_cuts):
        file = files[number % len(files)]
        content = file.read_bytes()
        # Ends as often as beginnings: there is what tells where the rest is.
        length = len(content)
        kept = int(random.integers(max(0, length - 64) if number % 2 else 0, length))
        yield file, f"cut to {kept} bytes", content[:kept]


def _outcome(kind: Kind, path: pathlib.Path, saved: Any, folder: pathlib.Path) -> str:
    try:
        found = kind.read(path)
    except (ValueError, OSError) as error:
        text = str(error)
        if str(folder) in text and "\n" not in text:
            return "refused"
        return f"unclear: {type(error).__name__}: {text[:200]}"
    except (Exception, MemoryError) as error:  # which one is what is measured
        return f"unclear: {type(error).__name__}: {str(error)[:200]}"
    return "equal" if _same(found, saved) else "silent"


def _same(one: Any, other: Any) -> bool:
    """Whether nested values are equal to the last bit."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.asarray(a).shape == np.asarray(b).shape
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in pairs
    )


def _random(shapes: Any) -> Any:
    random = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: random.normal(size=x.shape).astype(np.float32), shapes
    )


def _params(num_networks: int | None = None) -> Any:
    shapes = jax.eval_shape(networks.build(_ARCHITECTURE).init, jax.random.key(0))
    batch = () if num_networks is None else (num_networks,)
    return _random(
        jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((*batch, *x.shape), x.dtype), shapes
        )
    )


def _write_weights(suffix: str) -> Callable[[pathlib.Path], pathlib.Path]:
    def write(folder: pathlib.Path) -> pathlib.Path:
        save(folder / f"a{suffix}", _params(), architecture=_ARCHITECTURE)
        return folder / f"a{suffix}"

    return write


def _read_weights(path: pathlib.Path) -> Any:
    return load(path), load_architecture(path)


def _write_zoo(folder: pathlib.Path) -> pathlib.Path:
    metrics = {"psnr": np.arange(4.0)}
    population = zoo.create(
        _ARCHITECTURE, _params(4), metrics=metrics, provenance={"seed": 3}
    )
    zoo.save(folder / "a.zoo", population)
    return folder / "a.zoo"


def _read_zoo(path: pathlib.Path) -> Any:
    found = zoo.load(path)
    return {
        name: getattr(found, name)
        for name in ("architecture", "params", "labels", "subsets", "metrics")
    } | {"provenance": found.provenance}


_IMAGES = zoo.ImageSet(
    np.linspace(0, 1, 8 * 16, dtype=np.float32).reshape(8, 4, 4),
    np.arange(8, dtype=np.int32),
    "made up",
    None,
)


def _make_parts(folder: pathlib.Path) -> pathlib.Path:
    _read_parts(folder)
    return folder


def _read_parts(folder: pathlib.Path) -> Any:
    """Return the zoo of these parts; what is damaged of them is made again."""
    return zoo.generate_siren_zoo(
        _IMAGES,
        architecture=_ARCHITECTURE,
        options=zoo.SirenOptions(num_steps=2),
        chunk_size=4,
        parts_dir=folder,
    ).params


def _statistics() -> Any:
    network = networks.build(_ARCHITECTURE)
    shapes = symmetry.flatten(jax.eval_shape(network.init, jax.random.key(0)))
    return {path: (0.1 * i, 0.2) for i, path in enumerate(sorted(shapes))}


def _write_canonicalizer(folder: pathlib.Path) -> pathlib.Path:
    parts = (
        _ARCHITECTURE,
        {"kind": "scale_gmn", "width": 2, "num_layers": 1},
        {"head": "affine"},
        _statistics(),
    )
    shapes = jax.eval_shape(autoencoders.build(*parts).init, jax.random.key(0))
    model = autoencoders.Canonicalizer(*parts, _random(shapes), {"val_mse": 0.25})
    autoencoders.save_canonicalizer(folder / "canonicalizer", model)
    return folder


def _write_matcher(folder: pathlib.Path) -> pathlib.Path:
    features = {"kind": "probes", "num_probes": 3, "feature_size": 2, "width": 2}
    model = deep_align.build(_ARCHITECTURE, features, _statistics())
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    trained = deep_align.TrainedMatcher(
        _ARCHITECTURE, features, _statistics(), _random(shapes), {"barrier": 0.5}
    )
    deep_align.save_matcher(folder / "matcher", trained)
    return folder


def _read_model(read: Callable[[pathlib.Path], Any], *parts: str) -> Any:
    def read_all(path: pathlib.Path) -> Any:
        model = read(path)
        return {name: getattr(model, name) for name in ("architecture", *parts)} | {
            name: getattr(model, name) for name in ("statistics", "variables")
        }

    return read_all


def _state() -> Any:
    optimizer, _ = training.make_optimizer(0.1, 10)
    params = {"dense_0": {"kernel": _random(jax.ShapeDtypeStruct((7, 5), "float32"))}}
    return training.init_state(jax.random.key(3), params, optimizer, ema=True)


def _write_checkpoint(folder: pathlib.Path) -> pathlib.Path:
    training.save_checkpoint(folder, _state(), metadata={"width": 3})
    return folder


def _read_checkpoint(folder: pathlib.Path) -> Any:
    state, metadata = training.restore_checkpoint(folder, _state())
    return state._replace(key=jax.random.key_data(state.key)), metadata


KINDS = {
    "safetensors": Kind(_write_weights(".safetensors"), _read_weights),
    "npz": Kind(_write_weights(".npz"), _read_weights),
    "zoo": Kind(_write_zoo, _read_zoo),
    "zoo part": Kind(_make_parts, _read_parts),
    "canonicalizer": Kind(
        _write_canonicalizer,
        _read_model(
            autoencoders.load_canonicalizer,
            "encoder_options",
            "decoder_options",
            "metadata",
        ),
    ),
    "matcher": Kind(
        _write_matcher, _read_model(deep_align.load_matcher, "features", "metadata")
    ),
    "checkpoint": Kind(_write_checkpoint, _read_checkpoint),
}
