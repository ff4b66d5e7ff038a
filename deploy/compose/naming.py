"""What a container calls itself and others: the keys that fill `Naming`, and `networks`.

Pure. Containers of all services reach each other by address on every node. Names of services and
the separation of networks are not there yet: what a file says about them is read and checked, and
one warning says so.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Final

import msgspec

from deploy.compose.context import Context
from deploy.compose.fields import (
    Cursor,
    Field,
    Standing,
    Table,
    checked,
    each,
    items,
    one_or_more,
    pairs,
    record,
    refused,
    text,
    texts,
    truth,
    value_text,
)
from deploy.compose.tree import Mapping, Sequence, quoted

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*")


class Nothing(msgspec.Struct, frozen=True):
    """What is kept of keys that are checked only."""


_NOTHING: Final = Nothing()
NETWORKS_WARNING: Final = (
    "networks do nothing yet: every container reaches every other one by its address, on every "
    "node; names, aliases, fixed addresses and separation come later"
)


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


def _subnet(at: Cursor) -> None:
    try:
        ipaddress.ip_network(text(at), strict=False)
    except ValueError as error:
        raise at.expected("a subnet such as 172.20.0.0/24") from error


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


def _mode(at: Cursor) -> None:
    mode = text(at)
    if mode in {"bridge", "default", ""}:
        return
    if mode == "none":
        why = "every container of hafen has an address; leave it out"
    elif mode == "host":
        why = "a container has its own network on every node; publish its ports instead"
    else:
        why = "containers of other services may be on other nodes; leave it out"
    raise at.refuse(f"{quoted(mode)}: {why}")


def used(at: Cursor, context: Context) -> bool:
    """Check a service's networks; say whether there are any."""
    if at.is_null():
        return False
    if isinstance(at.node, Sequence):
        named = each(at.items(), lambda child: (child, text(child)))
    else:
        named = tuple((child, child.key) for child in at.entries("a list or a mapping"))
        for child, _ in named:
            if not child.is_null():
                record(child, _NOTHING, ATTACHMENT)
    for child, name in named:
        if name not in context.networks and name != "default":
            child.refuse(f"there is no network {quoted(name)} in `networks` at the top of the file")
    return bool(named)


def top(at: Cursor) -> frozenset[str]:
    """Check the networks at the top of a file; return their keys."""
    if at.is_null():
        return frozenset()
    children = at.entries()
    for child in children:
        if not child.is_null():
            each([child], lambda one: record(one, _NOTHING, NETWORK))
    return frozenset(child.key for child in children)


def _ipam(at: Cursor) -> None:
    if not at.is_null():
        record(at, _NOTHING, IPAM)


def _ipam_config(at: Cursor) -> None:
    each(items(at), lambda one: record(one, _NOTHING, IPAM_CONFIG))


def _external(at: Cursor) -> None:
    if isinstance(at.node, Mapping):
        record(at, _NOTHING, NETWORK_EXTERNAL)
    else:
        truth(at)


def _idle(parse: Callable[[Cursor], object]) -> Field:
    """Return the row of a key that is read, and does nothing yet: NETWORKS_WARNING says so."""
    return checked(parse, Standing.WARNS)


def _values(at: Cursor) -> None:
    pairs(at, lambda _: "")


_MAC: Final = "hafen chooses the addresses of containers; leave it out"
ATTACHMENT: Final[Table] = {
    "aliases": _idle(texts),
    "interface_name": _idle(text),
    "ipv4_address": _idle(_address),
    "ipv6_address": _idle(_address),
    "link_local_ips": _idle(lambda at: each(items(at), _address)),
    "mac_address": refused(_MAC),
    "driver_opts": _idle(_values),
    "priority": _idle(value_text),
    "gw_priority": _idle(value_text),
}
IPAM_CONFIG: Final[Table] = {
    "subnet": _idle(_subnet),
    "ip_range": _idle(_subnet),
    "gateway": _idle(_address),
    "aux_addresses": _idle(_values),
}
IPAM: Final[Table] = {
    "driver": _idle(text),
    "config": _idle(_ipam_config),
    "options": _idle(_values),
}
NETWORK_EXTERNAL: Final[Table] = {"name": checked(text)}
NETWORK: Final[Table] = {
    "name": _idle(text),
    "driver": _idle(text),
    "driver_opts": _idle(_values),
    "ipam": _idle(_ipam),
    "external": _idle(_external),
    "internal": _idle(truth),
    "enable_ipv4": _idle(truth),
    "enable_ipv6": _idle(truth),
    "attachable": _idle(truth),
    "labels": _idle(_values),
}
NAMING: Final[Table] = {
    "hostname": Field("naming.hostname", _host),
    "domainname": Field("naming.domainname", _host),
    "extra_hosts": Field("naming.extra_hosts", extra_hosts),
    "dns": Field("naming.dns", _servers),
    "dns_search": Field("naming.dns_search", _words),
    "dns_opt": Field("naming.dns_options", texts),
    "network_mode": checked(_mode),
    "mac_address": refused(_MAC),
}
