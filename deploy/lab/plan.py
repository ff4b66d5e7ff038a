"""What a lab consists of: names, addresses, paths, and each host's settings.

Pure. Everything follows from the lab's name and its hosts' numbers, so that what a crashed command
left behind can be found again without its memory.
"""

import enum
import re
import zlib
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

import msgspec

from shared.errors import SpecError
from shared.settings import (
    ETCD_CLIENT_PORT,
    EtcdMember,
    EtcdSettings,
    NetworkMode,
    Settings,
    TlsSettings,
)

# RFC 2544 sets this range aside for benchmarks: no network that a lab runs on has a right to it.
RANGE: Final = IPv4Network("198.18.0.0/15")
SEGMENT: Final = IPv4Network("198.18.0.0/24")
POOL: Final = IPv4Network("198.19.0.0/16")
VIPS: Final = IPv4Network("198.18.128.0/17")
# The namespace on the switch from which load is sent; it runs no part of hafen.
CLIENT: Final = "client"
CLIENT_NUMBER: Final = 250
HOSTS_MAX: Final = 200
# The floating address that demo and benches send their load to.
FLOATING_NUMBER: Final = 240

STATE_ROOT: Final = Path("/var/lib/hafen-lab")
RUN_ROOT: Final = Path("/run/hafen-lab")
NETNS_ROOT: Final = Path("/run/netns")
# Not below RUN_ROOT, which comes and goes with the labs.
LOCK_ROOT: Final = Path("/run")
# The directory of all labs in every cgroup hierarchy.
CGROUP: Final = "hafen-lab"
# Marks our routes among those of the machine; a number that /etc/iproute2/rt_protos leaves free.
ROUTE_PROTOCOL: Final = 219
# A cluster is whole some seconds after its hosts are on; a busy machine may take much longer.
READY_S: Final = 60.0

# A longer name would push the path of an API socket past the kernel's 108 bytes.
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,19}")
_METRIC_BASE: Final = 0x68000000


class Way(enum.StrEnum):
    """A direction of frames, as a host sees it."""

    IN = "in"
    OUT = "out"


class Host(msgspec.Struct, frozen=True):
    """A virtual host. `number` makes its name, address and switch port."""

    number: int
    labels: Mapping[str, str] = {}
    network: NetworkMode = "routed"

    @property
    def name(self) -> str:
        """Return the host's name, which is its node's."""
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        """Return the host's address on the switch."""
        return address_of(self.number)

    @property
    def subnet(self) -> str:
        """Return the network of the host's containers."""
        return str(IPv4Network((POOL.network_address + self.number * 256, 24)))

    @property
    def port(self) -> str:
        """Return the name of the host's port on the switch."""
        return f"p{self.number}"


def address_of(number: int) -> str:
    """Return the address on the switch of host (or client) `number`."""
    return str(SEGMENT.network_address + number)


def floating_address() -> str:
    """Return the address for load that survives any host."""
    return address_of(FLOATING_NUMBER)


def mac_of(number: int) -> str:
    """Return a locally administered MAC for host (or client) `number`.

    It stays the same over a boot: neighbours that know the address would ask a new one in vain.
    """
    return f"02:48:46:00:00:{number:02x}"


