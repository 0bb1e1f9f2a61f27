"""Merging of networks on disk: seconds and peak memory, in processes of their own.

A stack of attention and MLP blocks is permuted, with noise, and brought back from its
files in two parts: the search of weight matching, and the mean, array by array. The
largest pair is merged from the shell, too, as shards of safetensors; that of a smaller
pair is killed now and then, and has to leave nothing with the name of the output.

python -m benchmarks.streamed MEBIBYTES     (in `launch`)
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from benchmarks import timing
from symmerge_jax import alignment, merging, storage, symmetry
from symmerge_jax.symmetry import Axis, Group, Space

SIZES = 256, 1024
"""Sizes of one network, in MiB."""

MEMORY = 64 * 2**20
"""Bytes for copies."""

WIDTH, HEADS = 1024, 16
NOISE = 0.1

NUM_KILLS = 4


def run() -> dict[str, Any]:
    """Return what `measure` returns of every size, each in a fresh process."""
    found = {
        f"{size} MiB": timing.in_own_process("benchmarks.streamed", str(size))
        for size in SIZES
    }
    return {**found, "command": command(SIZES[-1]), "kills": kills(SIZES[0])}


def measure(mebibytes: int) -> dict[str, Any]:
    """Match one network with its noisy twin, and write their mean.

    Args:
      mebibytes: size of one network, about.

    Returns:
      Sizes in bytes, seconds, and the peak of resident memory above that before.
    """
    spec, shapes = gpt(_num_layers(mebibytes))
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        element = _write_pair(root, spec, shapes)
        a, b = (_read(root / name, shapes) for name in "ab")
        size = sum(x.nbytes for x in a.values())
        before = timing.peak_memory()
        start, cpu_start = time.perf_counter(), time.process_time()
        aligner = alignment.WeightMatching(starts=("outward",))
        problem = alignment.AlignmentProblem(params_a=a, params_b=b, spec=spec)
        found = aligner.stream(jax.random.key(0), problem, memory=MEMORY)
        matched, matched_peak = time.perf_counter(), timing.peak_memory()
        cpu_seconds = time.process_time() - cpu_start
        (root / "mean").mkdir()
        for name, array in merging.average_stored(
            [a, b], [{}, found.element], spec, np.full(2, 0.5), memory=MEMORY
        ):
            np.save(root / "mean" / f"{name}.npy", array)
        averaged = time.perf_counter()
    same = [
        np.array_equal(found.element[name].perm, monomial.perm)
        for name, monomial in symmetry.inverse(element, spec).items()
    ]
    largest = max(x.nbytes for x in a.values())
    return {
        "bytes_of_one_network": size,
        "bytes_of_largest_pair": 2 * largest,
        "bytes_of_one_cost_matrix": 4 * max(spec.sizes(a).values()) ** 2,
        "bytes_for_copies": MEMORY,
        "num_spaces": len(spec.matched_spaces),
        "share_of_permutations_recovered": float(np.mean(same)),
        "num_sweeps": int(found.num_iters),
        "matching_seconds": matched - start,
        "matching_cpu_seconds": cpu_seconds,
        "seconds_per_sweep": (matched - start) / max(1, int(found.num_iters)),
        "mean_seconds": averaged - matched,
        "peak_of_matching": matched_peak - before,
        "peak": timing.peak_memory() - before,
    }


def command(mebibytes: int) -> dict[str, Any]:
    """Merge a network and its noisy twin by `symmerge-jax merge`.

    Args:
      mebibytes: size of one network, about.

    Returns:
      Bytes and seconds, the peak of resident memory of the whole command, pages of
      mapped files included, and what of the first network stands in the mean.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        size = _write_sharded_pair(root, mebibytes)
        start = time.perf_counter()
        subprocess.check_output(_merge(root, "mean"))
        seconds = time.perf_counter() - start
        peak = timing.peak_memory(resource.RUSAGE_CHILDREN)
        a, mean = (storage.open_checkpoint(root / name) for name in ("a.st", "mean"))
        away = {n: _difference(x, mean.tensors[n]) for n, x in a.tensors.items()}
    return {
        "bytes_of_both_networks": size,
        "bytes_for_copies": MEMORY,
        "seconds": seconds,
        "peak": peak,
        "names_are_kept": [*a.tensors] == [*mean.tensors],
        "step_is_kept": away.pop("step") == 0,
        "largest_difference_from_the_first": max(away.values()),
    }


