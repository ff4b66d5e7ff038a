"""What one host is told at start: file -> typed record, once.

The file is TOML, by default /etc/hafen/hafen.toml. An unknown key is an error: a misspelt setting
must not be ignored. Secrets are named by file, never written here.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from shared.errors import SettingsError
from shared.subnets import Pools
from shared.timing import DEFAULT_PROFILE, PROFILES, Timing

DEFAULT_PATH: Final = Path("/etc/hafen/hafen.toml")
API_PORT: Final = 8470
AGENT_PORT: Final = 8471
# UDP: agents ask each other whether they are there.
AGENT_PEER_PORT: Final = 8472
ETCD_CLIENT_PORT: Final = 2379
ETCD_PEER_PORT: Final = 2380
PORT_MAX: Final = 65_535
# Ports that hafen itself listens on; a service cannot publish them.
RESERVED_PORTS: Final = frozenset(
    {API_PORT, AGENT_PORT, AGENT_PEER_PORT, ETCD_CLIENT_PORT, ETCD_PEER_PORT}
)
# How nodes reach each other's containers.
NetworkMode = Literal["routed", "vxlan"]
# Six services; fewer is a slip of the finger.
VIPS_PREFIX_MAX: Final = 29
_PROTOCOLS: Final = ("tcp", "udp")
# What is left is as long as an IPv4 address.
_POOL6_LENGTH: Final = 96


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of the file."""


class TlsSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files in PEM; `key` should have mode 0600."""

    ca: Path
    cert: Path
    key: Path


class EtcdSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach etcd.

    Attributes:
        endpoints: "host:port" of every member; with TLS their names must be in their certificates.
        user: empty: no password, the client certificate alone says who we are.
        password_file: holds the password on its first line.
    """

    endpoints: tuple[str, ...]
    user: str = ""
    password_file: Path | None = None


