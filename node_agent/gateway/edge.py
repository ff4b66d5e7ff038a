"""The frontends that serve HTTP routes, and the map by which they find their way.

Pure. Hosts and paths are in a map that HAProxy is told about at run time: a new route to what it
knows already needs no reload. The map's keys are <host><path>/, its lookups are by the longest
beginning, and so are those of shared.model.choose.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from node_agent.gateway.config import (
    ONCE,
    Place,
    Served,
    bind_lines,
    client_lines,
    closed_lines,
    log_lines,
)
from shared.model import HttpRoute

ROUTES_MAP: Final = "routes.map"
CHALLENGES_MAP: Final = "challenges.map"
CERTIFICATES: Final = "certificates"
LIST: Final = "list"
# Between the parts of a map's value; no part has it.
_BETWEEN: Final = "|"

_FRONT: Final = """
frontend hafen:{scheme}
    mode http
{binds}\
{client}\
    # See the frontends of published ports.
    option idle-close-on-response
    http-request set-var(txn.host) req.hdr(host),host_only,lower
    http-request set-var(txn.path) path
{challenge}\
    http-request set-var(txn.to) var(txn.host),concat(,txn.path,/),map_beg({routes})
    http-request set-var(txn.to) var(txn.host),'regsub("^[^.]*","*")',concat(,txn.path,/),\
map_beg({routes}) if !{{ var(txn.to) -m found }}
    http-request set-var(txn.backend) var(txn.to),field(1,|)
    http-request set-var(txn.service) var(txn.to),field(2,|)
    http-request set-var(txn.tls) var(txn.to),field(3,|)
    http-request set-var(txn.hsts) var(txn.to),field(4,|)
    http-request set-var(txn.header) var(txn.to),field(5,|)
{log}\
{unknown}\
{scheme_rules}\
{closed}\
    acl repeatable method GET HEAD OPTIONS PUT DELETE
    use_backend %[var(txn.backend)] if repeatable
{headers}\
    use_backend %[var(txn.backend)]{once}
"""
_TLS: Final = " ssl crt-list {folder}/{certificates}/{list} strict-sni alpn h2,http/1.1"
_CHALLENGE: Final = """\
    http-request set-var(txn.challenge) path,field(4,/),map({challenges}) if \
{{ path_beg /.well-known/acme-challenge/ }}
    http-request return status 200 content-type text/plain lf-string "%[var(txn.challenge)]" if \
{{ var(txn.challenge) -m found }}
"""
_NO_ROUTE: Final = """\
    http-request return status {status} content-type text/plain string "{said}" if \
{condition}
"""
_REDIRECT: Final = """\
    http-request redirect location https://%[var(txn.host)]{port}%[pathq] code 308 if \
{{ var(txn.tls) -m str redirect }} !{{ req.hdr(x-forwarded-proto) -m str https }}
"""
_HSTS: Final = (
    "    http-after-response set-header strict-transport-security max-age=%[var(txn.hsts)] if "
    "{ var(txn.hsts) -m found } !{ var(txn.hsts) -m str 0 }\n"
)
_MISDIRECTED: Final = "{ var(txn.strange) -m found }"


def entries(served: Iterable[Served]) -> dict[str, str]:
    """Return the map of routes: where each leads and how."""
    return {key_of(route): _value(each, route) for each in served for route in each.routes}


def key_of(route: HttpRoute) -> str:
    """Return what a request's host, path and a slash must begin with."""
    return f"{route.place}/"


def backend_of(value: str) -> str:
    """Return the backend that a value of the map leads to."""
    return value.partition(_BETWEEN)[0]


def _value(each: Served, route: HttpRoute) -> str:
    tls = "redirect" if route.tls.redirects else route.tls.value
    parts = (
        each.backend,
        each.service_id,
        tls,
        str(route.hsts_s),
        each.traffic.idempotency_header,
        "log" if each.traffic.access_log else "silent",
    )
    return _BETWEEN.join(parts)


