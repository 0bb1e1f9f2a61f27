"""A lock that one process holds at a time, and that a crash releases."""

import contextlib
import logging
import os
import pathlib
import threading
from collections.abc import Iterator

from symmerge_jax.files import _replace

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

_held: dict[pathlib.Path, tuple[int, int]] = {}  # descriptor, times that it was taken
_guard = threading.Lock()


@contextlib.contextmanager
def lock(path: str | os.PathLike, works_on: str | os.PathLike) -> Iterator[None]:
    """Keep other processes out while the block runs.

    The operating system releases the lock when the process ends, however it ends. The
    process that holds the lock may take it again.

    Args:
      path: the lock file, which exists while the lock is held.
      works_on: what is locked, for messages.

    Yields:
      Nothing.

    Raises:
      ValueError: another process holds the lock; names it.
      OSError: the file cannot be made.
    """
    path = pathlib.Path(path).absolute()
    with _guard:
        descriptor, count = _held.get(path) or (_acquire(path, works_on), 0)
        _held[path] = descriptor, count + 1
    try:
        yield
    finally:
        with _guard:
            descriptor, count = _held.pop(path)
            if count > 1:
                _held[path] = descriptor, count - 1
            else:
                _release(path, descriptor)


@contextlib.contextmanager
def making(path: str | os.PathLike) -> Iterator[None]:
    """Keep other processes from making a file, while the block runs.

    Args:
      path: the file; its folder is made, and holds the lock.

    Yields:
      Nothing.

    Raises:
      ValueError: another process is making it; names it.
      OSError: nothing can be written there.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.with_name(f".{path.name}.lock"), path):
        yield


def _acquire(path: pathlib.Path, works_on: str | os.PathLike) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(descriptor, path)
            if _is_file(path, descriptor):  # else its last holder just removed it
                with _replace.naming(path):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        except (BlockingIOError, PermissionError):
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ValueError(
                f"another process (pid {holder or 'unknown'}) works in '{works_on}':"
                " wait until it has ended, stop it, or choose another place"
            ) from None
        except OSError:
            _release(path, descriptor)
            raise
        os.close(descriptor)


def _release(path: pathlib.Path, descriptor: int) -> None:
    if fcntl is None:
        os.close(descriptor)  # Windows removes no open file
    with contextlib.suppress(OSError):  # its folder may have been removed
        path.unlink()
    if fcntl is not None:
        os.close(descriptor)


def _is_file(path: pathlib.Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _take(descriptor: int, path: pathlib.Path) -> None:
    """Lock an open file, or raise BlockingIOError or PermissionError at once."""
    if fcntl is None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # what is before it can be read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore
        os.lseek(descriptor, 0, os.SEEK_SET)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise
    except OSError as error:  # some network file systems have no locks
        logging.getLogger(__name__).warning(
            "'%s' cannot be locked (%s): start no second process there.", path, error
        )
