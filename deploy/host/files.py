"""Files of a host that must be whole, and seen by nobody else, from their first byte on."""

import os
from pathlib import Path


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
