"""What differs between IPv4 and IPv6 where a node balances: how rules and the kernel call things.

Pure. Routes say IPv4 addresses; with `pool6` a container or service has an IPv6 one that ends with
it, so nothing else needs to be told.
"""

import ipaddress
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from node_agent.network.addresses import six_in, six_net_of, six_of
from shared.subnets import Pools

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The kernel's numbers, linux/socket.h.
_IPV4, _IPV6 = 2, 10
# No packet for another machine may have one of them.
_LOCAL4: Final = ("127.0.0.0/8",)
_LOCAL6: Final = ("::1", "fe80::/10")


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two.

    Attributes:
        keyword: nft's, for the table and for a packet's addresses.
        kind: nft's type of an address.
        number: the kernel's.
        where: what a problem says after a port, if it is not the first family.
        aside: networks at which there are no published ports: addresses of one link or of this
            machine alone, and the containers' side of nodes.
        pool: the network of all containers, of IPv4.
        pool6: what IPv6 addresses begin with; empty: this is IPv4.
        inner: this node's address to containers of other nodes; empty: the one that the kernel
            takes for the link that leads there.
    """

    keyword: str
    kind: str
    number: int
    where: str = ""
    aside: tuple[str, ...]
    pool: str
    pool6: str = ""
    inner: str = ""

    def of_container(self, address: str) -> str:
        """Return the one of this family that goes with a container's IPv4 address; empty: none."""
        if not self.pool6:
            return address
        return six_in(self.pool6, self.pool, address)

    def of_service(self, vip: str) -> str:
        """Return the one of this family that goes with a virtual IPv4 address."""
        return six_of(self.pool6, vip) if self.pool6 else vip

    def target(self, address: str, port: int) -> str:
        """Return how a rule says where to rewrite to."""
        return f"[{address}]:{port}" if self.pool6 else f"{address}:{port}"

    def is_aside(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Say whether there is no published port at `address`, which is of this family."""
        return any(address in network for network in _networks(self.aside))


def families(pools: Pools, *, has_six: bool, inner: str = "") -> Iterator[Family]:
    """Yield those in which a node balances.

    Args:
        pools: what the cluster's addresses are cut from.
        has_six: the kernel has IPv6.
        inner: see Family; of IPv4.
    """
    yield Family(
        keyword="ip",
        kind="ipv4_addr",
        number=_IPV4,
        aside=(*_LOCAL4, pools.pool),
        pool=pools.pool,
        inner=inner,
    )
    if pools.pool6 and has_six:
        yield Family(
            keyword="ip6",
            kind="ipv6_addr",
            number=_IPV6,
            where=" over IPv6",
            aside=(*_LOCAL6, six_net_of(pools.pool6, pools.pool)),
            pool=pools.pool,
            pool6=pools.pool6,
            inner=six_of(pools.pool6, inner) if inner else "",
        )


@lru_cache
def _networks(texts: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)
