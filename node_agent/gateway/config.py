"""haproxy.cfg, rendered from what is served and from the slots as they are now.

Pure. HAProxy's saved state does not bring runtime addresses back after a reload (measured with
2.6.12), so every slot is written with the address that it has at this moment.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

import msgspec

from node_agent.gateway.slots import Slot, SlotState, Table
from shared.model import (
    Affinity,
    HttpRoute,
    Protocol,
    PublishedPort,
    SendProxy,
    ServiceName,
    StackName,
    Traffic,
)

# Backends of requests that must not be sent twice end with this.
ONCE: Final = ":once"
# Listeners end with this: statistics are asked for by name, and a backend's must be its alone.
FRONT: Final = ":in"
PACE_MS: Final = 250
# However short requests are held: one that met a dead replica is tried at some others.
_RETRIES_MIN: Final = 3
# One address and port that nothing answers, see slots.NOWHERE.
_NOWHERE_PORT: Final = 1
# HAProxy needs two descriptors per connection and some of its own.
_CONNECTIONS_MAX: Final = 8000
_DESCRIPTORS_SPARE: Final = 500
# Of a path, in an access log.
_PATH_BYTES_MAX: Final = 512
# What only a gateway may say of a client, and some applications believe.
_SAID_OF_CLIENTS: Final = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
)


class Served(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One port of one service that requests are led to, and the service's slots.

    What follows from it is found once: every pass asks it of each of thousands.

    Attributes:
        port: `published` is 0 where no port of the node is its own: only routes lead to it.
        routes: HTTP routes that lead to it.
    """

    stack: StackName
    service: ServiceName
    port: PublishedPort
    table: Table
    traffic: Traffic = Traffic()
    affinity: Affinity = Affinity.NONE
    routes: tuple[HttpRoute, ...] = ()

    @cached_property
    def service_id(self) -> str:
        """Return "<stack>.<service>". Stacks and services have no dots in their names."""
        return f"{self.stack}.{self.service}"

    @cached_property
    def backend(self) -> str:
        """Return the backend's name; it ends with the published port, or the replicas' own."""
        own = self.port.published or f"to{self.port.target}"
        return f"{self.service_id}.{own}"

    @cached_property
    def draining(self) -> tuple[Slot, ...]:
        """Return the slots that drain."""
        return tuple(slot for slot in self.table.slots if slot.state is SlotState.DRAIN)

    @property
    def backends(self) -> tuple[str, ...]:
        """Return every backend that leads to the service's replicas."""
        if self.port.protocol is Protocol.HTTP:
            return (self.backend, self.backend + ONCE)
        return (self.backend,)

    @property
    def drains_hard(self) -> bool:
        """Say whether a slot that drains must be out of service for HAProxy.

        One that merely drains still takes requests whose cookie names it.
        """
        return self.port.protocol is Protocol.HTTP and self.affinity is Affinity.COOKIE


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where HAProxy's sockets and files are, how many it may open, whom it believes.

    Attributes:
        folder: of maps and certificates.
        trusted_proxies, proxy_protocol_from: as in GatewaySettings.
        has_six: whether this host speaks IPv6.
    """

    admin_socket: str
    metrics_socket: str
    descriptors: int
    folder: str
    http_port: int = 80
    https_port: int = 443
    trusted_proxies: Sequence[str] = ()
    proxy_protocol_from: Sequence[str] = ()
    has_six: bool = True


_HEAD: Final = """\
global
    stats socket {admin} mode 600 level admin expose-fd listeners
    stats timeout 2m
    maxconn {connections}
    # Websockets of a worker that a reload has replaced end after this.
    hard-stop-after 10m
    ssl-default-bind-options ssl-min-ver TLSv1.2
    # Only what a service asks for is ever written: see log_lines.
    log stdout len 4096 format raw local0 info

defaults
    timeout client 60s
    # The longest legitimate answer; a dead replica is noticed by other means.
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout queue 10s
    timeout tunnel 1h
    # The pace of retries: a request is held for some number of times this.
    timeout connect {pace_ms}ms
    option redispatch 1
    # A vanished host is noticed also where a request was acknowledged and its answer is awaited.
    option srvtcpka
    srvtcpka-idle 1s
    srvtcpka-intvl 1s
    srvtcpka-cnt 1

frontend metrics
    mode http
    bind unix@{metrics} mode 600
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""

