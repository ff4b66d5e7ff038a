"""What a container calls itself and others: the keys that fill `Naming`, and `network_mode`.

Pure.
"""

import ipaddress
import re
from typing import Final

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    each,
    items,
    one_or_more,
    refused,
    text,
    texts,
)
from deploy.compose.networks import MAC
from deploy.compose.tree import Mapping, quoted

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*")


def _host(at: Cursor) -> str:
    name = text(at)
    if not _HOST.fullmatch(name):
        raise at.expected("a host name")
    return name


def _address(at: Cursor) -> str:
    address = text(at)
    try:
        return str(ipaddress.ip_address(address))
    except ValueError as error:
        raise at.expected("an IP address") from error


def extra_hosts(at: Cursor) -> tuple[str, ...]:
    """Return "name=address" of either form."""
    if isinstance(at.node, Mapping):
        found = [
            (child, child.key, value)
            for child in at.entries()
            for value in each(one_or_more(child), text)
        ]
    else:
        found = [(child, *_split(text(child))) for child in items(at)]
    return tuple(_extra_host(child, name, address) for child, name, address in found)


def _split(line: str) -> tuple[str, str]:
    name, _, address = line.partition("=" if "=" in line else ":")
    return name.strip(), address.strip()


def _extra_host(at: Cursor, name: str, address: str) -> str:
    address = address.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(name):
        raise at.refuse(f"{quoted(name)} is no host name; write name=address")
    if address != "host-gateway":
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError as error:
            raise at.refuse(f"{quoted(address)} is no address; write name=address") from error
    return f"{name}={address}"


def _servers(at: Cursor) -> tuple[str, ...]:
    return each(one_or_more(at), _address)


def _words(at: Cursor) -> tuple[str, ...]:
    return each(one_or_more(at), text)


def network_mode(at: Cursor) -> str:
    """Return host, none, or empty: the service is on networks."""
    mode = text(at)
    if mode in {"bridge", "default", ""}:
        return ""
    if mode in {"host", "none"}:
        return mode
    kind, colon, name = mode.partition(":")
    if colon and kind in {"service", "container"}:
        other = f"service {name}" if kind == "service" else "what it is to reach"
        raise at.refuse(
            f"{quoted(mode)}: containers of a cluster may be on different nodes, so none shares "
            f"another's network; put it and {other} on one of `networks`, and use the name there"
        )
    raise at.refuse(
        f"{quoted(mode)}: write bridge, host or none; for a network of the file, networks: [NAME]"
    )


NAMING: Final[Table] = {
    "hostname": Field("naming.hostname", _host),
    "domainname": Field("naming.domainname", _host),
    "extra_hosts": Field("naming.extra_hosts", extra_hosts),
    "dns": Field("naming.dns", _servers),
    "dns_search": Field("naming.dns_search", _words),
    "dns_opt": Field("naming.dns_options", texts),
    "network_mode": Field("network_mode", network_mode),
    "mac_address": refused(MAC),
}
