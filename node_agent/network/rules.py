"""The node's nftables table, and its changes, written down for `nft -f -`.

Pure. A script is one transaction: there is no moment with half of the rules, nor with none.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from node_agent.gateway.slots import NOWHERE
from node_agent.network.addresses import six_of
from node_agent.network.plan import VXLAN
from node_agent.network.policy import Elements, Frame, Ruleset, six_subnet
from shared.subnets import gateway_of

TABLE: Final = "hafen"
# The links of containers are one group, so that rules know them without their names.
GROUP: Final = 72
# Of one `add element`; nft reads a line into memory whole.
_BATCH: Final = 500
_OLD: Final = "ip"  # the family of an older version's table


def whole(wanted: Ruleset) -> str:
    """Return the script after which the table is `wanted`, whatever it was."""
    lines = [
        f"table {_OLD} {TABLE}",
        f"delete table {_OLD} {TABLE}",
        f"table inet {TABLE}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
    ]
    for name, elements in sorted(wanted.sets.items()):
        lines.append(f"    {_set(name, elements)}")
    for name, (kind, _) in sorted(wanted.maps.items()):
        lines.append(f"    map {name} {{ type {kind} : verdict; }}")
    # The chains that others jump to come first.
    for name, rules in {**_beyond(wanted), **wanted.chains, **_frame(wanted.frame)}.items():
        lines += [f"    chain {name} {{", *(f"        {rule}" for rule in rules), "    }"]
    lines.append("}")
    for name, elements in sorted(wanted.sets.items()):
        lines += _elements("add", name, sorted(elements.items))
    for name, (_, verdicts) in sorted(wanted.maps.items()):
        lines += _elements("add", name, _entries(verdicts))
    return "\n".join(lines) + "\n"


def change(there: Ruleset, wanted: Ruleset) -> str:
    """Return the script that makes `there` into `wanted`; empty if they are the same.

    A change of one member among thousands is one element.
    """
    if there == wanted:
        return ""
    if there.frame != wanted.frame:
        return whole(wanted)
    return "".join(f"{line}\n" for line in _changes(there, wanted))


def changes_chains(there: Ruleset, wanted: Ruleset) -> bool:
    """Say whether chains come or go between the two."""
    return there.frame != wanted.frame or there.chains != wanted.chains


def chains_of(wanted: Ruleset) -> dict[str, int]:
    """Return the name of every chain with its number of rules."""
    counts = {**_beyond(wanted), **wanted.chains, **_frame(wanted.frame)}
    return {
        name: sum(1 for rule in rules if not rule.startswith("type "))
        for name, rules in counts.items()
    }


# ---------------------------------------------------------------- changes


def _changes(there: Ruleset, wanted: Ruleset) -> Iterator[str]:
    """Yield what has to be done, in an order in which nothing is missing when it is needed."""
    for name in sorted(wanted.sets.keys() - there.sets.keys()):
        yield f"add {_set(name, wanted.sets[name], f'inet {TABLE} ')}"
    for name, elements in sorted(wanted.sets.items()):
        yield from _of_set(name, there.sets.get(name, Elements(elements.kind)), elements)
    new = wanted.chains.keys() - there.chains.keys()
    for name in sorted(new):
        yield f"add chain inet {TABLE} {name}"
        yield from (f"add rule inet {TABLE} {name} {rule}" for rule in wanted.chains[name])
    for name, (_, verdicts) in sorted(wanted.maps.items()):
        yield from _of_map(name, there.maps[name][1], verdicts)
    for name in sorted(there.chains.keys() - wanted.chains.keys()):
        yield f"flush chain inet {TABLE} {name}"
        yield f"delete chain inet {TABLE} {name}"
    for name in sorted(there.sets.keys() - wanted.sets.keys()):
        yield f"delete set inet {TABLE} {name}"


def _of_set(name: str, there: Elements, wanted: Elements) -> Iterator[str]:
    if there is not wanted:
        yield from _elements("delete", name, sorted(there.items - wanted.items))
        yield from _elements("add", name, sorted(wanted.items - there.items))


def _of_map(name: str, there: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    if there is not wanted:
        gone = {key for key, chain in there.items() if wanted.get(key) != chain}
        come = {key: chain for key, chain in wanted.items() if there.get(key) != chain}
        yield from _elements("delete", name, sorted(gone))
        yield from _elements("add", name, _entries(come))


def _elements(verb: str, name: str, items: list[str]) -> list[str]:
    return [
        f"{verb} element inet {TABLE} {name} {{ {', '.join(items[first : first + _BATCH])} }}"
        for first in range(0, len(items), _BATCH)
    ]


def _entries(verdicts: Mapping[str, str]) -> list[str]:
    return [f"{address} : goto {chain}" for address, chain in sorted(verdicts.items())]


def _set(name: str, elements: Elements, prefix: str = "") -> str:
    flags = " flags interval;" if elements.is_interval else ""
    return f"set {prefix}{name} {{ type {elements.kind};{flags} }}"


# ---------------------------------------------------------------- chains


def _beyond(wanted: Ruleset) -> dict[str, tuple[str, ...]]:
    """Return the chains that those of combinations go to: what lies beyond their networks."""
    six = wanted.frame.pool6
    return {
        "ports": ("tcp dport @tcp_ports return", "udp dport @udp_ports return", "drop"),
        "beyond": (
            # A published UDP port, which the kernel has led to a replica by now.
            "ct status dnat ct original ip daddr @nodes4 return",
            *(("ct status dnat ct original ip6 daddr @nodes6 return",) if six else ()),
            "ip daddr @nodes4 goto ports",
            "ip daddr @cluster4 drop",
            *(("ip6 daddr @nodes6 goto ports", f"ip6 daddr {six} drop") if six else ()),
        ),
    }


def _frame(frame: Frame) -> dict[str, tuple[str, ...]]:
    """Return all other chains, by name.

    `pace`: a replica that refuses a connection is answered by silence, so that every attempt of
    HAProxy costs its `timeout connect` and a request that is held does not use up its retries at
    once. Only the answer to a SYN is meant: RST and ACK with sequence number 0.
    """
    return {
        "to_container": _to_container(frame),
        "from_container": _from_container(frame),
        "to_node": _to_node(frame),
        "source": _source(frame),
        "pace": (
            "type filter hook input priority -10; policy accept;",
            f"iif lo ip daddr {NOWHERE} tcp dport 1 drop",
            f"ip saddr {frame.pool} tcp flags & (rst|ack) == (rst|ack) @th,32,32 0 drop",
        ),
        "input": (
            "type filter hook input priority filter; policy accept;",
            f"iifgroup {GROUP} goto to_node",
            *(
                (f"udp dport {frame.vxlan_port} ip saddr != @nodes4 drop",)
                if frame.vxlan_port
                else ()
            ),
        ),
        "forward": (
            "type filter hook forward priority filter; policy accept;",
            f"iifgroup {GROUP} ct state established,related accept",
            f"oifgroup {GROUP} ct state established,related accept",
            f"iifgroup {GROUP} jump from_container",
            f"oifgroup {GROUP} goto to_container",
        ),
        "outbound": (
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip saddr @cluster4 ip daddr != @cluster4 masquerade",
            *(
                (f"ip6 saddr {frame.pool6} ip6 daddr != {frame.pool6} masquerade",)
                if frame.pool6
                else ()
            ),
        ),
    }


def _source(frame: Frame) -> tuple[str, ...]:
    """Return what drops packets that come from where their source cannot be.

    Of a container's link: whatever the way back would not lead to that link. Of any other: what
    says to be this node's container, and what was meant for a virtual address, which only this
    node's own containers use.
    """
    six = six_subnet(frame)
    return (
        "type filter hook prerouting priority raw; policy accept;",
        f"iifgroup {GROUP} fib saddr . iif oif missing drop",
        f"iifgroup {GROUP} accept",
        "iif lo accept",
        f"ip saddr {frame.subnet} drop",
        *((f"ip6 saddr {six} drop",) if six else ()),
        "ip daddr @vips4 drop",
        *(("ip6 daddr @vips6 drop",) if six else ()),
        *((f'iifname != "{VXLAN}" ip saddr @cluster4 drop',) if frame.vxlan_port else ()),
        *(
            (f'iifname != "{VXLAN}" ip6 saddr @cluster6 drop',)
            if frame.vxlan_port and frame.pool6
            else ()
        ),
    )


def _from_container(frame: Frame) -> tuple[str, ...]:
    return (
        "ip saddr vmap @outof4",
        *(("ip6 saddr vmap @outof6",) if frame.pool6 else ()),
        "drop",
    )


def _to_container(frame: Frame) -> tuple[str, ...]:
    """Return what judges packets for this node's containers.

    Gateways may, and so may what was sent to a published port, which the kernel has led here.
    """
    return (
        f"iifgroup != {GROUP} ip saddr @nodes4 accept",
        *((f"iifgroup != {GROUP} ip6 saddr @nodes6 accept",) if frame.pool6 else ()),
        f"iifgroup != {GROUP} ct status dnat accept",
        "ct status dnat ct original ip daddr @nodes4 accept",
        *(("ct status dnat ct original ip6 daddr @nodes6 accept",) if frame.pool6 else ()),
        "ip daddr vmap @into4",
        *(("ip6 daddr vmap @into6",) if frame.pool6 else ()),
        "drop",
    )


def _to_node(frame: Frame) -> tuple[str, ...]:
    """Return what judges packets of this node's containers for the node itself."""
    gateway = gateway_of(frame.subnet)
    four, six = f"ip daddr {gateway}", f"ip6 daddr {six_of(frame.pool6, gateway)}"
    of_six = (
        f"{six} udp dport 53 accept",
        f"{six} tcp dport 53 accept",
        f"{six} icmpv6 type echo-request accept",
        "ip6 saddr @open6 tcp dport @tcp_ports accept",
        "ip6 saddr @open6 udp dport @udp_ports accept",
    )
    return (
        "ct state established,related accept",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        f"{four} udp dport 53 accept",
        f"{four} tcp dport 53 accept",
        f"{four} icmp type echo-request accept",
        "ip saddr @open4 tcp dport @tcp_ports accept",
        "ip saddr @open4 udp dport @udp_ports accept",
        *(of_six if frame.pool6 else ()),
        "drop",
    )
