"""The `ports` of a service: short and long form, ranges, and what hafen's gateways cannot do.

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
    checked,
    each,
    one_of,
    sound_record,
    text,
    whole,
)
from deploy.compose.tree import Kind, Mapping, Mark, Path, Scalar, shown
from shared.model import Protocol, PublishedPort
from shared.settings import RESERVED_PORTS

PORT_MAX: Final = 65_535
# Each published port is a listener in every node's gateway.
PORTS_MAX: Final = 128

_SHORT: Final = re.compile(
    r"(?:(?P<published>[0-9]{1,5}(?:-[0-9]{1,5})?):)?(?P<target>[0-9]{1,5}(?:-[0-9]{1,5})?)"
    r"(?:/(?P<transport>[a-z]+))?"
)
_WITH_ADDRESS: Final = re.compile(
    r"(?P<address>\[[^\]]*\]|[0-9a-zA-Z.]*[.][0-9a-zA-Z.]*|::):(?P<rest>.*)"
)
_EVERY_ADDRESS: Final = {"", "0.0.0.0", "::"}
_EXPECTED: Final = 'a port such as "8080:80"'


class Located(msgspec.Struct, frozen=True):
    """A published port and where it was asked for."""

    port: PublishedPort
    mark: Mark
    path: Path


class _Long(msgspec.Struct, frozen=True):
    """The long form, as written; 0 stands for a port that is missing."""

    target: int = 0
    published: int = 0
    application: Protocol | None = None
    is_udp: bool = False
    is_host: bool = False


def ports(at: Cursor) -> tuple[Located, ...]:
    """Return every port that a service publishes, ranges spelt out."""
    if at.is_null():
        return ()
    found = [port for ports_ in each(at.items(), _port) for port in ports_]
    if len(found) > PORTS_MAX:
        raise at.refuse(f"publishes {len(found)} ports; {PORTS_MAX} are the most")
    return tuple(found)


def refuse_shared(located: Sequence[Located], problems: Problems) -> None:
    """Write down every port that is published twice, with both places; udp has its own numbers.

    Two services may have one port of nodes: they are never on the same node.
    """
    seen: dict[tuple[int, bool], list[Located]] = {}
    for one in located:
        is_udp = one.port.protocol is Protocol.UDP
        before = seen.setdefault((one.port.published, is_udp), [])
        other = next((each for each in before if not _is_apart(one, each)), None)
        before.append(one)
        if other is not None:
            where = f"{other.mark.file}:{other.mark.line}"
            shown = f"{one.port.published}/udp" if is_udp else f"{one.port.published}"
            problems.add(one.mark, one.path, f"port {shown} is published in {where} too")


def _is_apart(one: Located, other: Located) -> bool:
    """Say whether two services have a port each on nodes of their own."""
    return one.port.is_host and other.port.is_host and one.path[:2] != other.path[:2]


def _port(at: Cursor) -> tuple[Located, ...]:
    found = _long(at) if isinstance(at.node, Mapping) else _short(at)
    for port in found:
        if port.published in RESERVED_PORTS:
            raise at.refuse(f"hafen itself listens on port {port.published}; publish another")
    return tuple(Located(port, at.mark, at.path) for port in found)


def _short(at: Cursor) -> tuple[PublishedPort, ...]:
    node = at.scalar(_EXPECTED)
    line = node.text
    if match := _WITH_ADDRESS.fullmatch(line):
        _check_address(at, match["address"].strip("[]"))
        line = match["rest"]
    match = _SHORT.fullmatch(line)
    if match is None or node.kind not in {Kind.TEXT, Kind.INT}:
        raise at.expected(_EXPECTED)
    is_udp = _is_udp(at, match["transport"] or "tcp")
    target = _range(at, match["target"])
    if match["published"] is None:
        _warn_unpublished(at, match["target"], is_udp=is_udp)
        return ()
    published = _range(at, match["published"])
    if len(published) != len(target):
        raise at.refuse(
            f"{len(published)} published ports cannot lead to {len(target)} in the container"
        )
    protocol = Protocol.UDP if is_udp else Protocol.TCP
    return tuple(
        PublishedPort(published=outer, target=inner, protocol=protocol)
        for outer, inner in zip(published, target, strict=True)
    )


def _range(at: Cursor, digits: str) -> range:
    first, _, last = digits.partition("-")
    ports_ = range(int(first), int(last or first) + 1)
    if not ports_ or ports_[0] < 1 or ports_[-1] > PORT_MAX:
        raise at.refuse(f"expected ports from 1 to {PORT_MAX}, the smaller first, got {digits}")
    if len(ports_) > PORTS_MAX:
        raise at.refuse(f"publishes {len(ports_)} ports; {PORTS_MAX} are the most")
    return ports_


def _is_udp(at: Cursor, transport: str) -> bool:
    if transport not in {"tcp", "udp"}:
        raise at.refuse(f"hafen publishes tcp and udp, not {transport}")
    return transport == "udp"


def _check_address(at: Cursor, address: str) -> None:
    if address not in _EVERY_ADDRESS:
        raise at.refuse(
            f"hafen publishes on every address of every node, so what is meant for {address} only "
            'would be open to all; write "8080:80" if it may be, or leave the port out: containers '
            "reach each other without"
        )


def _warn_unpublished(at: Cursor, target: str, *, is_udp: bool) -> None:
    at.warn(
        f"it is not published: Compose would choose a port at random, and here every node would "
        f'have to choose the same; to publish it, write "8080:{target}{"/udp" if is_udp else ""}"'
    )


def _long(at: Cursor) -> tuple[PublishedPort, ...]:
    long = sound_record(at, _Long(), LONG_PORT)
    if not long.target:
        raise at.refuse("target is missing: the port inside the container")
    if long.is_udp and long.application is not None:
        raise at.below("app_protocol").refuse(
            f"protocol is udp, so nobody can look for {long.application} in it; leave it out"
        )
    if not long.published:
        _warn_unpublished(at, str(long.target), is_udp=long.is_udp)
        return ()
    otherwise = Protocol.UDP if long.is_udp else Protocol.TCP
    port = PublishedPort(
        published=long.published,
        target=long.target,
        protocol=long.application or otherwise,
        is_host=long.is_host,
    )
    return (port,)


def _number(at: Cursor) -> int:
    if isinstance(at.node, Scalar) and at.node.kind is Kind.TEXT and "-" in at.node.text:
        raise at.refuse('a range of ports needs the short form, as in "8000-8010:80-90"')
    return whole(at, 1, PORT_MAX)


def _transport(at: Cursor) -> bool:
    return _is_udp(at, text(at))


def _application(at: Cursor) -> Protocol:
    name = text(at)
    if name not in {Protocol.HTTP, Protocol.TCP}:
        raise at.refuse(f"expected http or tcp, got {shown(at.node)}")
    return Protocol(name)


def _is_host(at: Cursor) -> bool:
    return one_of(at, "ingress", "host") == "host"


def _host_ip(at: Cursor) -> None:
    _check_address(at, text(at))


LONG_PORT: Final[Table] = {
    "target": Field("target", _number),
    "published": Field("published", _number),
    "app_protocol": Field("application", _application),
    "protocol": Field("is_udp", _transport),
    "mode": Field("is_host", _is_host),
    "host_ip": checked(_host_ip),
    "name": checked(text),  # for people only, in Compose as well
}
