"""Scripts: flags in, progress, and one clear line out when something is wrong."""

import contextlib
import errno
import functools
import io
import os
import pathlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import app, flags, logging

import symmerge_jax
from experiments.harness import _config
from symmerge_jax import files, training

flags.disclaim_key_flags()  # `--help` of a script shows those defined here too

_OURS = {pathlib.Path(__file__).parents[1], *map(pathlib.Path, symmerge_jax.__path__)}


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

    The exit code is what `main` returns (0 for None). An error in what the user gave
    (`ValueError`, `TypeError` and `FloatingPointError` raised by our code, any
    `OSError`, a wrong flag) ends with code 2 and one line on standard error,
    `error: ...`; with `--debug` the full traceback is shown. Errors raised elsewhere
    are bugs and keep their traceback. A run ended by a signal exits with 128 + its
    number; so does one whose reader has gone (`| head`), without a word. Messages of
    libraries below warnings are shown with `--debug` or `--verbosity=0` only.

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
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):  # characters that it does not know
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if _wants_help() and flags.FLAGS.config:  # whatever else is missing
            _write_keys(_config.load_config_file(flags.FLAGS.config))
            code = 0
        else:
            code = main(argv)
        with files.naming("standard output"):
            sys.stdout.flush()  # here, where an error can be told
        return code
    except BrokenPipeError:
        _drop_output()
        return 128 + signal.SIGPIPE
    except training.Interrupted as stop:
        sys.stderr.write(f"{stop}\n")
        return 128 + stop.signal_number
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT
        sys.stderr.write(
            f"stopped by {number.name}: nothing is half-written; run the same command"
            " again to resume\n"
        )
        return 128 + number
    except flags.Error as error:
        return _fail(error)
    except (ValueError, TypeError, FloatingPointError, OSError) as error:
        if flags.FLAGS.debug or not (isinstance(error, OSError) or _is_ours(error)):
            raise
        if isinstance(error, OSError):
            _drop_output()
        return _fail(error)


def _wants_help() -> bool:
    return "help" in (getattr(flags.FLAGS, "config_override", None) or ())


def _write_keys(config: _config.ConfigDict) -> None:
    """Write the keys of a config as the flags that set them."""
    for key, value in _config.flatten_config(config):
        sys.stdout.write(f"--config.{key}={value}\n")


def _drop_output() -> None:
    """Drop what standard output refuses, or Python tries again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Terminated(KeyboardInterrupt):
    """SIGTERM, outside of a training loop."""


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
    argv = [_long_form(argument) for argument in argv]
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        if flags.FLAGS.is_parsed() and _wants_help():
            return argv[:1]  # the keys of a config need no other flag
        missing = r"flag --(\w+)=None: Flag --\1 must have a value other than None\."
        text = re.sub(missing, r"--\1 is missing: give --\1=...", str(error))
        sys.exit(_fail(flags.Error(text)))
    except SystemExit:  # of --help, which absl calls a failure
        sys.exit(0)


def _long_form(argument: str) -> str:
    for prefix in ("--config.", "-config."):
        if argument.startswith(prefix) and "config_override" in flags.FLAGS:
            return f"--config_override={argument.removeprefix(prefix)}"
    return argument


def _is_ours(error: BaseException) -> bool:
    """Whether the innermost frame of the error is one of this package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    return not _OURS.isdisjoint(pathlib.Path(trace.tb_frame.f_code.co_filename).parents)


def _fail(error: BaseException) -> int:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG):
        text += ": make room there, then run the same command again to resume"
    sys.stderr.write(f"error: {text}\n")
    return 2
