"""Files and folders written completely or not at all; errors that name them."""

import contextlib
import os
import pathlib
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name when the block ends.

    After an error in the block the old file is still there. Missing folders are made.

    Args:
      path: the file.

    Yields:
      The file under a temporary name, opened in binary mode, to be read as well.

    Raises:
      OSError: the file cannot be written; names it.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A part of the name, so that one of the greatest length has a temporary one, too.
    unique = f"{os.getpid():x}-{threading.get_ident():x}"
    temporary = path.with_name(f".{path.name[:40]}.{unique}.part")
    try:
        with naming(path):
            with temporary.open("w+b") as file:
                yield file
            temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Make a folder that gets its name, and replaces an older one, at the block's end.

    After an error in the block the old folder is still there.

    Args:
      path: the folder.

    Yields:
      An empty folder under a temporary name.

    Raises:
      OSError: something cannot be written; names the folder.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as temporary:
        new, old = (pathlib.Path(temporary, name) for name in ("new", "old"))
        new.mkdir()
        with naming(path):
            yield new
        try:
            if path.exists():
                path.rename(old)
            new.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Make errors of the operating system in the block name a file.

    Errors of `write` name none, and those of a temporary file a name unknown to users.

    Args:
      path: the file or folder that is written.

    Yields:
      Nothing.

    Raises:
      OSError: of the same kind, with the name.
    """
    try:
        yield
    except OSError as error:
        temporary = str(error.filename).endswith(".part")
        if error.errno is None or (error.filename is not None and not temporary):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
