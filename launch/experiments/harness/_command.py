"""Scripts: flags in, progress, and one clear line out when something is wrong."""

import contextlib
import functools
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import app, flags, logging

from experiments.harness import _config
from symmerge_jax import cli, training

flags.disclaim_key_flags()  # `--help` of a script shows those defined here too

_OURS = {pathlib.Path(__file__).parents[1]}


class ConfigFlag:
    """The flags `--config=file.py[:variant]` and `--config.key=value`.

    Args:
      default_path: the config file when the flag is not given.
    """

    def __init__(self, default_path: str | None = None):
        flags.DEFINE_string(
            "config", default_path, "Config file: file.py or file.py:variant."
        )
        flags.DEFINE_multi_string(
            "config_override",
            [],
            "key=value; --config.key=value is the short form; --config.help lists the"
            " keys and their values.",
        )

    @property
    def name(self) -> str:
        """The name of the config, `file` or `file_variant`."""
        file, _, variant = (flags.FLAGS.config or "").partition(":")
        stem = pathlib.Path(file).stem
        return f"{stem}_{variant}" if variant else stem

    @property
    def value(self) -> _config.ConfigDict:
        """The config of the file, with the overrides of the command line."""
        if flags.FLAGS.config is None:
            raise ValueError("no config: give --config=file.py")
        return self.override(_config.load_config_file(flags.FLAGS.config))

    def override(self, config: _config.ConfigDict) -> _config.ConfigDict:
        """Return another config with the overrides of the command line."""
        texts = flags.FLAGS.config_override
        if "help" in texts:
            _write_keys(config)
            sys.exit(0)
        pairs = (text.partition("=")[::2] for text in texts)
        config = _config.override_config(config, dict(pairs))
        for key, value in _config.flatten_config(config):
            is_seed = key.rpartition(".")[2] == "seed" and isinstance(value, int)
            if is_seed and not 0 <= value < 2**63:
                raise ValueError(f"config.{key} must be from 0 to 2**63, got {value}")
        return config


def run_main(
    main: Callable[[Sequence[str]], Any], argv: Sequence[str] | None = None
) -> None:
    """Parse the flags, run `main(argv)` and end the process.

    The exit code is what `main` returns (0 for None), or what `cli.guard` says: an
    error in what the user gave, a wrong flag too, ends with code 2 and one line on
    standard error; with `--debug` the full traceback is shown. Messages of libraries
    below warnings are shown with `--debug` or `--verbosity=0` only.

    Args:
      main: what to run; gets the arguments that are not flags.
      argv: the command line; None for that of the process.
    """
    if "debug" not in flags.FLAGS:
        flags.DEFINE_bool("debug", False, "Show the full traceback of an error.")
    app.run(
        functools.partial(_guarded, main),
        argv=list(sys.argv if argv is None else argv),
        flags_parser=_parse_flags,
    )


@contextlib.contextmanager
def network_progress(description: str) -> Iterator[Callable[..., None]]:
    """Show the progress of work that reports the networks it has done.

    Yields:
      A callback `(done, total, stats=None)`.
    """
    with contextlib.ExitStack() as stack:
        progress: training.Progress | None = None
        last = 0

        def show(done: int, total: int, stats: Mapping[str, Any] | None = None) -> None:
            nonlocal progress, last
            if progress is None:
                new = training.Progress(total, description, "network", initial=done)
                progress = stack.enter_context(new)
            else:
                progress.update(done - last, **(stats or {}))
            last = done

        yield show


def _guarded(main: Callable[[Sequence[str]], Any], argv: Sequence[str]) -> Any:
    # Not `using_default_value`, which absl has changed by the time main is called.
    if not flags.FLAGS["verbosity"].present and not flags.FLAGS.debug:
        logging.set_verbosity(logging.WARNING)  # JAX and orbax report much as info

    def call() -> Any:
        if _wants_help() and flags.FLAGS.config:  # whatever else is missing
            _write_keys(_config.load_config_file(flags.FLAGS.config))
            return 0
        return main(argv)

    return cli.guard(call, debug=flags.FLAGS.debug, ours=_OURS, usage=(flags.Error,))


def _wants_help() -> bool:
    return "help" in (getattr(flags.FLAGS, "config_override", None) or ())


def _write_keys(config: _config.ConfigDict) -> None:
    """Write the keys of a config as the flags that set them."""
    for key, value in _config.flatten_config(config):
        sys.stdout.write(f"--config.{key}={value}\n")


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
    argv = [_long_form(argument) for argument in argv]
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        if flags.FLAGS.is_parsed() and _wants_help():
            return argv[:1]  # the keys of a config need no other flag
        missing = r"flag --(\w+)=None: Flag --\1 must have a value other than None\."
        text = re.sub(missing, r"--\1 is missing: give --\1=...", str(error))
        sys.stderr.write(f"error: {' '.join(text.split())}\n")
        sys.exit(2)
    except SystemExit:  # of --help, which absl calls a failure
        sys.exit(0)


def _long_form(argument: str) -> str:
    for prefix in ("--config.", "-config."):
        if argument.startswith(prefix) and "config_override" in flags.FLAGS:
            return f"--config_override={argument.removeprefix(prefix)}"
    return argument
