"""The node's own name servers, as its /etc/resolv.conf has them now."""

import asyncio
from pathlib import Path
from typing import Final

from node_agent.names.answer import host_servers

RESOLV_CONF: Final = Path("/etc/resolv.conf")
_LOOK_S: Final = 1.0


class HostServers:
    """Reads the file again when it has changed; looks at most once a second.

    Args:
        own: this server's address, which is never asked.
        path: the file; one that is missing or cannot be read names nobody.

    Attributes:
        problems: why it cannot be read.
    """

    def __init__(self, own: str, path: Path = RESOLV_CONF) -> None:
        self._own, self._path = own, path
        self._looked_s = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._servers: tuple[str, ...] = ()
        self.problems: dict[str, str] = {}

    def read(self) -> tuple[str, ...]:
        """Return the servers."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._look()
        return self._servers

    def _look(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                text = self._path.read_text(errors="replace")
                self._servers = host_servers(text, (self._own,))
                self._seen = seen
            self.problems = {}
        except FileNotFoundError:
            self._servers, self._seen, self.problems = (), None, {}
        except OSError as error:
            self._servers, self._seen = (), None
            why = f"names: cannot read {self._path} as nobody: {error.strerror}"
            self.problems = {"resolvers": f"{why}; containers reach no name outside the cluster"}
