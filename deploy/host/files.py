"""Files of a host: whole and seen by nobody else from their first byte on, or one with another."""

import os
import shutil
from pathlib import Path

from shared.errors import HostError


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file in one step: nobody, not even after a crash, finds half of it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        # The umask may have taken bits away; a key's mode must not depend on it.
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file, or a copy of it where that cannot be.

    Raises:
        HostError: there is no such file, or no room for a copy.
    """
    try:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
    except OSError as error:
        raise HostError(f"{error.filename}: {error.strerror}") from error
