"""`networks`: those at the top of a file, and a service's part in them.

Pure. What only shows once all services are read, such as names that clash, is in joining.py.
"""

import ipaddress
from collections.abc import Callable
from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose.fields import (
    Cursor,
    Field,
    Standing,
    Table,
    checked,
    each,
    items,
    pairs,
    record,
    refused,
    sound_record,
    text,
    texts,
    truth,
    value_text,
    warned,
)
from deploy.compose.names import NETWORK_RULE, is_network, why_no_host, why_no_label
from deploy.compose.tree import Mapping, Sequence, quoted
from shared.limits import ALIASES_MAX, NETWORKS_MAX
from shared.model import Network

JOINED_MAX: Final = 64  # of a service
DEFAULT: Final = "default"

# With fewer bits it is half of the internet; with more there is no address for a container.
_PREFIX_LEAST, _PREFIX_MOST = 8, 30
# "This" network, loopback, link-local, multicast, reserved: the kernel routes none of them.
_NOBODYS: Final = tuple(
    ipaddress.IPv4Network(one)
    for one in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
)
_A_SUBNET: Final = "a subnet such as 172.20.0.0/24"


class Declared(msgspec.Struct, frozen=True):
    """A network that services may name.

    Attributes:
        name: in the cluster.
        made: what the file makes; None: it is made elsewhere.
        at: where it is written; None: nowhere, it is the default one.
    """

    name: str
    made: Network | None = None
    at: Cursor | None = None


class Attached(msgspec.Struct, frozen=True):
    """A service's part in a network, as it is written."""

    at: Cursor
    key: str
    aliases: tuple[str, ...] = ()
    address: str = ""


class _Top(msgspec.Struct, frozen=True):
    name: str = ""
    external: str | None = None
    internal: bool = False
    subnet: str = ""


class _Ipam(msgspec.Struct, frozen=True):
    subnet: str = ""


class _Pool(msgspec.Struct, frozen=True):
    subnet: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None


class _Part(msgspec.Struct, frozen=True):
    aliases: tuple[str, ...] = ()
    address: str = ""


# ---------------------------------------------------------------- at the top


def top(at: Cursor, stack: str) -> dict[str, Declared]:
    """Return every network at the top of a file by its key."""
    if at.is_null():
        return {}
    children = at.entries()
    if len(children) > NETWORKS_MAX:
        raise at.refuse(f"{len(children)} networks; {NETWORKS_MAX} are the most")
    # One that was refused is there all the same: who names it has no further problem.
    found = {child.key: Declared(child.key) for child in children}
    found |= dict(each(children, lambda child: (child.key, _declared(child, stack))))
    _refuse_shared(found)
    return found


def with_default(found: Lookup[str, Declared], stack: str) -> dict[str, Declared]:
    """Return the networks of a file with that of services that name none."""
    name = f"{stack}_{DEFAULT}"
    called_so = next((one for one in found.values() if one.name == name), None)
    return {DEFAULT: called_so or Declared(name, Network(name=name)), **found}


def _declared(at: Cursor, stack: str) -> Declared:
    if why := why_no_label(at.key):
        raise at.refuse(why)
    found = _Top() if at.is_null() else record(at, _Top(), NETWORK)
    if found.external is not None:
        return _elsewhere(at, found)
    name = found.name or f"{stack}_{at.key}"
    if hint := _BUILT_IN.get(name):
        raise at.refuse(f"{quoted(name)} is a network of Docker's own; {hint}")
    if not is_network(name):
        raise at.refuse(f"{quoted(name)} cannot name a network: {NETWORK_RULE}")
    made = Network(name=name, internal=found.internal, subnet=found.subnet)
    return Declared(name, made, at)


def _elsewhere(at: Cursor, found: _Top) -> Declared:
    """Return a network that another stack or a person makes."""
    name = found.name or found.external or at.key
    if hint := _BUILT_IN.get(name):
        raise at.refuse(f"{quoted(name)} is a network of Docker's own; {hint}")
    if not is_network(name):
        raise at.refuse(f"{quoted(name)} cannot name a network: {NETWORK_RULE}")
    for child in at.entries():
        if child.key not in {"external", "name", "labels"}:
            child.refuse("the network is made elsewhere, and this is said there; leave it out")
    return Declared(name, None, at)


