"""Files that are whole or not there: written beside, made durable if they must be, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file, owner-only, so that a crash leaves the old or the new one whole.

    Raises:
        OSError: the disk is full or broken; the old file is still there.
    """
    _replace(path, content, is_durable=True)


def replace(path: Path, content: bytes) -> None:
    """Replace the file, owner-only, so that whoever reads it finds the old or the new one whole.

    For what is of no use after a reboot: a host that crashes may leave it torn.

    Raises:
        OSError: the disk is full or broken; the old file is still there.
    """
    _replace(path, content, is_durable=False)


def _replace(path: Path, content: bytes, *, is_durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with naming(path), os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what the disk refuses name `path`: a write that finds no room does not by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