_HTTP_FRONT: Final = """
frontend {name}{front}
    mode http
{binds}\
{client}\
    # After a reload an idle connection gets one more answer before it is closed: a client that
    # sends a POST just as the worker leaves would lose it.
    option idle-close-on-response
{log}\
{closed}\
    acl repeatable method GET HEAD OPTIONS PUT DELETE
    acl repeatable req.hdr({header}) -m found
    use_backend {name} if repeatable
    default_backend {name}{once}
"""

# HAProxy 2.6 has one counter for both: what is sent again is sent as often as is tried to connect.
_AGAIN: Final = """\
    http-reuse safe
    retry-on conn-failure empty-response junk-response
"""
_NOT_AGAIN: Final = """\
    # Never on a connection that may be dead already, never sent twice.
    option http-server-close
    http-reuse never
    retry-on conn-failure
    http-request disable-l7-retry
"""

_HTTP_BACK: Final = """
backend {name}
    mode http
{ways}\
{again}\
{slots}
backend {name}{once}
    mode http
{ways}\
{not_again}\
{slots}"""

_TCP_FRONT: Final = """
frontend {name}{front}
    mode tcp
{binds}\
{expect}\
    default_backend {name}
"""

_TCP_BACK: Final = """
backend {name}
    mode tcp
{ways}\
{slots}"""