def _refuse_shared(found: Lookup[str, Declared]) -> None:
    """Write down every network whose name or subnet another one of the file has."""
    before: list[tuple[Cursor, Declared]] = []
    for one in found.values():
        if one.at is None:
            continue
        for place, other in before:
            where = f"{place.mark.file}:{place.mark.line}"
            if one.name == other.name:
                one.at.refuse(f"{quoted(one.name)} is the name of a network in {where} already")
            elif _overlap(one.made, other.made):
                assert one.made is not None, "it has a subnet"
                assert other.made is not None, "it has a subnet"
                one.at.below("ipam", "config").refuse(
                    f"{one.made.subnet} overlaps with {other.made.subnet}, which is in {where}"
                )
        before.append((one.at, one))


def _overlap(one: Network | None, other: Network | None) -> bool:
    if one is None or other is None or not one.subnet or not other.subnet:
        return False
    return ipaddress.IPv4Network(one.subnet).overlaps(ipaddress.IPv4Network(other.subnet))


def _external(at: Cursor) -> str | None:
    """Return the name of what is made elsewhere, empty for its key; None: it is made here."""
    if isinstance(at.node, Mapping):  # the old form
        return record(at, _Top(), NETWORK_EXTERNAL).name
    return "" if truth(at) else None


def _driver(at: Cursor) -> None:
    driver = "" if at.is_null() else text(at)
    if driver in {"bridge", "overlay", DEFAULT, ""}:
        return
    if driver in {"macvlan", "ipvlan"}:
        why = (
            "it would put containers onto a link of one host; leave the driver out and publish "
            "ports, or write network_mode: host in the service"
        )
    elif driver in {"host", "none", "null"}:
        mode = "host" if driver == "host" else "none"
        why = f"write network_mode: {mode} in the service instead of a network"
    else:
        why = "hafen makes networks itself and has no plugins; leave the driver out"
    raise at.refuse(f"{quoted(driver)}: {why}")


def _driver_options(at: Cursor) -> None:
    """Refuse the options that keep traffic from somebody; nothing is lost without the others."""
    options = pairs(at, lambda _: "")
    if options.get("encrypted", "false").lower() not in {"false", "0"}:
        raise at.refuse(
            "hafen does not encrypt what containers send between nodes; leave encrypted out if the "
            "nodes' segment may read it"
        )
    if options.get("com.docker.network.bridge.enable_icc", "true").lower() in {"false", "0"}:
        raise at.refuse(
            "containers of one network reach each other; give every service a network of its own"
        )
    if options:
        at.warn("hafen hands no options to a driver: its networks have none")


def _ipam(at: Cursor) -> str:
    return "" if at.is_null() else sound_record(at, _Ipam(), IPAM).subnet


def _ipam_driver(at: Cursor) -> None:
    if not at.is_null() and text(at) not in {DEFAULT, ""}:
        raise at.refuse("hafen chooses addresses itself and has no plugins; leave the driver out")


def _ipam_config(at: Cursor) -> str:
    """Return the one IPv4 subnet; empty: there is none."""
    found = each(items(at), lambda child: (child, sound_record(child, _Pool(), IPAM_CONFIG).subnet))
    subnet, line = "", 0
    for child, one in found:
        if isinstance(one, ipaddress.IPv6Network):
            child.below("subnet").warn(
                "containers have IPv6 addresses of their nodes, if any; none is of this subnet"
            )
        elif one is not None and subnet:
            raise child.below("subnet").refuse(
                f"a network has one IPv4 subnet, and line {line} has {subnet} already"
            )
        elif one is not None:
            subnet, line = str(one), child.mark.line
    return subnet


def _network(at: Cursor) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text(at), strict=False)
    except ValueError as error:
        raise at.expected(_A_SUBNET) from error


def _subnet(at: Cursor) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    found = _network(at)
    if isinstance(found, ipaddress.IPv6Network):
        return found
    if any(found.overlaps(one) for one in _NOBODYS):
        raise at.refuse(f"{found} is no subnet for containers; one is 172.20.0.0/24")
    if not _PREFIX_LEAST <= found.prefixlen <= _PREFIX_MOST:
        raise at.refuse(f"{found}: from /{_PREFIX_LEAST} to /{_PREFIX_MOST} are possible")
    return found


def _ipv4_enabled(at: Cursor) -> None:
    if not truth(at):
        raise at.refuse("every container has an IPv4 address; leave it out")


def _warned(parse: Callable[[Cursor], object], why: str) -> Field:
    """Return the row of a key that is read for its mistakes, and does nothing: `why` says so."""

    def warn(at: Cursor) -> None:
        parse(at)
        at.warn(why)

    return checked(warn, Standing.WARNS)


def _values(at: Cursor) -> None:
    pairs(at, lambda _: "")


# ---------------------------------------------------------------- of a service


