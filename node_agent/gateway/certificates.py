"""The certificates that HAProxy shows: files in memory, and told live."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from node_agent.gateway import tls
from node_agent.gateway.asking import HaproxyError
from node_agent.gateway.edge import LIST
from node_agent.gateway.process import Haproxy
from node_agent.gateway.tls import Has, Loaded
from shared.files import write_atomically
from shared.pair import Pair

_log = structlog.get_logger()


class Certificates:
    """Keeps the certificates of one HAProxy.

    Args:
        folder: a folder in memory, for this only.
        haproxy: whom to tell.
    """

    def __init__(self, folder: Path, haproxy: Haproxy) -> None:
        self._folder, self._haproxy = folder, haproxy
        self._has: Has | None = None
        # What `_has` came of; None: it may be something else.
        self._shown: Mapping[str, Loaded] | None = None
        self._written: tuple[Mapping[str, Pair], Mapping[str, Loaded]] | None = None

    def write(self, certificates: Mapping[str, Pair], *, anew: bool) -> Mapping[str, Loaded]:
        """Write what the next worker reads; return it.

        Unless `anew`, what was written before is there.

        Raises:
            OSError: the folder is full.
        """
        if self._written is not None and self._written[0] == certificates and not anew:
            return self._written[1]
        self._written = None
        wanted = tls.choose(certificates)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = {name: one.pem for name, one in wanted.items()}
        for name, text in {**files, LIST: tls.listed(str(self._folder), wanted)}.items():
            path = self._folder / name
            if not path.exists() or path.read_text() != text:
                write_atomically(path, text.encode())
        self._written = certificates, wanted
        return wanted

    def loaded(self, wanted: Mapping[str, Loaded]) -> None:
        """Know that a worker has begun with these."""
        files = {name: tls.digest(one.pem) for name, one in wanted.items()}
        self._has, self._shown = Has(files, frozenset(files)), wanted
        self._sweep(wanted)

    def forget(self) -> None:
        """Know nothing any more: HAProxy is asked before anything is changed."""
        self._has = self._shown = None

    async def tell(self, wanted: Mapping[str, Loaded]) -> tuple[str, ...]:
        """Make the running worker show these; return a sentence for each that it refuses.

        Raises:
            HaproxyError: it does not answer.
        """
        if self._shown == wanted:
            return ()
        folder, list_ = str(self._folder), str(self._folder / LIST)
        has = self._has if self._has is not None else await self._ask()
        self.forget()
        problems = []
        for name, one in sorted(wanted.items()):
            refused = await self._say(tls.adding(folder, list_, name, one, has))
            if refused:
                problems.append(f"the certificate for {', '.join(one.hosts)}: {refused}")
        for name in sorted(has.files.keys() - wanted.keys()):
            await self._say(tls.removing(folder, list_, name, has))
        if problems:
            return tuple(problems)
        self.loaded(wanted)
        return ()

    async def _say(self, commands: Iterable[str]) -> str:
        for command in commands:
            answer = await self._haproxy.command(command)
            if not tls.is_done(answer):
                # The command itself may hold a key, and is not for any log.
                said = " ".join(answer.split())
                _log.warning("certificate_refused", command=command.split(" <<")[0], answer=said)
                return f"HAProxy refuses it: {said}"
        return ""

    async def _ask(self) -> Has:
        folder = str(self._folder)
        certificates = await self._haproxy.command("show ssl cert")
        for line in certificates.splitlines():
            if line.startswith(f"*{folder}/"):
                await self._haproxy.command(f"abort ssl cert {line.removeprefix('*')}")
        shown = await self._haproxy.command(f"show ssl crt-list {self._folder / LIST}")
        if "No such" in shown or "not found" in shown:
            raise HaproxyError(f"HAProxy has no list of certificates: {' '.join(shown.split())}")
        return tls.has(folder, certificates, shown)

    def _sweep(self, wanted: Mapping[str, Loaded]) -> None:
        for path in self._folder.glob("*.pem"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)
