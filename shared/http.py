"""What both HTTP servers, the scheduler's API and the agent's streams, do in the same way.

A refusal is an ErrorBody with a 4xx or 5xx status. A stream is one JSON object a line; a blank line
says only that the stream lives; a last line that is an ErrorBody says why it broke off.
"""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeVar

import structlog
from aiohttp import web

from shared import codec
from shared.api import BODY_BYTES_MAX, STREAM_HEARTBEAT_S, ErrorBody
from shared.errors import (
    AmbiguousError,
    CodecError,
    ConflictError,
    ConvergenceError,
    DeniedError,
    HafenError,
    HostError,
    ImageError,
    NotFoundError,
    OvertakenError,
    RolledBackError,
    SpecError,
    UnavailableError,
)
from shared.model import Record

R = TypeVar("R", bound=Record)

_log = structlog.get_logger()

# From the narrow to the wide: the first class that fits gives the status.
_STATUS: Final[tuple[tuple[type[HafenError], int], ...]] = (
    (SpecError, 400),
    (ImageError, 400),
    (NotFoundError, 404),
    (ConflictError, 409),
    (OvertakenError, 409),
    (ConvergenceError, 409),
    (RolledBackError, 409),
    (DeniedError, 403),
    (UnavailableError, 503),
    (AmbiguousError, 503),
    (HafenError, 500),
)
# What aiohttp refuses by itself, in the words of shared.errors.
_WORDS: Final[Mapping[int, tuple[type[HafenError], str]]] = {
    404: (NotFoundError, "there is no such path in this API"),
    405: (SpecError, "this path does not take that method"),
    413: (SpecError, f"the body is larger than {BODY_BYTES_MAX} bytes"),
}
# Lines that wait for a slow reader; then the source waits too.
_QUEUED_LINES_MAX: Final = 64
# An image's name is the longest that people give.
_NAME_CHARACTERS_MAX: Final = 512
# How long a client may take to send a record.
_BODY_S_MAX: Final = 10.0
# How long open streams may take to end when the server stops.
_SHUTDOWN_S: Final = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Put = Callable[[Record], Awaitable[None]]
# Makes one address of a server on its runner.
Site = Callable[[web.AppRunner], web.BaseSite]
# Puts the records of a stream until there are no more.
Source = Callable[[Put], Awaitable[None]]


def status_of(error: HafenError) -> int:
    """Return the HTTP status that an error is sent with."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def reply(record: Record, *, status: int = 200) -> web.Response:
    """Return a record as a JSON answer."""
    return web.Response(
        body=codec.encode(record), status=status, content_type="application/json", charset="utf-8"
    )


def _refusal(error: HafenError, status: int) -> web.Response:
    return reply(ErrorBody(error=type(error).__name__, message=str(error)), status=status)


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into an ErrorBody: ours by its class, a bug into a 500 with an id."""
    try:
        return await handler(request)
    except HafenError as error:
        return _refusal(error, status_of(error))
    except web.HTTPException as error:
        kind, words = _WORDS.get(error.status, (SpecError, error.reason))
        return _refusal(kind(f"{request.method} {request.path}: {words}"), error.status)
    except ConnectionError:
        raise  # the client went away: there is nobody to answer
    except Exception:  # noqa: BLE001 - the last place that can tell the client and log it
        return _refusal(_bug(request), 500)


def _bug(request: web.Request) -> HafenError:
    id_ = secrets.token_hex(4)
    _log.exception("request_failed", id=id_, method=request.method, path=request.path)
    return HafenError(f"{request.method} {request.path} failed inside hafen; its log says {id_}")


async def stream(
    request: web.Request, source: Source, *, heartbeat_s: float = STREAM_HEARTBEAT_S
) -> web.StreamResponse:
    """Send what `source` puts as it comes, one line each, until it returns or the client goes away.

    Memory is bounded: when the client does not read, `put` waits. A stream that is quiet for
    `heartbeat_s` sends a blank line.
    """
    response = web.StreamResponse()
    response.content_type = "application/x-ndjson"
    await response.prepare(request)
    lines: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED_LINES_MAX)
    async with asyncio.TaskGroup() as group:
        pump = group.create_task(_pump(request, source, lines))
        try:
            await _send(response, lines, heartbeat_s)
        except ConnectionError:
            pump.cancel()  # the client went away: nobody wants the rest
    return response