def attached(at: Cursor, known: Lookup[str, Declared]) -> tuple[Attached, ...]:
    """Return what a service says of its networks; nothing at all stands for the default one.

    Args:
        at: a list of keys, or a mapping.
        known: the networks of the file, by key.
    """
    if at.is_null():
        return ()
    is_list = isinstance(at.node, Sequence)
    children = at.items() if is_list else at.entries("a list or a mapping")
    if len(children) > JOINED_MAX:
        raise at.refuse(f"{len(children)} networks; {JOINED_MAX} are the most for a service")
    found: dict[str, Attached] = {}
    for one in each(children, _listed if is_list else _mapped):
        if one.key not in known:
            one.at.refuse(
                f"there is no network {quoted(one.key)} in `networks` at the top of the file"
            )
        elif one.key in found:
            one.at.refuse(f"{quoted(one.key)} is in line {found[one.key].at.mark.line} already")
        else:
            found[one.key] = one
    return tuple(found.values())


def _listed(at: Cursor) -> Attached:
    return Attached(at, text(at))


def _mapped(at: Cursor) -> Attached:
    part = _Part() if at.is_null() else sound_record(at, _Part(), ATTACHMENT)
    return Attached(at, at.key, part.aliases, part.address)


def _aliases(at: Cursor) -> tuple[str, ...]:
    found = texts(at)
    if len(found) > ALIASES_MAX:
        raise at.refuse(f"{len(found)} aliases; {ALIASES_MAX} are the most on a network")
    return tuple(dict.fromkeys(each(items(at), host_name)))


def host_name(at: Cursor) -> str:
    """Return a name that others find a service by: names have no capitals, as in all of DNS."""
    name = value_text(at)
    if why := why_no_host(name):
        raise at.refuse(why)
    return name.lower()


def _ipv4(at: Cursor) -> str:
    try:
        return str(ipaddress.IPv4Address(text(at)))
    except ValueError as error:
        raise at.expected("an IPv4 address such as 172.20.0.10") from error


def _address(at: Cursor) -> None:
    try:
        ipaddress.ip_address(text(at))
    except ValueError as error:
        raise at.expected("an IP address") from error


_BUILT_IN: Final = {
    "host": "write network_mode: host in the service",
    "none": "write network_mode: none in the service",
    "bridge": "leave it out: services that name no network are on the stack's own",
    "ingress": "leave it out: published ports need no network",
}
MAC: Final = "hafen chooses the addresses of containers; leave it out"
_ONE_INTERFACE: Final = "a container has one interface for all its networks: there is no order"
_NO_SECOND: Final = "a container has no further addresses; leave it out, or write ipv4_address"
ATTACHMENT: Final[Table] = {
    "aliases": Field("aliases", _aliases),
    "interface_name": _warned(text, "a container has one interface for all its networks: eth0"),
    "ipv4_address": Field("address", _ipv4),
    "ipv6_address": refused("hafen gives no fixed IPv6 addresses; use the service's name"),
    "link_local_ips": refused(_NO_SECOND),
    "mac_address": refused(MAC),
    "driver_opts": _warned(_values, "hafen hands no options to a driver: its networks have none"),
    "priority": _warned(value_text, _ONE_INTERFACE),
    "gw_priority": _warned(value_text, _ONE_INTERFACE),
}
IPAM_CONFIG: Final[Table] = {
    "subnet": Field("subnet", _subnet),
    "ip_range": _warned(
        _network, "containers have addresses of their nodes; only fixed ones are of this subnet"
    ),
    "gateway": _warned(_address, "a container's gateway is its node"),
    "aux_addresses": _warned(
        _values, "hafen gives out no address of this subnet by itself: none has to be kept free"
    ),
}
IPAM: Final[Table] = {
    "driver": checked(_ipam_driver),
    "config": Field("subnet", _ipam_config),
    "options": _warned(_values, "hafen chooses addresses itself"),
}
NETWORK_EXTERNAL: Final[Table] = {"name": Field("name", text)}
NETWORK: Final[Table] = {
    "name": Field("name", text),
    "driver": checked(_driver),
    "driver_opts": checked(_driver_options, Standing.WARNS),
    "ipam": Field("subnet", _ipam),
    "external": Field("external", _external),
    "internal": Field("internal", truth),
    "enable_ipv4": checked(_ipv4_enabled),
    "enable_ipv6": _warned(truth, "whether containers have IPv6 is said for the whole cluster"),
    "attachable": checked(truth),  # other stacks may join every network
    "labels": warned("hafen keeps no labels of networks"),
}
