"""What a person asked for of networks and of the way that traffic takes.

Pure.
"""

import enum

from shared.model.base import Record


class Network(Record, frozen=True, kw_only=True):
    """A set of containers that reach each other, wherever they run.

    Attributes:
        name: one of the whole cluster, such as shop_default.
        internal: what is only on such networks reaches nothing beyond them.
        subnet: where its fixed addresses are from, such as 172.20.0.0/24; empty: it has none.
    """

    name: str
    internal: bool = False
    subnet: str = ""


class Joined(Record, frozen=True, kw_only=True):
    """A service's part in a network.

    Attributes:
        network: its name in the cluster.
        aliases: further names of the service there.
        address: one that the only replica has beside its own, from the network's subnet; empty:
            none.
    """

    network: str
    aliases: tuple[str, ...] = ()
    address: str = ""


class EndpointMode(enum.StrEnum):
    """What a service's name leads to."""

    VIP = "vip"  # one address, balanced in the kernel of the node that asks
    DNSRR = "dnsrr"  # the addresses of all ready replicas


class Affinity(enum.StrEnum):
    """Whether a client stays with a replica."""

    NONE = "none"
    ADDRESS = "address"  # of the client, as long as the same replicas are ready
    COOKIE = "cookie"  # for HTTP through gateways; everything else is treated as with none
