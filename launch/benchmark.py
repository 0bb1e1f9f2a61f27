"""Measure speed, with the plain alternative beside it in the same process.

python launch/benchmark.py NAME [--out=launch/results/FILE.json] [--published=FOLDER]

Each record says when, from which commit, on what and by which command it was made. It
also has the float32 products of the machine: `matmul_gflops` at the size of an encoder,
`peak_gflops` at a large one. With `--out`, `encode`, `alignment` and `trace` also
draw time against size beside the file. With `--published`, a clone of the repository of
arXiv 2511.12601, `encode` and `train` run its PyTorch code in turns with ours.

zoo         fitting SIRENs to MNIST and digits, against one network at a time
classifiers training CNNs of MNIST, against one network at a time
encode      networks per second of the ScaleGMN encoder, and its cost per edge
train       steps of the autoencoder, against a plain flat-edge implementation
encoders    steps of the autoencoder with ScaleGMN, Neural Graphs and the others
assignment  solvers of assignment problems, against scipy and optax
alignment   what weight matching finds and how fast, against loops in numpy and scipy
apart       the part of it on MLPs trained apart, against the published algorithm
costs       what, of two aligned networks, foretells the loss of their mean
streamed    seconds and peak memory of weight matching and mean of networks on disk
shards      seconds and memory of reading batches of a million networks on disk
large       seconds and memory of weight matching at the size of ResNet-50 and GPT-2
certificates whether wrong specs pass a certificate, or right ones are refused
deep_align  pairs per second of learned aligners, against weight matching
damage      what is loaded of files with a changed byte, a lost block or a lost end
statistics  how much BatchNorm statistics should count in weight matching
import      what `import symmerge_jax` adds to importing JAX and Flax
trace       deriving the symmetries of networks from their programs, from shapes
"""

import json
import pathlib
import sys

from absl import flags

from benchmarks import (
    alignment,
    assignment,
    certificates,
    classifiers,
    damage,
    deep_align,
    imports,
    machine,
    matching_apart,
    matching_costs,
    matching_large,
    metanets,
    shards,
    statistics,
    streamed,
    trace,
    zoo,
)
from experiments import harness
from symmerge_jax import plots

OUT = flags.DEFINE_string("out", None, "JSON file to write besides.")
PUBLISHED = flags.DEFINE_string(
    "published", None, "Folder with the published code, timed beside ours."
)

BENCHMARKS = {
    "zoo": zoo.run,
    "classifiers": classifiers.run,
    "encode": metanets.encode,
    "train": metanets.train,
    "encoders": metanets.encoders,
    "assignment": assignment.run,
    "alignment": alignment.run,
    "apart": matching_apart.run,
    "costs": matching_costs.run,
    "large": matching_large.run,
    "streamed": streamed.run,
    "shards": shards.run,
    "certificates": certificates.run,
    "deep_align": deep_align.run,
    "damage": damage.run,
    "statistics": statistics.run,
    "import": imports.run,
    "trace": trace.run,
}
WITH_PUBLISHED = ("encode", "train")
PANELS = {"alignment": alignment.panels, "trace": trace.panels}


def main(argv):
    if len(argv) != 2 or argv[1] not in BENCHMARKS:
        raise flags.Error(
            f"Name one benchmark of {sorted(BENCHMARKS)}, got {argv[1:]}."
        )
    options = {}
    if PUBLISHED.value is not None:
        if argv[1] not in WITH_PUBLISHED:
            raise flags.Error(f"--published is read by {WITH_PUBLISHED}.")
        options["folder"] = PUBLISHED.value
    before = machine.matmul_rates()
    result = BENCHMARKS[argv[1]](**options)
    after = machine.matmul_rates()
    rates = {name: max(before[name], now) for name, now in after.items()}
    versions = harness.versions()
    record = {"made": machine.made(sys.argv, versions), "benchmark": argv[1]}
    record |= {**result, **rates}
    if reached := [name for name in result if name.endswith("gflops")]:
        record["share_of_peak"] = {
            name: result[name] / rates["peak_gflops"] for name in reached
        }
    record["versions"] = versions
    text = json.dumps(record, indent=2)
    print(text)  # noqa: T201
    if "table" in result:
        print(harness.to_text([_table(result["table"])]))  # noqa: T201
    if OUT.value:
        out = pathlib.Path(OUT.value)
        partial = out.with_name(out.name + ".part")
        partial.write_text(text + "\n")
        partial.replace(out)
        if "edges" in result:
            _draw(result["edges"], out.with_suffix(""))
        if "scaling" in result:
            figure = plots.scaling(PANELS[argv[1]](result["scaling"]), "seconds")
            plots.save_figure(figure, out.with_suffix(""))


def _table(rows) -> harness.Table:
    """Return dicts as a table with one line for each."""
    columns = [*dict.fromkeys(name for row in rows for name in row)]
    cells = [
        [harness.to_cell(row.get(name, "-"), ".3g") for name in columns] for row in rows
    ]
    return harness.Table("", columns, cells)


def _draw(edges, path):
    sizes = [row["num_edges"] for row in edges]
    times = [row["ms_per_network"] for row in edges]
    line = {"encoder, D = 128": (sizes, times)}
    figure = plots.scaling({"edges": (line, 1.0)}, "ms per network")
    plots.save_figure(figure, path)


if __name__ == "__main__":
    harness.run_main(main)
