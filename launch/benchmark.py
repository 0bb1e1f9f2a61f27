"""Measure speed, with the plain alternative beside it in the same process.

python launch/benchmark.py NAME [--out=launch/results/FILE.json]

Each also measures the float32 products of the machine: `matmul_gflops` at the size of
an encoder, `peak_gflops` at a large one. With `--out`, `encode` and `alignment` also
draw time against size beside the file.

zoo         fitting SIRENs to MNIST and digits, against one network at a time
classifiers training CNNs of MNIST, against one network at a time
encode      networks per second of the ScaleGMN encoder, and its cost per edge
train       steps of the autoencoder, against a plain flat-edge implementation
encoders    steps of the autoencoder with ScaleGMN, Neural Graphs and the others
assignment  solvers of assignment problems, against scipy and optax
alignment   what weight matching finds and how fast, against loops in numpy and scipy
certificates whether wrong specs pass a certificate, or right ones are refused
deep_align  pairs per second of learned aligners, against weight matching
damage      what is loaded of files with a changed byte, a lost block or a lost end
statistics  how much BatchNorm statistics should count in weight matching
import      what `import symmerge_jax` adds to importing JAX and Flax
"""

import importlib.util
import json
import pathlib

from absl import flags

from experiments import harness
from symmerge_jax import plots

OUT = flags.DEFINE_string("out", None, "JSON file to write besides.")

BENCHMARKS = {
    "zoo": ("zoo", "run"),
    "classifiers": ("classifiers", "run"),
    "encode": ("metanets", "encode"),
    "train": ("metanets", "train"),
    "encoders": ("metanets", "encoders"),
    "assignment": ("assignment", "run"),
    "alignment": ("alignment", "run"),
    "certificates": ("certificates", "run"),
    "deep_align": ("deep_align", "run"),
    "damage": ("damage", "run"),
    "statistics": ("statistics", "run"),
    "import": ("imports", "run"),
}


def main(argv):
    if len(argv) != 2 or argv[1] not in BENCHMARKS:
        raise flags.Error(
            f"Name one benchmark of {sorted(BENCHMARKS)}, got {argv[1:]}."
        )
    file, function = BENCHMARKS[argv[1]]
    module = _load(file)
    matmul_rates = _load("machine").matmul_rates
    before = matmul_rates()
    result = getattr(module, function)()
    rates = {name: max(before[name], now) for name, now in matmul_rates().items()}
    record = {"benchmark": argv[1], **result, **rates}
    if reached := [name for name in result if name.endswith("gflops")]:
        record["share_of_peak"] = {
            name: result[name] / rates["peak_gflops"] for name in reached
        }
    record["versions"] = harness.versions()
    text = json.dumps(record, indent=2)
    print(text)  # noqa: T201
    if "table" in result:
        print(_lines(result["table"]))  # noqa: T201
    if OUT.value:
        out = pathlib.Path(OUT.value)
        partial = out.with_name(out.name + ".part")
        partial.write_text(text + "\n")
        partial.replace(out)
        if "edges" in result:
            _draw(result["edges"], out.with_suffix(""))
        if "scaling" in result:
            figure = plots.scaling(module.panels(result["scaling"]), "seconds")
            plots.save_figure(figure, out.with_suffix(""))


def _lines(rows) -> str:
    """Return a table with one line per row."""
    columns = dict.fromkeys(name for row in rows for name in row)
    table = [columns, *([row.get(name, "-") for name in columns] for row in rows)]
    cells = [
        [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in line]
        for line in table
    ]
    widths = [max(12, 2 + max(map(len, column))) for column in zip(*cells, strict=True)]
    return "\n".join(
        "".join(f"{cell:>{n}}" for cell, n in zip(line, widths, strict=True))
        for line in cells
    )


def _draw(edges, path):
    sizes = [row["num_edges"] for row in edges]
    times = [row["ms_per_network"] for row in edges]
    line = {"encoder, D = 128": (sizes, times)}
    figure = plots.scaling({"edges": (line, 1.0)}, "ms per network")
    plots.save_figure(figure, path)


def _load(name: str):
    path = pathlib.Path(__file__).parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"No benchmark at '{path}'.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    harness.run_main(main)
