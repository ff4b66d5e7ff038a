"""What of the kernel's settings decides whether containers' packets get through.

Linux. It only looks: nothing here changes anything.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pyroute2 import IPRoute, NetlinkError

from node_agent.network.offload import leaves_checksums
from node_agent.network.plan import VXLAN
from node_agent.process import run
from shared.api import FilterFact, KernelFacts, RouteFact

# Tables of hafen's own begin so.
OURS: Final = "hafen"
_HOOKS: Final = frozenset({"forward", "input", "output"})
_FAMILIES: Final = frozenset({"ip", "inet"})
_DEADLINE_S: Final = 2.0
# A rule set that is larger is looked at by its chains' policies alone.
_RULES_BYTES_MAX: Final = 4 * 1024 * 1024
_NET: Final = Path("/proc/sys/net")
_LEGACY: Final = Path("/proc/net/ip_tables_names")


async def kernel_facts(address: str, subnets: Iterable[str]) -> KernelFacts:
    """Return what the kernel of this process's namespace is set to.

    Args:
        address: the node's own, whose link is the uplink.
        subnets: whose routes to tell.
    """
    problems: list[str] = []
    filters: tuple[FilterFact, ...] = ()
    try:
        filters = (*await _nft_filters(), *await _legacy_filters())
    except TimeoutError:
        problems.append(f"its firewall cannot be read: nft took more than {_DEADLINE_S:g} s")
    except (OSError, ValueError) as error:
        problems.append(f"its firewall cannot be read: {error}")
    routes, uplink_mtu = await asyncio.to_thread(_links_and_routes, address, frozenset(subnets))
    return KernelFacts(
        is_forwarding=_number("ipv4/ip_forward", 1) == 1,
        routes=routes,
        filters=filters,
        uplink_mtu=uplink_mtu,
        leaves_checksums=_leaves_checksums(),
        connections=_number("netfilter/nf_conntrack_count", 0),
        connections_max=_number("netfilter/nf_conntrack_max", 0),
        problems=tuple(problems),
    )


def _number(name: str, unknown: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((_NET / name).read_text())
    return unknown


def _leaves_checksums() -> bool:
    with contextlib.suppress(OSError):
        return leaves_checksums(VXLAN)
    return False  # there is no such link


def _links_and_routes(address: str, subnets: frozenset[str]) -> tuple[tuple[RouteFact, ...], int]:
    try:
        with IPRoute() as ip:
            links = list(ip.get_links())
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in links}
            mtus = {link["index"]: link.get_attr("IFLA_MTU") for link in links}
            found = [
                RouteFact(
                    subnet=there,
                    via=route.get_attr("RTA_GATEWAY") or "",
                    device=names.get(route.get_attr("RTA_OIF"), ""),
                )
                for route in ip.get_routes(family=2)
                if (there := f"{route.get_attr('RTA_DST')}/{route['dst_len']}") in subnets
                and route.get_attr("RTA_OIF") is not None
            ]
            uplinks = [one["index"] for one in ip.get_addr(address=address)]
    except (NetlinkError, OSError):
        return (), 0
    return tuple(found), mtus.get(uplinks[0], 0) if uplinks else 0


async def _output(*argv: str) -> str:
    return (await run(*argv, deadline_s=_DEADLINE_S)).output


async def _nft_filters() -> tuple[FilterFact, ...]:
    told = await _output("nft", "-j", "list", "ruleset")
    if len(told) > _RULES_BYTES_MAX:
        told = await _output("nft", "-j", "list", "chains")
    return tuple(nft_filters(json.loads(told)["nftables"])) if told else ()


def nft_filters(entries: Iterable[Mapping[str, Any]]) -> Iterator[FilterFact]:
    """Yield the chains of others that may drop, of what `nft -j list ruleset` says."""
    entries = list(entries)
    dropping = {
        (rule["family"], rule["table"], rule["chain"])
        for entry in entries
        if (rule := entry.get("rule")) is not None
        and any("drop" in step or "reject" in step for step in rule.get("expr", ()))
    }
    for entry in entries:
        chain = entry.get("chain")
        if chain is None or chain.get("hook") not in _HOOKS or chain["table"].startswith(OURS):
            continue
        key = (chain["family"], chain["table"], chain["name"])
        is_policy = chain.get("policy") == "drop"
        if chain["family"] in _FAMILIES and (is_policy or key in dropping):
            where = f"chain {chain['name']} in table {chain['family']} {chain['table']}"
            yield FilterFact(hook=chain["hook"], where=where, is_policy=is_policy)


async def _legacy_filters() -> tuple[FilterFact, ...]:
    """Return what the older iptables has; it is asked only where the kernel has a table of it."""
    try:
        if "filter" not in _LEGACY.read_text().split():
            return ()
        told = await _output("iptables-legacy", "-w", "1", "-S")
    except FileNotFoundError:
        return ()
    return tuple(legacy_filters(told))


def legacy_filters(told: str) -> Iterator[FilterFact]:
    """Yield the chains that may drop, of what `iptables-legacy -S` says."""
    lines = [line.split() for line in told.splitlines()]
    for hook in sorted(_HOOKS):
        name = hook.upper()
        is_policy = ["-P", name, "DROP"] in lines
        has_rule = any(
            line[:2] == ["-A", name] and {"DROP", "REJECT"} & set(line) for line in lines
        )
        if is_policy or has_rule:
            where = f"chain {name} of iptables-legacy"
            yield FilterFact(hook=hook, where=where, is_policy=is_policy)
