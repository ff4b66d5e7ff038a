"""The files that Compose files name: read once each, within limits, wherever they come from.

Pure. What reads the bytes is handed in, so a test may hold its files in memory.
"""

import posixpath
from collections.abc import Callable, Mapping
from typing import Final

from deploy.compose.errors import Problems, RefusedError
from deploy.compose.tree import Mark, Path, printable, quoted

# Sixty-four files are a large project; a chain that goes on for ever ends here at the latest.
FILES_MAX: Final = 64
BYTES_MAX: Final = 1024 * 1024  # of one file; a stack of this size could not be stored either
ALL_BYTES_MAX: Final = 8 * 1024 * 1024

# Takes an absolute path and how many bytes at most; raises OSError with a reason for people.
Fetch = Callable[[str, int], bytes]


def _common(named: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the folder of the first file, absolute and as a person wrote it."""
    for path, as_written in named.items():
        return posixpath.dirname(path), posixpath.dirname(as_written)
    return None


class Library:
    """Reads files, and counts what was read; one for each loading."""

    def __init__(
        self, fetch: Fetch, problems: Problems, named: Mapping[str, str] | None = None
    ) -> None:
        """Read through `fetch`; `named` are absolute paths, and how a person wrote them."""
        self._fetch, self._problems, self._named = fetch, problems, dict(named or {})
        self._here = _common(self._named)
        self._known: dict[str, bytes] = {}
        self._orders: dict[str, int] = {}
        self._bytes = 0

    def shown(self, path: str) -> str:
        """Return a path as messages have it."""
        if path not in self._named and self._here is not None:
            folder, as_written = self._here
            inside = path.startswith(folder.rstrip("/") + "/")
            below = posixpath.join(as_written, posixpath.relpath(path, folder)) if inside else path
            self._named[path] = below
        return printable(self._named.get(path, path))

    def order(self, file: str) -> int:
        """Return which of all files this is, in the order in which they were asked for."""
        return self._orders.setdefault(file, len(self._orders))

    def has(self, path: str) -> bool:
        """Say whether there is a file that could be read; `read` says why not."""
        if path not in self._known:
            try:
                self._fetch(path, 1)
            except (OSError, ValueError):
                return False
        return True

    def read(self, path: str, mark: Mark, where: Path, most: int = BYTES_MAX) -> bytes:
        """Return a file's content.

        Raises:
            RefusedError: it cannot be read, or more was read than the limits allow.
        """
        if path not in self._known:
            self._known[path] = self._new(path, mark, where)
        content = self._known[path]
        if len(content) > most:
            what = f"{quoted(self.shown(path))} is larger than {most} bytes"
            raise self._problems.add(mark, where, what)
        return content

    def text(self, path: str, mark: Mark, where: Path) -> str:
        """Return a file's content as text, as `read` does."""
        try:
            return self.read(path, mark, where).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._refuse(path, mark, where, "it is not UTF-8 text") from error

    def _new(self, path: str, mark: Mark, where: Path) -> bytes:
        if len(self._known) >= FILES_MAX:
            raise self._refuse(path, mark, where, f"{FILES_MAX} files are the most")
        try:
            content = self._fetch(path, BYTES_MAX + 1)  # one more than is allowed tells
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = (getattr(error, "strerror", None) or str(error)).lower()
            raise self._refuse(path, mark, where, why) from error
        self._bytes += len(content)
        if self._bytes > ALL_BYTES_MAX:
            what = f"all files together pass {ALL_BYTES_MAX} bytes"
            raise self._refuse(path, mark, where, what)
        return content

    def _refuse(self, path: str, mark: Mark, where: Path, why: str) -> RefusedError:
        return self._problems.add(mark, where, f"cannot read {quoted(self.shown(path))}: {why}")
