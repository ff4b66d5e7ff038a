"""`x-hafen.routes` of a service, and the keys beside it that say how its requests are treated.

Pure.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from deploy.compose.errors import Problems
from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    amount,
    each,
    one_of,
    sound_record,
    text,
    truth,
    whole,
)
from deploy.compose.ports import PORT_MAX
from deploy.compose.tree import Kind, Mapping, Mark, Path, Scalar, shown
from deploy.compose.units import byte_count, duration_s
from shared.hosts import NO_WILDCARD, host_problem, path_problem
from shared.model import HttpRoute, RouteTls, SendProxy

# Each is a line in the maps of every node's gateway.
ROUTES_MAX: Final = 128
HSTS_S_MAX: Final = 2 * 365 * 24 * 3600
_HEADER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Located(msgspec.Struct, frozen=True):
    """A route and where it was asked for; port 0: the only one that the service publishes."""

    route: HttpRoute
    mark: Mark
    path: Path


class _Long(msgspec.Struct, frozen=True):
    host: str = ""
    path: str = "/"
    port: int = 0
    tls: RouteTls = RouteTls.OFF
    hsts_s: float = 0.0


def routes(at: Cursor) -> tuple[Located, ...]:
    """Return every route of a service."""
    if at.is_null():
        return ()
    found = each(at.items(), _route)
    if len(found) > ROUTES_MAX:
        raise at.refuse(f"{len(found)} routes; {ROUTES_MAX} are the most")
    return found


def refuse_shared(located: Sequence[Located], problems: Problems) -> None:
    """Write down every host and path that is there twice, with both places."""
    first: dict[str, Located] = {}
    for one in located:
        other = first.setdefault(one.route.place, one)
        if other is not one:
            where = f"{other.mark.file}:{other.mark.line}"
            problems.add(one.mark, one.path, f"{one.route.place} is a route in {where} too")


def with_ports(
    at: Cursor, found: Sequence[Located], targets: Sequence[int]
) -> tuple[HttpRoute, ...]:
    """Return the routes, each with its port.

    Args:
        at: where problems go.
        found: what the service says.
        targets: the container's ports that it publishes.
    """
    known = sorted(set(targets))
    whole_: list[HttpRoute] = []
    for one in found:
        route = one.route
        if not route.port and len(known) == 1:
            route = msgspec.structs.replace(route, port=known[0])
        elif not route.port:
            what = f"publishes {len(known)} ports" if known else "publishes no port"
            at.problems.add(
                one.mark,
                one.path,
                f"the service {what}, so say which one in the container is meant, as in "
                f"{{host: {route.host}, port: 8080}}",
            )
        whole_.append(route)
    return tuple(whole_)


def _route(at: Cursor) -> Located:
    route = _long(at) if isinstance(at.node, Mapping) else _short(at)
    return Located(route, at.mark, at.path)


def _short(at: Cursor) -> HttpRoute:
    node = at.node
    if not isinstance(node, Scalar) or node.kind is not Kind.TEXT:
        raise at.expected('a host and a path such as "shop.example.org/api"')
    host, slash, rest = text(at).partition("/")
    return HttpRoute(
        host=_checked_host(at, host), path=_checked_path(at, slash + rest or "/"), port=0
    )


def _long(at: Cursor) -> HttpRoute:
    long = sound_record(at, _Long(), ROUTE)
    if not long.host:
        raise at.refuse("host is missing: a name such as shop.example.org")
    if long.tls is RouteTls.ACME and long.host.startswith("*."):
        raise at.refuse(NO_WILDCARD)
    if long.hsts_s and not long.tls.redirects:
        raise at.refuse(
            "hsts is for routes with tls: redirect or acme: browsers would be locked out"
        )
    return HttpRoute(
        host=long.host, path=long.path, port=long.port, tls=long.tls, hsts_s=int(long.hsts_s)
    )


def _checked_host(at: Cursor, host: str) -> str:
    host = host.lower().rstrip(".")
    if why := host_problem(host):
        raise at.refuse(why)
    return host


def _checked_path(at: Cursor, path: str) -> str:
    if why := path_problem(path):
        raise at.refuse(why)
    return path.rstrip("/") or "/"


def _tls(at: Cursor) -> RouteTls:
    node = at.scalar("true, false, redirect or acme")
    known = {
        "true": RouteTls.ON,
        "false": RouteTls.OFF,
        "redirect": RouteTls.REDIRECT,
        "acme": RouteTls.ACME,
    }
    if node.text.lower() not in known:
        raise at.refuse(f"expected true, false, redirect or acme, got {shown(node)}")
    return known[node.text.lower()]


def _hsts(at: Cursor) -> float:
    seconds = amount(at, duration_s)
    if not 1 <= seconds <= HSTS_S_MAX:
        raise at.expected(f"1s to {HSTS_S_MAX // 86400 * 24}h")
    return seconds


def _span(at: Cursor) -> float:
    seconds = amount(at, duration_s)
    if not 1 <= seconds <= SPAN_S_MAX:
        raise at.expected(f"1s to {SPAN_S_MAX:g}s")
    return seconds


def _hold(at: Cursor) -> float:
    seconds = amount(at, duration_s)
    if seconds > HOLD_S_MAX:
        raise at.expected(f"0s to {HOLD_S_MAX:g}s")
    return seconds


def _header(at: Cursor) -> str:
    name = text(at).lower()
    if not _HEADER.fullmatch(name):
        raise at.expected("a header's name such as Idempotency-Key")
    return name


# A request that waits holds a connection at the gateway and its client's patience.
HOLD_S_MAX: Final = 300.0
SPAN_S_MAX: Final = 24 * 3600.0
ROUTE: Final[Table] = {
    "host": Field("host", lambda at: _checked_host(at, text(at))),
    "path": Field("path", lambda at: _checked_path(at, text(at))),
    "port": Field("port", lambda at: whole(at, 1, PORT_MAX)),
    "tls": Field("tls", _tls),
    "hsts": Field("hsts_s", _hsts),
}
TRAFFIC: Final[Table] = {
    "routes": Field("routes", routes),
    "hold": Field("traffic.hold_s", _hold),
    "timeout": Field("traffic.timeout_s", _span),
    "idempotency_header": Field("traffic.idempotency_header", _header),
    "resend": Field("traffic.resend", truth),
    "max_body": Field("traffic.max_body_bytes", lambda at: amount(at, byte_count)),
    "send_proxy": Field("traffic.send_proxy", lambda at: SendProxy(one_of(at, *SendProxy))),
    "access_log": Field("traffic.access_log", truth),
}
