"""Orbax without its log lines, and with errors that name what cannot be written."""

import contextlib
import errno
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax


@contextlib.contextmanager
def quiet_orbax(handler_type: Any = None) -> Iterator[Any]:
    """Open an orbax checkpointer without its log lines, and close it.

    It works in this process alone, and waits for no other one.

    Args:
      handler_type: of orbax; None for that of whole trees, `StandardCheckpointHandler`.

    Yields:
      The checkpointer.
    """
    import orbax.checkpoint as ocp

    logger = logging.getLogger("absl")  # where orbax writes; its errors are raised
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        options = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(), active_processes={jax.process_index()}
        )
        make = handler_type or ocp.StandardCheckpointHandler
        handler = make(multiprocessing_options=options)
        with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            yield checkpointer
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def plain_orbax_errors(path: pathlib.Path) -> Iterator[None]:
    """Turn what orbax makes of an error of the operating system back into that one.

    It writes in threads and event loops of its own: the error that comes out may be
    one of closing them, and the cause is only in a text, in a chain of others.

    Args:
      path: what is written.

    Yields:
      Nothing.

    Raises:
      OSError: the cause, where there is one, with the path.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        link: BaseException | None = error
        while link is not None:
            number = getattr(link, "errno", None) or next(
                (n for text, n in _CAUSES.items() if text in str(link)), None
            )
            if number is not None:
                logging.getLogger("asyncio").addFilter(_is_new)
                raise OSError(number, os.strerror(number), str(path)) from error
            link = link.__cause__ or link.__context__
        raise


def _is_new(record: logging.LogRecord) -> bool:
    """Whether a message of asyncio is not about an error that has been raised.

    It reports each write that failed with the first, at any time afterwards.
    """
    return "tensorstore_spec" not in record.getMessage()


_CAUSES = {
    "RESOURCE_EXHAUSTED": errno.ENOSPC,
    "No space left": errno.ENOSPC,
    "Disk quota": errno.ENOSPC,
    "File too large": errno.EFBIG,
    "PERMISSION_DENIED": errno.EACCES,
}
"""Texts that tensorstore makes of errors of the operating system."""
