"""haproxy.cfg, rendered from what is served and from the slots as they are now.

Pure. HAProxy's saved state does not bring runtime addresses back after a reload (measured with
2.6.12), so every slot is written with the address that it has at this moment.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from node_agent.gateway.slots import Slot, SlotState, Table
from shared.model import Protocol, PublishedPort, ServiceName, StackName

# Backends of requests that must not be sent twice end with this.
ONCE: Final = ":once"
# Listeners end with this: statistics are asked for by name, and a backend's must be its alone.
FRONT: Final = ":in"
# One address and port that nothing answers, see slots.NOWHERE.
_NOWHERE_PORT: Final = 1
# HAProxy needs two descriptors per connection and some of its own.
_CONNECTIONS_MAX: Final = 8000
_DESCRIPTORS_SPARE: Final = 500


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """One published port of one service, and the service's slots."""

    stack: StackName
    service: ServiceName
    port: PublishedPort
    table: Table

    @property
    def service_id(self) -> str:
        """Return "<stack>.<service>". Stacks and services have no dots in their names."""
        return f"{self.stack}.{self.service}"

    @property
    def backend(self) -> str:
        """Return the backend's name; it ends with the published port."""
        return f"{self.service_id}.{self.port.published}"

    @property
    def backends(self) -> tuple[str, ...]:
        """Return every backend that leads to the service's replicas."""
        if self.port.protocol is Protocol.HTTP:
            return (self.backend, self.backend + ONCE)
        return (self.backend,)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where HAProxy's sockets are, and how many files it may open."""

    admin_socket: str
    metrics_socket: str
    descriptors: int


_HEAD: Final = """\
global
    stats socket {admin} mode 600 level admin expose-fd listeners
    stats timeout 2m
    maxconn {connections}
    # Websockets of a worker that a reload has replaced end after this.
    hard-stop-after 10m

defaults
    timeout client 60s
    # The longest legitimate answer; a dead replica is noticed by other means.
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout queue 10s
    timeout tunnel 1h
    # The pace of retries: a request is held for {retries} times this.
    timeout connect {pace_ms}ms
    retries {retries}
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
    bind 0.0.0.0:{port}
    option forwardfor
    # After a reload an idle connection gets one more answer before it is closed: a client that
    # sends a POST just as the worker leaves would lose it.
    option idle-close-on-response
    acl repeatable method GET HEAD OPTIONS PUT DELETE
    acl repeatable req.hdr(idempotency-key) -m found
    use_backend {name} if repeatable
    default_backend {name}{once}
"""

_HTTP_BACK: Final = """
backend {name}
    mode http
    balance leastconn
    http-reuse safe
    retry-on conn-failure empty-response junk-response
{slots}
backend {name}{once}
    mode http
    balance leastconn
    # Never on a connection that may be dead already, never sent twice.
    option http-server-close
    http-reuse never
    retry-on conn-failure
    http-request disable-l7-retry
{slots}"""

_TCP: Final = """
frontend {name}{front}
    mode tcp
    bind 0.0.0.0:{port}
    default_backend {name}

backend {name}
    mode tcp
    balance leastconn
{slots}"""

PACE_MS: Final = 250
# 40 x 250 ms: held for 10 s, longer than any failover, shorter than people's patience.
RETRIES: Final = 40


def render(served: Iterable[Served], place: Place) -> str:
    """Return the configuration that serves `served`, in their order."""
    connections = min(_CONNECTIONS_MAX, max((place.descriptors - _DESCRIPTORS_SPARE) // 2, 1))
    parts = [
        _HEAD.format(
            admin=place.admin_socket,
            metrics=place.metrics_socket,
            connections=connections,
            pace_ms=PACE_MS,
            retries=RETRIES,
        )
    ]
    for each in served:
        values = {
            "name": each.backend,
            "port": each.port.published,
            "once": ONCE,
            "front": FRONT,
            "slots": "".join(_slot(slot, each.port) for slot in each.table.slots),
        }
        is_http = each.port.protocol is Protocol.HTTP
        parts.append((_HTTP_FRONT + _HTTP_BACK if is_http else _TCP).format(**values))
    return "".join(parts)


def server_name(slot: Slot) -> str:
    """Return a slot's name inside its backends."""
    return f"s{slot.number}"


def port_of(slot: Slot, port: PublishedPort) -> int:
    """Return where the slot's replica listens for a published port."""
    if not slot.allocation:
        return _NOWHERE_PORT
    return slot.targets.get(port.published, port.target)


def _slot(slot: Slot, port: PublishedPort) -> str:
    # tcp-ut has no effect from default-server (measured with 2.6.12): it stands on every line.
    state = "" if slot.state is SlotState.READY else " disabled"
    where = f"{slot.address}:{port_of(slot, port)}"
    return f"    server {server_name(slot)} {where} tcp-ut 1s{state}\n"
