"""Asking one of our own HTTP servers: a record for a record, or a stream of them.

A refusal comes back as the class of shared.errors that the server raised. A server that is not
there is an UnavailableError; a connection that broke after a change was sent an AmbiguousError.
"""

import io
import os
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import msgspec
from aiohttp.http_exceptions import LineTooLong

from shared import codec, errors
from shared.api import BODY_BYTES_MAX, STREAM_SILENCE_S_MAX, ErrorBody
from shared.errors import (
    AmbiguousError,
    CodecError,
    DeniedError,
    HafenError,
    StoreError,
    UnavailableError,
)
from shared.model import Record

R = TypeVar("R", bound=Record)

# Longer than a write that etcd answers late; a person would not wait longer without a word.
_ANSWER_S_MAX: Final = 15.0
# A host that vanished does not refuse a connection, it only never answers.
_CONNECT_S_MAX: Final = 2.0
# Silence counts once a body is sent: until then it is the server that listens.
_STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=_CONNECT_S_MAX, sock_read=STREAM_SILENCE_S_MAX
)
_OK: Final = 200
_PERMISSION_ERRNOS: Final = frozenset({1, 13})  # EPERM, EACCES


class Target(msgspec.Struct, frozen=True):
    """Where a server listens: a unix socket, or a host and port with mutual TLS.

    Attributes:
        base: scheme and host of every request.
        where: how people call it.
        advice: what to do when nobody is there.
    """

    base: str
    where: str
    socket: Path | None = None
    tls: ssl.SSLContext | None = None
    advice: str = ""

    @classmethod
    def unix(cls, path: Path, advice: str = "") -> Self:
        """Return the target behind a unix socket."""
        return cls("http://localhost", str(path), socket=path, advice=advice)

    @classmethod
    def https(
        cls, host: str, port: int, tls: ssl.SSLContext, *, name: str = "", advice: str = ""
    ) -> Self:
        """Return the target at a host's port; `name` is what people call it."""
        literal = f"[{host}]" if ":" in host else host
        where = name or f"{literal}:{port}"
        return cls(f"https://{literal}:{port}", where, tls=tls, advice=advice)

    def connector(self) -> aiohttp.BaseConnector:
        """Return a new connector; one connection per request, so that none is found dead later."""
        if self.socket is not None:
            return aiohttp.UnixConnector(path=str(self.socket), force_close=True)
        return aiohttp.TCPConnector(ssl=self.tls or True, force_close=True)