def kills(mebibytes: int) -> dict[str, Any]:
    """Kill the command after several times, and look for what it has written.

    Args:
      mebibytes: size of one network, about.

    Returns:
      How often it was killed, and how often nothing had the name of the output.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        _write_sharded_pair(root, mebibytes)
        start = time.perf_counter()
        subprocess.check_output(_merge(root, "mean"))
        seconds = time.perf_counter() - start
        killed = nothing = 0
        for number in range(NUM_KILLS):
            running = subprocess.Popen(
                _merge(root, "killed"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                running.wait(seconds * (number + 1) / (NUM_KILLS + 1))
            except subprocess.TimeoutExpired:
                running.kill()
                killed += 1
                nothing += running.wait() != 0 and not (root / "killed").exists()
    return {"seconds": seconds, "killed": killed, "nothing_written": nothing}


def _difference(x: Any, y: Any) -> float:
    return float(np.max(np.abs(np.asarray(x) - np.asarray(y))))


def _write_sharded_pair(root, mebibytes: int) -> int:
    """Write spec and shards of a network and its noisy twin; return their bytes."""
    spec, shapes = gpt(_num_layers(mebibytes))
    _write_pair(root, spec, shapes)
    storage.save_spec(root / "spec.json", spec)
    return sum(_write_shards(root, name, shapes) for name in "ab")


def _merge(root, out: str) -> list[str]:
    """Return the command that merges the shards of two networks."""
    program = "import sys; from symmerge_jax import cli; sys.exit(cli.main())"
    memory = f"--memory={MEMORY // 2**20}MiB"
    names = ("a.st", "b.st", f"--spec={root / 'spec.json'}", f"--out={root / out}")
    paths = [str(root / name) if "=" not in name else name for name in names]
    return [sys.executable, "-c", program, "merge", *paths, memory]


def _write_shards(root, name: str, shapes) -> int:
    """Write a network again as shards, with a counter of steps; return its bytes."""
    folder, places, size = root / f"{name}.st", {}, 0
    folder.mkdir()
    arrays = {**_read(root / name, shapes), "step": np.array([7])}
    for number, names in enumerate(np.array_split([*arrays], 4)):
        file = f"model-{number + 1:05d}-of-00004.safetensors"
        part = {str(n): np.asarray(arrays[n]) for n in names}
        safetensors.numpy.save_file(part, folder / file)
        places |= dict.fromkeys(part, file)
        size += sum(array.nbytes for array in part.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    text = json.dumps(index)
    (folder / "model.safetensors.index.json").write_text(text)
    return size


def _num_layers(mebibytes: int) -> int:
    return max(1, round(mebibytes * 2**20 / (4 * 12 * WIDTH**2)))


def gpt(num_layers: int) -> tuple[symmetry.SymmetrySpec, dict[str, tuple[int, ...]]]:
    """Return symmetry and shapes of a stack of blocks, between two embeddings.

    Args:
      num_layers: blocks of attention, with heads and their dimensions, and MLP.
    """
    stream, wide, each = Axis("stream"), 4 * WIDTH, WIDTH // HEADS
    axes: dict[str, Any] = {
        "tokens": (Axis("in", -1), stream),
        "head": (Axis("stream", -1), Axis("out")),
    }
    shapes: dict[str, tuple[int, ...]] = {"tokens": (512, WIDTH), "head": (WIDTH, 512)}
    spaces = [Space("in", Group.TRIVIAL), Space("stream", Group.PERMUTATION)]
    for i in range(num_layers):
        heads, own, up = f"heads_{i}", (f"key_{i}", f"value_{i}"), f"up_{i}"
        spaces.append(Space(heads, Group.PERMUTATION))
        spaces += [Space(name, Group.SIGN, over=(heads,)) for name in own]
        spaces.append(Space(up, Group.PERMUTATION))
        for name, inner in (("q", 0), ("k", 0), ("v", 1)):
            axis = Axis(own[inner], -1 if name == "k" else 1)
            axes[f"{i}.{name}"] = (Axis("stream", -1), Axis(heads), axis)
            shapes[f"{i}.{name}"] = (WIDTH, HEADS, each)
        axes[f"{i}.out"] = (Axis(heads, -1), Axis(own[1], -1), stream)
        axes[f"{i}.up"] = (Axis("stream", -1), Axis(up))
        axes[f"{i}.down"] = (Axis(up, -1), stream)
        shapes |= {f"{i}.out": (HEADS, each, WIDTH)}
        shapes |= {f"{i}.up": (WIDTH, wide), f"{i}.down": (wide, WIDTH)}
    spaces.append(Space("out", Group.TRIVIAL))
    return symmetry.SymmetrySpec.create(axes, spaces), shapes


def _write_pair(root, spec, shapes) -> symmetry.GroupElement:
    """Write a network and its noisy twin, and return the element that was planted."""
    random = np.random.default_rng(0)
    (root / "a").mkdir()
    (root / "b").mkdir()
    for name, shape in shapes.items():
        array = random.standard_normal(shape, np.float32)
        np.save(root / "a" / f"{name}.npy", array)
        array += NOISE * random.standard_normal(shape, np.float32)
        np.save(root / "b" / f"{name}.npy", array)
    noisy = _read(root / "b", shapes)
    element = symmetry.sample(jax.random.key(0), spec, spec.sizes(noisy))
    for name, array in merging.average_stored(
        [noisy], [element], spec, np.ones(1), memory=MEMORY
    ):
        np.save(root / "b" / f"{name}.new.npy", array)
        (root / "b" / f"{name}.new.npy").replace(root / "b" / f"{name}.npy")
    return element


def _read(folder, shapes) -> dict[str, np.ndarray]:
    """Map the arrays of a network from their files."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))  # noqa: T201
