"""The command line: options in, a report out."""

import argparse
import functools
import logging
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import symmerge_jax
from symmerge_jax import merging
from symmerge_jax.cli import (
    _canonicalize,
    _guard,
    _merge,
    _networks,
    _pairs,
    _report,
    _views,
)

_ABOUT = """Remove the symmetries of trained networks: canonicalise, align, merge.

symmerge-jax inspect a.safetensors
symmerge-jax trace a.msgpack --model=net:model --out=spec.json
symmerge-jax merge a.msgpack b.msgpack --model=net:model --out=merged.msgpack

--model=module:factory names a function of yours, also in the working directory, that
takes nothing and returns what symmerge_jax.trace takes, (apply, params, inputs):

    def model():
        net, x = Net(), jnp.ones((4, 28, 28, 1))
        return net.apply, jax.eval_shape(net.init, jax.random.key(0), x), x

or a networks.Network, or (network, params). Without one, files are those of MLPs,
SIRENs and CNNs that an --architecture describes."""

_ARCHITECTURE = """JSON, or a file with it, where files do not say what they hold, as
{"kind": "mlp", "layer_sizes": [2, 8, 1], "activation": "relu"}. It has to say what
weights do not tell and the function depends on: the "activation" of an mlp or cnn, also
"image_shape", "stride" and "readout" of a cnn; "w0", "first_w0" and "output_offset" of
a siren. Tensors are dense_0/kernel [in, out] and dense_0/bias; those of torch,
fc1.weight [out, in] and fc1.bias, are transposed, in any format."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code of its process.

    Args:
      argv: the arguments; None for those of the process.

    Returns:
      0, or 1 where `certify` found another function, or the code of `guard`.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    return _guard.guard(
        functools.partial(_run, given),
        debug="--debug" in given,
        usage=(_UsageError,),
    )


def _run(argv: Sequence[str]) -> int:
    # --num_random_starts is --num-random-starts.
    argv = [re.sub(r"^--\w+", lambda x: x[0].replace("_", "-"), a) for a in argv]
    try:
        options = vars(_parser().parse_args(argv))
    except SystemExit as stop:  # of --help and --version
        return int(stop.code or 0)
    call, report_path, debug = map(options.pop, ("call", "report", "debug"))
    options.pop("command")
    if not debug:  # JAX and orbax report much as info
        logging.getLogger("absl").setLevel(logging.WARNING)
    if report_path is not None:
        _report.check_path(report_path)
    report = call(**options)
    sys.stdout.write(_report.to_text(report))
    if report_path is not None:
        _report.write(report_path, report)
    return report.code


class _UsageError(Exception):
    """A wrong command line."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others."""

    def error(self, message: str) -> NoReturn:
        missing = "the following arguments are required: "
        if message.startswith(f"{missing}--"):
            name = message.removeprefix(missing).partition(",")[0]
            message = f"{name} is missing: give {name}=..."
        raise _UsageError(f"{message} ({self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    form: Any = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        "symmerge-jax", description=_ABOUT, formatter_class=form, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=symmerge_jax.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = functools.partial(_add, commands)
    inspect = add("inspect", "say what is in files", _views.inspect)
    inspect.add_argument("--key", help="part of a PyTorch file: state_dict or a.b")
    trace = add("trace", "describe the symmetry of a model", _views.trace, "*")
    trace.add_argument("--out", metavar="SPEC.json", help="write it, for --spec")
    certify = add("certify", "test whether files are one function", _pairs.certify)
    certify.add_argument("--tolerance", type=float, help="relative to each output")
    align = add("align", "move the second network onto the first", _pairs.align)
    merge = add("merge", "align networks and write their mean", _merge.run)
    canonicalize = add(
        "canonicalize", "write what all twins share", _canonicalize.run, None
    )
    for command in (trace, certify, align, merge, canonicalize):
        _add_known(command)
    for command in (align, merge, canonicalize):
        command.add_argument("--out", required=True, metavar="FILE", help="to write")
    for command in (align, merge):
        _add_solver(command)
    for command in (certify, align, merge, canonicalize):
        command.add_argument("--seed", type=_seed, default=0, help="of random numbers")
    for command in (trace, align, merge, canonicalize):
        command.add_argument(
            "--dry-run",
            action="store_true",
            help="check all, print sizes and memory, write nothing",
        )
    _add_mean(merge)
    canonicalize.add_argument(
        "--canonicalizer", help="workdir of a training run; closed form without it"
    )
    canonicalize.add_argument(
        "--form",
        choices=_canonicalize.FORMS,
        help="closed form, networks that a canonicalizer decodes (the default with"
        " one), or template: exact twins matched to those",
    )
    return parser


def _add(
    commands: Any, name: str, about: str, call: Callable, count: str | None = "+"
) -> argparse.ArgumentParser:
    """Add a command on `count` files: "+", "*", or None for one."""
    command = commands.add_parser(name, help=about, description=about)
    command.allow_abbrev = False
    if count is None:
        command.add_argument("weights", metavar="FILE", help="to read")
    else:
        command.add_argument("paths", nargs=count, metavar="FILE", help="to read")
    command.add_argument(
        "--report", metavar="FILE", help="write one as .md, .html or .json"
    )
    command.add_argument("--debug", action="store_true", help="errors with traceback")
    command.set_defaults(call=call)
    return command


def _add_known(command: argparse.ArgumentParser) -> None:
    """Add what may be known of the networks in files."""
    add = command.add_argument
    add("--model", metavar="MODULE:FACTORY", help="function of yours; see above")
    add("--spec", metavar="SPEC.json", help="of trace; nothing is proven without model")
    add("--architecture", metavar="JSON", help=_ARCHITECTURE.replace("%", "%%"))
    add("--key", help="part of the files with the weights: params, or a.b")
    add(
        "--rename",
        action="append",
        default=[],
        metavar="PATTERN=REPLACEMENT",
        help="rule from names in files to those of the model, regular expressions"
        r" as 'encoder\.(\d+)\.=layers_\1/'; may be repeated",
    )
    add(
        "--extra-keys",
        choices=_networks.EXTRA_KEYS,
        help="what becomes of tensors that the model does not have: carry by default",
    )


def _add_solver(command: argparse.ArgumentParser) -> None:
    """Add the solver, and data for it."""
    add = command.add_argument
    add("--aligner", choices=sorted(_merge.ALIGNERS), default="weight_matching")
    add("--num-random-starts", type=int, help="further starts of weight_matching")
    add("--data", help="npz with x and y, digits, mnist or fashion_mnist")
    add("--data-dir", help="of the images; $SYMMERGE_DATA_DIR, or a download")


def _add_mean(command: argparse.ArgumentParser) -> None:
    """Add what concerns the mean of networks."""
    add = command.add_argument
    add("--aligned-dir", help="folder for the aligned networks")
    add("--weights", type=_words, help="of the mean, as 0.3,0.7")
    add("--memory", help="read piece by piece, with so much for copies, as 512MiB")
    add("--matcher", help="folder of a trained matcher, to start from")
    add(
        "--repair",
        type=_words,
        default=[],
        help=f"what is done to the mean, of {', '.join(merging.REPAIRS)}; most need"
        " --data",
    )


def _words(text: str) -> list[str]:
    return text.split(",")


def _seed(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, got {text!r}")
    return int(text)
