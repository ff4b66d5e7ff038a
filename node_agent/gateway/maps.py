"""The maps that HAProxy looks hosts, challenges and closed services up in: files, and told live."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node_agent.gateway import edge
from node_agent.gateway.asking import HaproxyError
from node_agent.gateway.commands import complaint, lines
from node_agent.gateway.config import CLOSED_PAGE
from node_agent.gateway.process import Haproxy
from shared.files import write_atomically

Map = Mapping[str, str]
_PAGE: Final = Path(__file__).with_name("closed.html")


class Maps:
    """Keeps the maps of one HAProxy.

    Args:
        folder: where their files are.
        haproxy: whom to tell.
    """

    def __init__(self, folder: Path, haproxy: Haproxy) -> None:
        self._folder, self._haproxy = folder, haproxy
        # What HAProxy is known to have; a map that is not here has to be asked for first.
        self._told: dict[str, Map] = {}
        self._written: dict[str, Map] = {}

    def write(self, maps: Mapping[str, Map], *, anew: bool) -> None:
        """Write what the next worker reads; unless `anew`, what was written before is there.

        Raises:
            OSError: the folder is full.
        """
        if maps == self._written and not anew:
            return
        self._written = {}
        files = {name: edge.text(entries).encode() for name, entries in maps.items()}
        files[CLOSED_PAGE] = _PAGE.read_bytes()
        for name, content in files.items():
            path = self._folder / name
            if not path.exists() or path.read_bytes() != content:
                write_atomically(path, content)
        self._written = dict(maps)

    def loaded(self, maps: Mapping[str, Map]) -> None:
        """Know that a worker has begun with these."""
        self._told = dict(maps)

    def forget(self) -> None:
        """Know nothing any more: each map is asked for before it is changed."""
        self._told = {}

    async def tell(self, name: str, wanted: Map) -> None:
        """Make one map of the running worker what it should be.

        Raises:
            HaproxyError: it does not answer, or refuses.
        """
        if self._told.get(name) == wanted:
            return
        path = str(self._folder / name)
        now = self._told.pop(name, None)
        if now is None:
            now = edge.shown(await self._haproxy.command(f"show map {path}"))
        for line in lines(edge.updates(path, now, wanted)):
            refused = complaint(await self._haproxy.command(line))
            if refused:
                raise HaproxyError(f"HAProxy refuses a change of {name}: {refused}")
        self._told[name] = wanted


def closed_map(closed: frozenset[str]) -> Map:
    """Return the map of what is closed."""
    return dict.fromkeys(sorted(closed), "1")