def check_name(name: str) -> str:
    """Return `name`.

    Raises:
        SpecError: it cannot name a lab.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} cannot name a lab: at most 20 of a-z, 0-9 and -, the first one a letter"
        )
    return name


def hosts_of(
    count: int, labels: Mapping[str, Mapping[str, str]], network: NetworkMode = "routed"
) -> tuple[Host, ...]:
    """Return `count` hosts.

    Args:
        count: how many.
        labels: by host name.
        network: the cluster's, which is that of every host.

    Raises:
        SpecError: too many or too few, or a label is for a host that will not exist.
    """
    if not 1 <= count <= HOSTS_MAX:
        raise SpecError(f"a lab has 1 to {HOSTS_MAX} hosts, not {count}")
    hosts = tuple(
        Host(number, labels.get(f"node-{number}", {}), network) for number in range(1, count + 1)
    )
    strangers = sorted(labels.keys() - {host.name for host in hosts})
    if strangers:
        raise SpecError(
            f"a label is for {strangers[0]}, but the hosts are {hosts[0].name} to {hosts[-1].name}"
        )
    return hosts


def members_of(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    """Return the hosts that run an etcd member.

    Three survive the loss of one. Five would survive two, which is worth the fsyncs only where at
    least that many other hosts remain.
    """
    return hosts[:5] if len(hosts) >= 7 else hosts[:3]  # noqa: PLR2004 - said above


class Paths(msgspec.Struct, frozen=True):
    """Where a lab's files are, as the machine sees them."""

    lab: str

    @property
    def state(self) -> Path:
        """Return the directory of everything that outlives a power loss."""
        return STATE_ROOT / self.lab

    @property
    def record(self) -> Path:
        """Return the lab's own record."""
        return self.state / "lab.json"

    @property
    def pki(self) -> Path:
        """Return the directory of the authority and the operator's certificate."""
        return self.state / "pki"

    @property
    def run(self) -> Path:
        """Return the mount point of the tmpfs that holds every host's /run."""
        return RUN_ROOT / self.lab

    @property
    def lock(self) -> Path:
        """Return the file whose lock a command holds while it changes the lab."""
        return LOCK_ROOT / f"hafen-lab.{self.lab}.lock"

    @property
    def switch(self) -> str:
        """Return the name of the switch's network namespace."""
        return f"hafen-{self.lab}-switch"

    @property
    def client(self) -> str:
        """Return the name of the client's network namespace."""
        return f"hafen-{self.lab}-client"

    @property
    def metric(self) -> int:
        """Return the metric of this lab's blackhole route, which tells it from the other labs'."""
        return _METRIC_BASE + (zlib.crc32(self.lab.encode()) & 0xFFFFFF)

    def node(self, node: str) -> Path:
        """Return the directory of one host."""
        return self.state / node

    def disk(self, node: str) -> Path:
        """Return what the host has at /var/lib/hafen."""
        return self.node(node) / "disk"

    def image(self, node: str) -> Path:
        """Return the file that holds the host's disk where its size is limited."""
        return self.node(node) / "disk.img"

    def etc(self, node: str) -> Path:
        """Return what the host has at /etc/hafen."""
        return self.node(node) / "etc"

    def console(self, node: str) -> Path:
        """Return the file that collects what the host's processes write to standard error."""
        return self.node(node) / "console.log"

    def node_run(self, node: str) -> Path:
        """Return what the host has at /run."""
        return self.run / node

    def api_socket(self, node: str) -> Path:
        """Return where the host's API can be reached from outside."""
        return self.node_run(node) / "hafen" / "api.sock"


def settings_of(host: Host, hosts: tuple[Host, ...]) -> Settings:
    """Return the settings of one host, as it sees its files."""
    members = members_of(hosts)
    # Its own member first: a read then stays on the host.
    near = sorted(members, key=lambda member: member != host)
    member = EtcdMember(
        name=host.name,
        initial_cluster={member.name: member.address for member in members},
    )
    etc = Path("/etc/hafen")
    return Settings(
        node=host.name,
        address=host.address,
        subnet=host.subnet,
        pool=str(POOL),
        vips=str(VIPS),
        etcd=EtcdSettings(endpoints=tuple(f"{each.address}:{ETCD_CLIENT_PORT}" for each in near)),
        tls=TlsSettings(ca=etc / "ca.crt", cert=etc / "node.crt", key=etc / "node.key"),
        member=member if host in members else None,
        labels=host.labels,
        network=host.network,
    )


def hosts_file(host: Host, hosts: tuple[Host, ...]) -> str:
    """Return /etc/hosts of one host."""
    own = f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {host.name}\n"
    others = "".join(f"{each.address} {each.name}\n" for each in hosts if each != host)
    return own + others


def overlapping(destinations: Mapping[str, str]) -> list[str]:
    """Return which of the machine's routes lead into the lab's range.

    Args:
        destinations: route destination -> device; "default" and halves of everything are no clash.
    """
    found = []
    for text, device in sorted(destinations.items()):
        if text == "default":
            continue
        network = IPv4Network(text, strict=False)
        if network.prefixlen > 1 and network.overlaps(RANGE):
            found.append(f"{network} by {device or 'no device'}")
    return found
