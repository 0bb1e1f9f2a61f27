"""Files from the internet, kept in the user's cache."""

import gzip
import lzma
import os
import pathlib
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence

from symmerge_jax import files, training

_BLOCK = 1 << 20
_DAMAGE = (
    *(EOFError, ValueError, lzma.LZMAError, zlib.error),
    *(gzip.BadGzipFile, tarfile.TarError),
)


def cache() -> pathlib.Path:
    """Return the folder for files that were downloaded."""
    import pooch

    return pathlib.Path(pooch.os_cache("symmerge_jax"))


def fetch(
    url: str, path: pathlib.Path, *, known_hash: str | None, otherwise: str
) -> pathlib.Path:
    """Return a file after downloading it, unless it is there.

    `known_hash` is its digest, as `sha256:...`; `otherwise` says what may be done
    instead, for messages.
    """
    import pooch

    try:
        pooch.retrieve(
            url,
            known_hash=known_hash,
            fname=path.name,
            path=path.parent,
            progressbar=True,
        )
    except (OSError, ValueError) as error:
        # OSError is what all errors of requests are; ValueError is a wrong digest.
        raise FileNotFoundError(
            f"Cannot download {url} ({error}). Put that file at {path}, or {otherwise}."
        ) from error
    return path


def fetch_members(
    url: str,
    folder: pathlib.Path,
    names: Sequence[str],
    *,
    known_hash: str | None = None,
    check: Callable[[pathlib.Path], None] | None = None,
) -> pathlib.Path:
    """Return a folder with files of an archive, which is downloaded if need be.

    The archive is kept beside the folder until that is complete. Of its members only
    the files of these `names` are unpacked, whatever their folders. They get their
    names after `check`, which raises ValueError for files that are not as they should
    be, has looked at the folder of the unpacked files.
    """
    if all((folder / name).is_file() for name in names):
        return folder
    archive = fetch(
        url,
        folder.with_name(url.rpartition("/")[2]),
        known_hash=known_hash,
        otherwise=f"its contents ({', '.join(names)}) into {folder}",
    )
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with files.naming(folder):
            _unpack(archive, partial, names)
        if check is not None:
            check(partial)
        folder.mkdir(exist_ok=True)
        for name in names:
            os.replace(partial / name, folder / name)
    except _DAMAGE as error:
        raise ValueError(
            f"{archive} is truncated, damaged, or not what it should be: {error}."
            " Remove it and fetch it again."
        ) from error
    finally:
        shutil.rmtree(partial)
    archive.unlink()
    return folder


def _unpack(archive: pathlib.Path, folder: pathlib.Path, names: Sequence[str]) -> None:
    with tarfile.open(archive, "r|*") as members:
        for member in members:
            name = pathlib.PurePosixPath(member.name).name
            if not member.isfile() or name not in names:
                continue
            source = members.extractfile(member)
            assert source is not None  # it is a regular file
            total = -(-member.size // _BLOCK)
            with (
                source,
                (folder / name).open("wb") as file,
                training.Progress(total, f"unpack {name}", "MiB") as progress,
            ):
                while block := source.read(_BLOCK):
                    file.write(block)
                    progress.update()
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ValueError(f"it lacks {', '.join(missing)}")
