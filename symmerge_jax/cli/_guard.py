"""One clear line where something is wrong, and exit codes that say what it was."""

import errno
import io
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Collection
from typing import Any

from symmerge_jax import files, training

_PACKAGE = pathlib.Path(__file__).parents[1]
_REFUSALS = (
    *(ValueError, TypeError, FloatingPointError, OSError, ModuleNotFoundError),
)


def guard(
    call: Callable[[], Any],
    *,
    debug: bool = False,
    ours: Collection[pathlib.Path] = (),
    usage: tuple[type[Exception], ...] = (),
) -> Any:
    """Run a command and return the exit code of its process.

    An error in what the user gave (`ValueError`, `TypeError`, `FloatingPointError` and
    `ModuleNotFoundError` raised by our code, any `OSError`) is one line on standard
    error, `error: ...`, and code 2. Errors raised elsewhere are bugs and keep their
    traceback. A run ended by a signal gives 128 + its number; so does one whose reader
    has gone (`| head`), without a word.

    Args:
      call: the command; what it returns is the code.
      debug: whether errors keep their traceback.
      ours: folders of code beside this package.
      usage: errors of a wrong command line.

    Returns:
      The code.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):  # characters that it does not know
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = call()
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
    except usage as error:
        return _fail(error)
    except _REFUSALS as error:
        known = isinstance(error, OSError) or _is_of(error, {_PACKAGE, *ours})
        if debug or not known:
            raise
        if isinstance(error, OSError):
            _drop_output()
        return _fail(error)


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


def _is_of(error: BaseException, folders: Collection[pathlib.Path]) -> bool:
    """Whether the innermost frame of an error is code in one of the folders."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    parents = pathlib.Path(trace.tb_frame.f_code.co_filename).parents
    return not set(folders).isdisjoint(parents)


def _fail(error: BaseException) -> int:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG):
        text += ": make room there, then run the same command again to resume"
    sys.stderr.write(f"error: {text}\n")
    return 2