def headers(served: Iterable[Served]) -> tuple[str, ...]:
    """Return the names of headers by which requests may be repeated: new ones need a reload."""
    return tuple(sorted({each.traffic.idempotency_header for each in served if each.routes}))


def render(served: Sequence[Served], place: Place) -> str:
    """Return the frontends; nothing while there is no route."""
    if not any(each.routes for each in served):
        return ""
    return _front(served, place, is_tls=False) + _front(served, place, is_tls=True)


def _front(served: Sequence[Served], place: Place, *, is_tls: bool) -> str:
    scheme = "https" if is_tls else "http"
    tls = _TLS.format(folder=place.folder, certificates=CERTIFICATES, list=LIST)
    away = "" if place.https_port == HTTPS_PORT else f":{place.https_port}"
    challenge = _CHALLENGE.format(challenges=f"{place.folder}/{CHALLENGES_MAP}")
    return _FRONT.format(
        scheme=scheme,
        binds=bind_lines(place, place.https_port, tls)
        if is_tls
        else bind_lines(place, place.http_port),
        client=client_lines(place, scheme),
        challenge="" if is_tls else challenge,
        routes=f"{place.folder}/{ROUTES_MAP}",
        log=_log_lines(served),
        unknown=_unknown(is_tls=is_tls),
        scheme_rules=_HSTS if is_tls else _REDIRECT.format(port=away),
        closed=closed_lines(place, "var(txn.service)", "var(txn.service),field(1,.)"),
        headers="".join(
            f"    use_backend %[var(txn.backend)] if {{ var(txn.header) -m str {name} }} "
            f"{{ req.hdr({name}) -m found }}\n"
            for name in headers(served)
        ),
        once=ONCE,
    )


def _log_lines(served: Sequence[Served]) -> str:
    if not any(each.routes and each.traffic.access_log for each in served):
        return ""
    return log_lines("var(txn.service)", "!{ var(txn.to),field(6,|) -m str log }")


def _unknown(*, is_tls: bool) -> str:
    """Return the lines that answer for a host and path that no route has.

    A request over a connection that was opened for another host may find its way over one of its
    own: it is told so, with 421.
    """
    unrouted = "!{ var(txn.to) -m found }"
    lost = f"{unrouted} || {{ var(txn.tls) -m str off }}" if is_tls else unrouted
    lines = _NO_ROUTE.format(status=404, said="no route leads here", condition=lost)
    if not is_tls:
        return lines
    strange = (
        "    http-request set-var(txn.sni) ssl_fc_sni,lower\n"
        "    http-request set-var(txn.strange) bool(true) if "
        "!{ var(txn.host),strcmp(txn.sni) eq 0 }\n"
    )
    status = _NO_ROUTE.format(
        status=421,
        said="no route leads here, and the connection was opened for another host",
        condition=f"{unrouted} {_MISDIRECTED}",
    )
    return strange + status + lines


HTTPS_PORT: Final = 443


def updates(path: str, now: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the commands that make a map in HAProxy what it should be.

    Args:
        path: of the map's file, its name at run time.
        now: what HAProxy has.
        wanted: what it should have; neither keys nor values hold blanks.
    """
    said = [
        f"{'set' if key in now else 'add'} map {path} {key} {wanted[key]}"
        for key in sorted(wanted)
        if now.get(key) != wanted[key]
    ]
    return said + [f"del map {path} {key}" for key in sorted(now.keys() - wanted.keys())]


def shown(answer: str) -> dict[str, str]:
    """Return what `show map` lists: a reference, the key and the value on each line."""
    rows = (line.split() for line in answer.splitlines())
    return {row[1]: row[2] for row in rows if len(row) == _COLUMNS and row[0].startswith("0x")}


_COLUMNS: Final = 3


def text(entries_: Mapping[str, str]) -> str:
    """Return a map's file."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries_.items()))