class EtcdMember(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The etcd member that `hafen serve` runs on this host.

    Attributes:
        initial_cluster: member name -> peer address (an IP), for the first start.
    """

    name: str
    initial_cluster: Mapping[str, str]


class SecretsSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`key` holds the 32 bytes that configs and secrets are sealed with, mode 0600.

    The same on every host of the cluster; without the file, services that have none still run.
    """

    key: Path = Path("/etc/hafen/secrets.key")


class GatewaySettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gateway; `http_port` and `https_port` the same on every host.

    Attributes:
        http_port: serves HTTP routes, and answers to whoever issues certificates.
        https_port: serves HTTP routes with TLS.
        trusted_proxies: networks whose X-Forwarded-* are believed; of all others they are removed.
        proxy_protocol_from: networks from which connections must begin with a PROXY header.
    """

    http_port: int = 80
    https_port: int = 443
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol_from: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[int, int]:
        """Return where routes are served."""
        return self.http_port, self.https_port

    def __post_init__(self) -> None:
        """Check what HAProxy would refuse later."""
        for port in self.ports:
            if not 0 < port <= PORT_MAX or port in RESERVED_PORTS:
                raise ValueError(f"gateway port {port}: 1 to {PORT_MAX}, and none of hafen's own")
        if self.http_port == self.https_port:
            raise ValueError(f"http_port and https_port are both {self.http_port}")
        for network in (*self.trusted_proxies, *self.proxy_protocol_from):
            ipaddress.ip_network(network)


class AcmeSettings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where certificates for routes with `tls: acme` come from; the same on every scheduler.

    Attributes:
        directory: address of the ACME server's directory.
        email: whom it may tell of trouble; empty: nobody.
        agree: its terms of service are agreed to; nothing is asked for without.
        ca: certificates to trust it by, PEM; None: the public ones.
    """

    directory: str
    email: str = ""
    agree: bool = False
    ca: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what could be read on the way."""
        if not self.directory.startswith("https://"):
            raise ValueError(f"acme directory {self.directory!r} does not begin with https://")


class Settings(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One host of the cluster.

    Attributes:
        node: this host's name in the cluster.
        address: where the other hosts reach this one (IPv4).
        subnet: this host's container network, inside `pool`.
        pool: the network that all hosts' subnets are cut from.
        vips: the network that services' virtual addresses are from, outside of `pool`; empty:
            services have none, their names lead to their replicas. The same on every host.
        member: None: this host runs no etcd member.
        scheduler: whether this host runs a scheduler (API and candidate for leadership).
        profile: how fast a silent node is given up, see shared.timing; the same on every host.
        watchdog: the machine's watchdog, such as /dev/watchdog: it resets a machine that runs
            exclusive work and stands still. None: only the kernel's timers end such work.
        secrets: what configs and secrets are sealed with.
        network: how other nodes' containers are reached, the same on every host: "routed" (all
            hosts share a segment) or "vxlan".
        vxlan_port: UDP, the same on every host.
        vxlan_offload: whether network cards may fill in checksums of what is wrapped, as the kernel
            has it; false: the kernel does, for cards that do it wrongly.
        pool6: a /96; a container's IPv6 address is this one and its IPv4 address. Empty: no IPv6.
        host_ports: what containers reach at hosts' addresses beside published ports, such as
            "9100/tcp".
        acme: who issues certificates for routes that ask for it; None: nobody.
        gateway: how this host takes HTTP routes.
        devices: generic devices: kind, such as gpu -> device nodes, each for one container.
        images_days: after so many days an image goes that no stack, update or container asks for;
            0: never.
    """

    node: str
    address: str
    subnet: str
    pool: str
    vips: str = ""
    etcd: EtcdSettings
    tls: TlsSettings | None = None
    member: EtcdMember | None = None
    scheduler: bool = True
    labels: Mapping[str, str] = {}
    profile: str = DEFAULT_PROFILE
    watchdog: Path | None = None
    secrets: SecretsSettings = SecretsSettings()
    network: NetworkMode = "routed"
    vxlan_port: int = 4789
    vxlan_offload: bool = True
    pool6: str = ""
    host_ports: tuple[str, ...] = ()
    gateway: GatewaySettings = GatewaySettings()
    acme: AcmeSettings | None = None
    devices: Mapping[str, tuple[str, ...]] = {}
    images_days: float = 7.0
    data_dir: Path = Path("/var/lib/hafen")
    run_dir: Path = Path("/run/hafen")

    def __post_init__(self) -> None:
        """Check what one field says against another."""
        self._check_addresses()
        self._check_host_ports()
        if not self.images_days >= 0:  # so that NaN is refused, too
            raise ValueError(f"images_days is {self.images_days}: write 0 or more")
        if self.profile not in PROFILES:
            raise ValueError(f"profile {self.profile!r} is none of {', '.join(PROFILES)}")

    def _check_addresses(self) -> None:
        ipaddress.IPv4Address(self.address)
        subnet, pool = ipaddress.IPv4Network(self.subnet), ipaddress.IPv4Network(self.pool)
        if not subnet.subnet_of(pool):
            raise ValueError(f"subnet {subnet} is not inside pool {pool}")
        if self.vips:
            self._check_vips(pool)
        if self.pool6 and ipaddress.IPv6Network(self.pool6).prefixlen != _POOL6_LENGTH:
            raise ValueError(f"pool6 {self.pool6} is no /{_POOL6_LENGTH}, such as fd00:68::/96")

    def _check_host_ports(self) -> None:
        if not 0 < self.vxlan_port <= PORT_MAX:
            raise ValueError(f"vxlan_port {self.vxlan_port} is not from 1 to {PORT_MAX}")
        for entry in self.host_ports:
            number, _, protocol = entry.partition("/")
            is_port = number.isascii() and number.isdigit() and 0 < int(number) <= PORT_MAX
            if not is_port or protocol not in _PROTOCOLS:
                raise ValueError(f"host port {entry!r}: write it as 9100/tcp or 53/udp")

    @property
    def is_vxlan(self) -> bool:
        """Say whether containers' traffic between hosts is wrapped into UDP."""
        return self.network == "vxlan"

    @property
    def open_ports(self) -> Mapping[str, tuple[int, ...]]:
        """Return `host_ports` by protocol."""
        pairs = [entry.partition("/") for entry in self.host_ports]
        return {
            protocol: tuple(int(number) for number, _, given in pairs if given == protocol)
            for protocol in _PROTOCOLS
        }

    def _check_vips(self, pool: ipaddress.IPv4Network) -> None:
        vips = ipaddress.IPv4Network(self.vips)
        if vips.prefixlen > VIPS_PREFIX_MAX:
            raise ValueError(f"vips {vips} has too few addresses: /{VIPS_PREFIX_MAX} at most")
        if vips.overlaps(pool):
            raise ValueError(f"vips {vips} overlaps pool {pool}: write one beside it")
        if ipaddress.IPv4Address(self.address) in vips:
            raise ValueError(f"vips {vips} holds address {self.address} of this host")

    @property
    def common(self) -> Mapping[str, str]:
        """Return what must be the same on every host, besides the profile, as the file has it."""
        return {
            "network": self.network,
            "pool": self.pool,
            "pool6": self.pool6,
            "vips": self.vips,
            "vxlan_port": str(self.vxlan_port),
        }

    @property
    def pools(self) -> Pools:
        """Return what addresses are cut from."""
        return Pools(pool=self.pool, vips=self.vips, pool6=self.pool6)

    @property
    def timing(self) -> Timing:
        """Return the timings of the profile."""
        return PROFILES[self.profile]


def load(path: Path) -> Settings:
    """Return the settings in `path`.

    Raises:
        SettingsError: the file is missing, is not TOML, or a key is wrong; names file and key.
    """
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
        return msgspec.convert(tree, Settings, strict=False, dec_hook=_path)
    except FileNotFoundError as error:
        raise SettingsError(
            f"{path}: no such file; `hafen serve --config FILE` names another"
        ) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _path(kind: type, value: object) -> object:
    """Read the one kind of value that msgspec does not know: a path."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"expected a path in quotes, got {value!r}")
