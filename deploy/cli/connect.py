"""Which scheduler the command line talks to: --host, or a living host of a lab."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from shared.errors import HafenError, SpecError, UnavailableError
from shared.settings import API_PORT, TlsSettings

if TYPE_CHECKING:  # they bring HTTP clients along, and --help must not wait for that
    from http.client import HTTPConnection

    from deploy.client import ApiClient
    from shared.api import ClusterView

T = TypeVar("T")

DEFAULT_HOST: Final = "unix:/run/hafen/api.sock"
DEFAULT_TLS_DIR: Final = Path("/etc/hafen/tls")
# A host that was cut off still has a socket; one that just lost its power may hang.
_LAB_ANSWER_S: Final = 1.0
_ELSEWHERE: Final = (
    "containers and traffic go on without it; --host https://HOST names another host's scheduler"
)


class Host(msgspec.Struct, frozen=True):
    """A parsed --host: a socket's path, or a name and a port."""

    socket: Path | None = None
    name: str = ""
    port: int = API_PORT


class Connection(msgspec.Struct, frozen=True):
    """What --host, --tls-dir and --lab say together."""

    host: str
    tls_dir: Path
    lab: str | None = None

    def run(self, use: "Callable[[ApiClient], Awaitable[T]]") -> T:
        """Call `use` with a client and return what it returns.

        Raises:
            HafenError: the server's refusal, or nobody answers.
        """

        async def inside() -> T:
            async with await self._client() as client:
                return await use(client)

        return asyncio.run(inside())

    def status(self) -> "ClusterView":
        """Return the cluster at a glance, or say within a second why nobody can.

        Raises:
            HafenError: the server's refusal, or nobody answers; then it says what is known here.
        """
        return asyncio.run(self._status())

    async def _status(self) -> "ClusterView":
        from deploy.cli.glance import first_glance, glance  # noqa: PLC0415 - as above

        if self.lab is not None:
            view = await first_glance(_lab_sockets(self.lab))
            if view is None:
                raise _nobody(self.lab)
            return view
        try:
            return await glance(self._talk(), self.host.removeprefix("unix:"))
        except UnavailableError as error:
            said = [str(error)]
        if parse_host(self.host).socket is not None:
            from deploy.cli.here import this_host  # noqa: PLC0415 - only where something is broken

            said += await this_host()
        raise UnavailableError("\n".join([*said, _ELSEWHERE]))

    def _talk(self) -> "HTTPConnection":
        from http.client import HTTPSConnection  # noqa: PLC0415 - slow to import, see TYPE_CHECKING

        from deploy.cli.glance import ANSWER_S_MAX, UnixConnection  # noqa: PLC0415 - as above
        from shared.tls import client_context  # noqa: PLC0415 - as above

        host = parse_host(self.host)
        if host.socket is not None:
            return UnixConnection(host.socket)
        context = client_context(tls_files(self.tls_dir))
        return HTTPSConnection(host.name, host.port, context=context, timeout=ANSWER_S_MAX)

    async def _client(self) -> "ApiClient":
        from deploy.client import ApiClient  # noqa: PLC0415 - see TYPE_CHECKING above

        if self.lab is not None:
            return await _lab_client(self.lab)
        host = parse_host(self.host)
        if host.socket is not None:
            return ApiClient.unix(host.socket)
        return ApiClient.https(host.name, host.port, tls_files(self.tls_dir))


def parse_host(text: str) -> Host:
    """Return what a --host means.

    Raises:
        SpecError: neither a unix socket nor an https address.
    """
    if text.startswith("unix:") and text != "unix:":
        return Host(socket=Path(text.removeprefix("unix:")))
    try:
        parts = urlsplit(text)
        port = parts.port or API_PORT
    except ValueError as error:
        raise SpecError(f"--host {text}: {error}") from error
    if parts.scheme != "https" or not parts.hostname or parts.path not in {"", "/"}:
        raise SpecError(f"--host {text}: write unix:/path/of/api.sock or https://HOST:{API_PORT}")
    return Host(name=parts.hostname, port=port)


def tls_files(directory: Path) -> TlsSettings:
    """Return the operator's files in a directory: ca.crt, operator.crt and operator.key."""
    return TlsSettings(
        ca=directory / "ca.crt", cert=directory / "operator.crt", key=directory / "operator.key"
    )


async def _lab_client(name: str) -> "ApiClient":
    """Return the client of the first host of a lab that answers, best one that knows."""
    from deploy.client import ApiClient  # noqa: PLC0415 - see TYPE_CHECKING above

    answering: list[Path] = []
    for path in _lab_sockets(name):
        is_knowing = await _knows(ApiClient.unix(path))
        if is_knowing:
            return ApiClient.unix(path)
        if is_knowing is not None:
            answering.append(path)
    if not answering:
        raise _nobody(name)
    return ApiClient.unix(answering[0])


def _lab_sockets(name: str) -> list[Path]:
    from deploy.lab import record  # noqa: PLC0415 - needs Linux, which the command line does not
    from deploy.lab.plan import Paths, check_name  # noqa: PLC0415 - as above

    paths = Paths(check_name(name))
    return [paths.api_socket(host.name) for host in record.require(paths).hosts]


def _nobody(lab: str) -> UnavailableError:
    return UnavailableError(f"no host of lab {lab} answers; `hafen lab status` shows them")


async def _knows(client: "ApiClient") -> bool | None:
    """Say whether a host's scheduler reaches etcd and has read it; None: nobody is there."""
    from deploy.cli.glance import knows  # noqa: PLC0415 - see TYPE_CHECKING above

    try:
        async with asyncio.timeout(_LAB_ANSWER_S), client:
            return knows(await client.status())
    except (HafenError, TimeoutError):
        return None