def render(served: Iterable[Served], place: Place, edge: str = "") -> str:
    """Return the configuration that serves `served`, in their order.

    Args:
        served: what is led to replicas.
        place: where it runs.
        edge: the frontends of HTTP routes, see edge.render; empty: there are none.
    """
    connections = min(_CONNECTIONS_MAX, max((place.descriptors - _DESCRIPTORS_SPARE) // 2, 1))
    head = _HEAD.format(
        admin=place.admin_socket,
        metrics=place.metrics_socket,
        connections=connections,
        pace_ms=PACE_MS,
    )
    return "".join((head, *(render_one(each, place) for each in served), edge))


def render_one(each: Served, place: Place) -> str:
    """Return the sections of one port."""
    is_http = each.port.protocol is Protocol.HTTP
    front, back = (_HTTP_FRONT, _HTTP_BACK) if is_http else (_TCP_FRONT, _TCP_BACK)
    values = {
        "name": each.backend,
        "binds": bind_lines(place, each.port.published),
        "once": ONCE,
        "front": FRONT,
        "client": client_lines(place, "http"),
        "expect": expect_lines(place),
        "log": log_lines(f"str({each.service_id})") if each.traffic.access_log else "",
        "closed": closed_lines(place, f"str({each.service_id})", f"str({each.stack})"),
        "header": each.traffic.idempotency_header,
        "ways": _ways(each),
        "again": _AGAIN if each.traffic.resend else _NOT_AGAIN,
        "not_again": _NOT_AGAIN,
        "slots": "".join(_slot(slot, each) for slot in each.table.slots),
    }
    return ((front if each.port.published else "") + back).format(**values)


def bind_lines(place: Place, port: int, more: str = "") -> str:
    """Return the lines that open a port on every address of the host, `more` after each."""
    # One for each: an IPv4 client of a socket for both would be told as an IPv6 address.
    six = f"    bind [::]:{port} v6only{more}\n" if place.has_six else ""
    return f"    bind 0.0.0.0:{port}{more}\n{six}"


def expect_lines(place: Place) -> str:
    """Return the lines that read the client's address from whoever stands before a gateway."""
    if not place.proxy_protocol_from:
        return ""
    networks = " ".join(place.proxy_protocol_from)
    return f"    tcp-request connection expect-proxy layer4 if {{ src {networks} }}\n"


def client_lines(place: Place, scheme: str) -> str:
    """Return the lines that tell replicas who asks, and believe nobody else."""
    trusted = " ".join(place.trusted_proxies)
    lines = [f"acl from_proxy src {trusted}"] if trusted else ["acl from_proxy always_false"]
    lines += [f"http-request del-header {name} unless from_proxy" for name in _SAID_OF_CLIENTS]
    for name, value in (("proto", scheme), ("host", "%[req.hdr(host)]")):
        header = f"x-forwarded-{name}"
        lines.append(
            f"http-request set-header {header} {value} unless {{ req.hdr({header}) -m found }}"
        )
    lines.append("option forwardfor")
    return expect_lines(place) + "".join(f"    {line}\n" for line in lines)


def log_lines(service: str, unless: str = "") -> str:
    """Return the lines that write one line of JSON for each request, and give it a name.

    Args:
        service: a sample, such as a variable.
        unless: requests that nothing is written of.
    """
    quoted = {
        "request": "unique-id",
        "service": service,
        "method": "method",
        "host": "capture.req.hdr(0)",
        # Not what follows a question mark: tokens and passwords are sent there.
        "path": "capture.req.hdr(1)",
    }
    parts = ['"at":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]"', '"at_ms":%[date(0,ms)]']
    parts += ['"client":"%ci"']
    parts += [f'"{name}":"%[{sample},json(utf8s)]"' for name, sample in quoted.items()]
    parts += ['"backend":"%b"', '"replica":"%s"', '"address":"%si"', '"status":%ST']
    parts += ['"bytes":%B', '"wait_ms":%Tw', '"connect_ms":%Tc', '"answer_ms":%Tr', '"all_ms":%Ta']
    parts += ['"end":"%ts"', '"retries":"%rc"']
    lines = [
        "log global",
        "unique-id-format %[uuid()]",
        "unique-id-header x-request-id",
        "http-request capture req.hdr(host) len 128",
        f"http-request capture path len {_PATH_BYTES_MAX}",
        f"log-format '{{{','.join(parts)}}}'",
    ]
    if unless:
        lines.append(f"http-request set-log-level silent if {unless}")
    return "".join(f"    {line}\n" for line in lines)


def closed_lines(place: Place, *names: str) -> str:
    """Return the line that answers for what is closed; `names` are samples looked up for that."""
    page, closed = f"{place.folder}/{CLOSED_PAGE}", f"{place.folder}/{CLOSED_MAP}"
    wanted = " || ".join(f"{{ {name},map({closed}) -m found }}" for name in names)
    return (
        f'    http-request return status 503 content-type "text/html; charset=utf-8" file {page}'
        f' hdr retry-after "60" hdr cache-control "no-store" if {wanted}\n'
    )


CLOSED_PAGE: Final = "closed.html"
CLOSED_MAP: Final = "closed.map"


def retries(traffic: Traffic) -> int:
    """Return how often a request is tried again before it fails."""
    return max(math.ceil(traffic.hold_s * 1000 / PACE_MS), _RETRIES_MIN)


def _ways(each: Served) -> str:
    traffic, is_http = each.traffic, each.port.protocol is Protocol.HTTP
    lines = ["balance leastconn"]
    if each.affinity is Affinity.ADDRESS:
        # The same replica for a client, and with one replica more or less for most of them.
        lines = ["balance source", "hash-type consistent"]
    if each.drains_hard:
        lines.append("cookie HAFEN_REPLICA insert indirect nocache httponly")
    lines += [f"retries {retries(traffic)}", f"timeout server {round(traffic.timeout_s * 1000)}ms"]
    if is_http and traffic.max_body_bytes:
        too_long = f"{{ req.hdr_val(content-length) gt {traffic.max_body_bytes} }}"
        lines.append(f"http-request deny deny_status 413 if {too_long}")
    return "".join(f"    {line}\n" for line in lines)


def server_name(slot: Slot) -> str:
    """Return a slot's name inside its backends."""
    return f"s{slot.number}"


def port_of(slot: Slot, port: PublishedPort) -> int:
    """Return where the slot's replica listens for a published port, or for a route's."""
    if not slot.allocation:
        return _NOWHERE_PORT
    if port.published:
        return slot.targets.get(port.published, port.target)
    return slot.route_targets.get(port.target, port.target)


def state_of(slot: Slot, each: Served) -> SlotState:
    """Return the state of a slot in the backends of one port."""
    is_out = slot.state is SlotState.DRAIN and each.drains_hard
    return SlotState.MAINT if is_out else slot.state


_SEND: Final = {SendProxy.NO: "", SendProxy.V1: " send-proxy", SendProxy.V2: " send-proxy-v2"}


def _slot(slot: Slot, each: Served) -> str:
    # tcp-ut has no effect from default-server (measured with 2.6.12): it stands on every line.
    state = "" if slot.state is SlotState.READY else " disabled"
    where = f"{slot.address}:{port_of(slot, each.port)}"
    cookie = f" cookie {server_name(slot)}" if each.drains_hard else ""
    more = f"{_SEND[each.traffic.send_proxy]}{cookie}{state}"
    return f"    server {server_name(slot)} {where} tcp-ut 1s{more}\n"