class Remote:
    """One server of ours; use it inside `async with`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open nothing yet: the first request connects."""
        self._session = aiohttp.ClientSession(
            connector=self._target.connector(), read_bufsize=BODY_BYTES_MAX
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        answer: type[R],
        *,
        query: Mapping[str, str] | None = None,
        body: Record | None = None,
    ) -> R:
        """Return the server's answer.

        Raises:
            HafenError: the server's refusal, as it raised it.
            UnavailableError: nobody answers; a change was certainly not made.
            AmbiguousError: the connection broke after a change was sent.
        """
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S_MAX, sock_connect=_CONNECT_S_MAX)
        with _translated(self._target, is_change=method != "GET"):
            async with self._open.request(
                method,
                self._target.base + path,
                params=query,
                data=io.BytesIO(codec.encode(body)) if body is not None else None,
                headers={"Content-Type": "application/json"} if body is not None else None,
                timeout=timeout,
            ) as response:
                content = await response.read()
        if response.status != _OK:
            raise refusal(content, response.status, self._target.where)
        return codec.decode(answer, content, self._target.where)

    async def stream(
        self, path: str, kind: type[R], *, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[R, None]:
        """Yield the server's records as they come; close it (contextlib.aclosing) when done.

        Raises:
            HafenError: the server's refusal, at once or in the middle.
            UnavailableError: nobody answers, or the connection broke: it is not the end.
        """
        with _translated(self._target, is_change=False):
            async with (
                self._open.get(
                    self._target.base + path, params=query, timeout=_STREAM_TIMEOUT
                ) as response,
                aclosing(self._records(response, kind)) as records,
            ):
                async for record in records:
                    yield record

    async def send(
        self, path: str, file: Path, kind: type[R], *, query: Mapping[str, str] | None = None
    ) -> AsyncGenerator[R, None]:
        """PUT a file, and yield the server's records about it as they come; close it when done.

        Only for what may be sent again: a connection that broke is no AmbiguousError.

        Raises:
            HafenError: the server's refusal, at once or in the middle.
            UnavailableError: nobody answers, or the connection broke: it is not the end.
            OSError: the file cannot be read.
        """
        with file.open("rb") as body, _translated(self._target, is_change=False):
            async with (
                self._open.put(
                    self._target.base + path,
                    params=query,
                    data=body,
                    headers={"Content-Type": "application/x-tar"},
                    timeout=_STREAM_TIMEOUT,
                ) as response,
                aclosing(self._records(response, kind)) as records,
            ):
                async for record in records:
                    yield record

    async def _records(
        self, response: aiohttp.ClientResponse, kind: type[R]
    ) -> AsyncGenerator[R, None]:
        where = self._target.where
        if response.status != _OK:
            raise refusal(await response.read(), response.status, where)
        while line := await response.content.readline():
            if line.strip():
                yield _decoded(kind, line, where)

    @property
    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use it inside `async with`"
        return self._session


class _MaybeError(Record, frozen=True, kw_only=True):
    """The part of an ErrorBody that no other record has."""

    error: str = ""
    message: str = ""


def _decoded(kind: type[R], line: bytes, where: str) -> R:
    broken = codec.decode(_MaybeError, line, where)
    if broken.error:
        raise named(broken.error, broken.message)
    return codec.decode(kind, line, where)


def refusal(content: bytes, status: int, where: str) -> HafenError:
    """Return the error that an answer with an error status stands for."""
    try:
        body = codec.decode(ErrorBody, content, where)
    except CodecError:
        return UnavailableError(f"{where} answers with status {status}, but not as hafen does")
    return named(body.error, body.message)


def named(name: str, message: str) -> HafenError:
    """Return the error of shared.errors that is called `name`.

    A class that is built from more than a message comes back as the nearest one above it that is
    not: what it was built from stayed on the server.
    """
    kind = getattr(errors, name, HafenError)
    if not (isinstance(kind, type) and issubclass(kind, HafenError)):
        return HafenError(message)
    for candidate in kind.__mro__:
        if issubclass(candidate, HafenError) and candidate.__init__ is Exception.__init__:
            return candidate(message)
    return HafenError(message)


@contextmanager
def _translated(target: Target, *, is_change: bool) -> Iterator[None]:
    """Turn what aiohttp raises into errors of ours."""
    try:
        yield
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        raise DeniedError(f"{target.where}: TLS: {error}") from error
    except aiohttp.ClientConnectorError as error:
        raise _nobody(target, error) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise UnavailableError(f"{target.where} does not answer{target.advice}") from error
    except (LineTooLong, ValueError) as error:  # older aiohttp says it with a ValueError
        raise CodecError(target.where, "a line of its stream is too long") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _broken(target, error, is_change=is_change) from error


def _nobody(target: Target, error: aiohttp.ClientConnectorError) -> StoreError:
    why = error.os_error
    if why.errno in _PERMISSION_ERRNOS:
        return DeniedError(f"{target.where}: {_words(why)}: only root may talk to it")
    if target.socket is not None:
        return UnavailableError(f"nothing answers at {target.where}{target.advice}")
    return UnavailableError(f"{target.where} does not answer: {_words(why)}{target.advice}")


def _words(error: OSError) -> str:
    """Return the system's words for an error; asyncio's own repeat the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _broken(target: Target, error: Exception, *, is_change: bool) -> StoreError:
    why = str(error) or type(error).__name__
    if is_change:
        return AmbiguousError(
            f"the connection to {target.where} broke before the answer ({why}): "
            "the change may be stored or not; look before sending it again"
        )
    return UnavailableError(f"the connection to {target.where} broke: {why}")
