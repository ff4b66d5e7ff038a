"""Which scheduler the command line talks to: --host, or a living host of a lab."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from shared.errors import HafenError, SpecError, UnavailableError
from shared.settings import API_PORT, TlsSettings

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

T = TypeVar("T")

DEFAULT_HOST: Final = "unix:/run/hafen/api.sock"
DEFAULT_TLS_DIR: Final = Path("/etc/hafen/tls")
# A host that was cut off still has a socket; one that just lost its power may hang.
_LAB_ANSWER_S: Final = 1.0


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
    """Return the client of the first host of a lab that answers, best one that reaches etcd."""
    from deploy.client import ApiClient  # noqa: PLC0415 - see TYPE_CHECKING above
    from deploy.lab.lab import Lab  # noqa: PLC0415 - needs Linux, which the command line does not

    lab = Lab.open(name)
    answering: list[Path] = []
    for node in lab.nodes:
        path = lab.api_socket(node)
        reaches_etcd = await _reaches_etcd(ApiClient.unix(path))
        if reaches_etcd:
            return ApiClient.unix(path)
        if reaches_etcd is not None:
            answering.append(path)
    if not answering:
        raise UnavailableError(f"no host of lab {name} answers; `hafen lab status` shows them")
    return ApiClient.unix(answering[0])


async def _reaches_etcd(client: "ApiClient") -> bool | None:
    """Say whether a host's scheduler reaches etcd; None: there is nobody to say it."""
    try:
        async with asyncio.timeout(_LAB_ANSWER_S), client:
            return (await client.status()).etcd_reachable
    except (HafenError, TimeoutError):
        return None