async def _pump(request: web.Request, source: Source, lines: asyncio.Queue[bytes | None]) -> None:
    async def put(record: Record) -> None:
        await lines.put(codec.encode(record) + b"\n")

    try:
        await source(put)
    except HafenError as error:
        await lines.put(_last_line(error))
    except Exception:  # noqa: BLE001 - the status is sent already; the last line tells the client
        await lines.put(_last_line(_bug(request)))
    await lines.put(None)


def _last_line(error: HafenError) -> bytes:
    return codec.encode(ErrorBody(error=type(error).__name__, message=str(error))) + b"\n"


async def _send(
    response: web.StreamResponse, lines: asyncio.Queue[bytes | None], heartbeat_s: float
) -> None:
    while True:
        try:
            async with asyncio.timeout(heartbeat_s):
                line = await lines.get()
        except TimeoutError:
            line = b"\n"
        if line is None:
            return await response.write_eof()
        await response.write(line)


def flag(request: web.Request, name: str) -> bool:
    """Return a yes/no from the query; absent means no.

    Raises:
        SpecError: neither of the words for yes and no.
    """
    value = request.query.get(name, "0")
    if value not in {"0", "1", "true", "false"}:
        raise SpecError(f"{name}: expected 1 or 0, got {value!r}")
    return value in {"1", "true"}


def whole(request: web.Request, name: str, *, largest: int) -> int | None:
    """Return a whole number from 0 to `largest` from the query; None if it is absent.

    Raises:
        SpecError: not such a number.
    """
    value = request.query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()) or int(value[:20]) > largest:
        raise SpecError(f"{name}: expected a whole number from 0 to {largest}, got {value[:40]!r}")
    return int(value)


def named(request: web.Request, name: str) -> str:
    """Return a text from the query; empty if it is absent.

    Raises:
        SpecError: it is longer than any name.
    """
    value = request.query.get(name, "")
    if len(value) > _NAME_CHARACTERS_MAX:
        raise SpecError(f"{name}: has {len(value)} characters, more than {_NAME_CHARACTERS_MAX}")
    return value


async def body_of(request: web.Request, kind: type[R], *, bytes_max: int = BODY_BYTES_MAX) -> R:
    """Return the record that a client sent.

    Raises:
        SpecError: it is no such record, it is too large, or it did not arrive in time.
    """
    try:
        async with asyncio.timeout(_BODY_S_MAX):
            body = await request.read()
        if len(body) > bytes_max:
            raise SpecError(f"a body of {len(body)} bytes; {bytes_max} are the most")
        return codec.decode(kind, body, "the body")
    except TimeoutError as error:
        raise SpecError(f"the body did not arrive within {_BODY_S_MAX:g} s") from error
    except CodecError as error:
        raise SpecError(str(error)) from error


async def serve(app: web.Application, sites: Sequence[Site]) -> NoReturn:
    """Serve `app` at every site until cancelled; then open streams are ended.

    Raises:
        HostError: an address is taken or is not this host's.
    """
    # Cancelling a handler when its client goes away is what stops a stream that nobody reads.
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S
    )
    await runner.setup()
    try:
        for make in sites:
            await _start(make(runner))
        while True:
            await asyncio.Event().wait()  # nobody sets it: only cancellation ends this
    finally:
        await runner.cleanup()


async def _start(site: web.BaseSite) -> None:
    try:
        await site.start()
    except OSError as error:
        raise HostError(f"cannot listen at {site.name}: {error.strerror}") from error


def tls_site(host: str, port: int, context: ssl.SSLContext) -> Site:
    """Return what makes a TCP site with mutual TLS on a runner."""
    return lambda runner: web.TCPSite(runner, host, port, ssl_context=context, reuse_address=True)
