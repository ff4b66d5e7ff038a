"""The `ports` of a service: short and long form, ranges, and what hafen's gateways cannot do.

Pure.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from deploy.compose.errors import Problems
from deploy.compose.fields import Cursor, Field, Table, each, sound_record, text, whole
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
_WITH_ADDRESS: Final = re.compile(r"(?:\[[^\]]*\]|[0-9a-zA-Z.]*[.][0-9a-zA-Z.]*):.*")
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
    protocol: Protocol = Protocol.TCP
    transport: str = "tcp"
    mode: str = "ingress"
    host_ip: str = ""
    name: str = ""


def ports(at: Cursor) -> tuple[Located, ...]:
    """Return every port that a service publishes, ranges spelt out."""
    if at.is_null():
        return ()
    found = [port for ports_ in each(at.items(), _port) for port in ports_]
    if len(found) > PORTS_MAX:
        raise at.refuse(f"publishes {len(found)} ports; {PORTS_MAX} are the most")
    return tuple(found)


def refuse_shared(located: Sequence[Located], problems: Problems) -> None:
    """Write down every port that is published twice, with both places."""
    first: dict[int, Located] = {}
    for one in located:
        other = first.setdefault(one.port.published, one)
        if other is not one:
            where = f"{other.mark.file}:{other.mark.line}"
            problems.add(
                one.mark, one.path, f"port {one.port.published} is published in {where} too"
            )


def _port(at: Cursor) -> tuple[Located, ...]:
    found = (_long(at),) if isinstance(at.node, Mapping) else _short(at)
    for port in found:
        if port.published in RESERVED_PORTS:
            raise at.refuse(f"hafen itself listens on port {port.published}; publish another")
    return tuple(Located(port, at.mark, at.path) for port in found)


def _short(at: Cursor) -> tuple[PublishedPort, ...]:
    node = at.scalar(_EXPECTED)
    if _WITH_ADDRESS.fullmatch(node.text):
        raise at.refuse('hafen publishes on every address of every node; write "8080:80"')
    match = _SHORT.fullmatch(node.text)
    if match is None or node.kind not in {Kind.TEXT, Kind.INT}:
        raise at.expected(_EXPECTED)
    _check_transport(at, match["transport"] or "tcp")
    if match["published"] is None:
        raise _unpublished(at, match["target"])
    published, target = _range(at, match["published"]), _range(at, match["target"])
    if len(published) != len(target):
        raise at.refuse(
            f"{len(published)} published ports cannot lead to {len(target)} in the container"
        )
    pairs = zip(published, target, strict=True)
    return tuple(PublishedPort(published=outer, target=inner) for outer, inner in pairs)


def _range(at: Cursor, digits: str) -> range:
    first, _, last = digits.partition("-")
    ports_ = range(int(first), int(last or first) + 1)
    if not ports_ or ports_[0] < 1 or ports_[-1] > PORT_MAX:
        raise at.refuse(f"expected ports from 1 to {PORT_MAX}, the smaller first, got {digits}")
    if len(ports_) > PORTS_MAX:
        raise at.refuse(f"publishes {len(ports_)} ports; {PORTS_MAX} are the most")
    return ports_


def _check_transport(at: Cursor, transport: str) -> None:
    if transport != "tcp":
        raise at.refuse(f"hafen publishes tcp only so far, not {transport}")


def _unpublished(at: Cursor, target: str) -> Exception:
    return at.refuse(
        f"Compose would publish a port of its own choice; "
        f'say which one to publish, as in "8080:{target}"'
    )


def _long(at: Cursor) -> PublishedPort:
    long = sound_record(at, _Long(), _LONG)
    if not long.target:
        raise at.refuse("target is missing: the port inside the container")
    if not long.published:
        raise _unpublished(at, str(long.target))
    return PublishedPort(published=long.published, target=long.target, protocol=long.protocol)


def _number(at: Cursor) -> int:
    if isinstance(at.node, Scalar) and at.node.kind is Kind.TEXT and "-" in at.node.text:
        raise at.refuse('a range of ports needs the short form, as in "8000-8010:80-90"')
    return whole(at, 1, PORT_MAX)


def _transport(at: Cursor) -> str:
    _check_transport(at, transport := text(at))
    return transport


def _application(at: Cursor) -> Protocol:
    name = text(at)
    if name not in set(Protocol):
        raise at.refuse(f"expected http or tcp, got {shown(at.node)}")
    return Protocol(name)


def _mode(at: Cursor) -> str:
    if text(at) != "ingress":
        raise at.refuse(f"hafen publishes on every node, mode: ingress; got {shown(at.node)}")
    return "ingress"


def _host_ip(at: Cursor) -> str:
    raise at.refuse("hafen publishes on every address of every node; leave this out")


_LONG: Final[Table] = {
    "target": Field("target", _number),
    "published": Field("published", _number),
    "app_protocol": Field("protocol", _application),
    "protocol": Field("transport", _transport),
    "mode": Field("mode", _mode),
    "host_ip": Field("host_ip", _host_ip),
    "name": Field("name", text),  # for people only, in Compose as well
}
