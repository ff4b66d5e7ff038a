"""What `hafen net` asks agents and answers people: probes, what became of them, who reaches whom.

Pure.
"""

import enum
from collections.abc import Mapping

from shared.api.views import Finding
from shared.model import AllocId, NodeName, Protocol, Record

# Of one request to an agent: each is a few packets, or an open socket for a second.
PROBES_MAX = 512


class ProbeKind(enum.StrEnum):
    """How something is asked whether it is there."""

    ICMP = "icmp"  # an echo request, small
    MTU = "mtu"  # as large as the link allows, with don't-fragment
    TCP = "tcp"  # a connection, closed at once
    UDP = "udp"  # a datagram that the far agent hears, or whose port the far kernel refuses
    DNS = "dns"  # a query for `name`


class Probe(Record, frozen=True, kw_only=True):
    """One thing to try.

    Attributes:
        id: of this run; it is in the packets, so that the far side knows what it heard.
        source: from this container's network namespace; empty: from the node's own.
    """

    id: int
    kind: ProbeKind
    address: str
    port: int = 0
    name: str = ""
    source: AllocId = AllocId("")


class ProbeRequest(Record, frozen=True, kw_only=True):
    """What one agent is asked.

    Attributes:
        run: a number of this run, 64 bits; what belongs to another is not heard.
        listen_in: containers in whose namespaces it listens, besides the node's own.
        subnets: those whose routes it should tell.
    """

    run: int
    probes: tuple[Probe, ...]
    listen_in: tuple[AllocId, ...] = ()
    subnets: tuple[str, ...] = ()


class ProbeState(enum.StrEnum):
    """What became of a probe."""

    OK = "ok"
    LOST = "lost"  # no answer, or a router on the way says that there will be none
    REFUSED = "refused"  # the far end says no
    UNABLE = "unable"  # it could not be sent at all, such as from a container that has gone


class ProbeResult(Record, frozen=True, kw_only=True):
    """What became of one probe.

    Attributes:
        mtu: of an MTU probe: the largest packet that came through, in bytes; 0: none did.
        why: what somebody said, one sentence; empty: nobody said anything.
    """

    id: int
    state: ProbeState
    mtu: int = 0
    why: str = ""


class RouteFact(Record, frozen=True, kw_only=True):
    """A route of a node's kernel to other nodes' containers."""

    subnet: str
    via: str = ""
    device: str = ""


class FilterFact(Record, frozen=True, kw_only=True):
    """A chain of somebody else's firewall that may drop what hafen sends.

    Attributes:
        hook: forward, input or output.
        is_policy: it drops what no rule of it lets through; else some rule of it drops.
    """

    hook: str
    where: str
    is_policy: bool = True


class KernelFacts(Record, frozen=True, kw_only=True):
    """What a node's kernel is set to.

    Attributes:
        routes: those to the subnets that were asked for.
        uplink_mtu: of the link that has the node's address, in bytes; 0: there is none.
        leaves_checksums: whether what is below VXLAN's link, such as a network card, is to fill in
            the checksums of what it wraps.
        connections, connections_max: tracked by the kernel, and how many it can; 0: not tracked.
        problems: what could not be looked at, one sentence each.
    """

    is_forwarding: bool = True
    routes: tuple[RouteFact, ...] = ()
    filters: tuple[FilterFact, ...] = ()
    uplink_mtu: int = 0
    leaves_checksums: bool = False
    connections: int = 0
    connections_max: int = 0
    problems: tuple[str, ...] = ()


class ProbeAnswer(Record, frozen=True, kw_only=True):
    """What an agent found.

    Attributes:
        heard: ids of probes of this run, anybody's, that arrived here.
    """

    node: NodeName
    results: tuple[ProbeResult, ...]
    heard: tuple[int, ...] = ()
    facts: KernelFacts = KernelFacts()


class NetCell(Record, frozen=True, kw_only=True):
    """What was tried from one node to another, or on one node itself.

    Attributes:
        lost: the kinds of probes that failed, such as "containers mtu".
        unknown: how many nobody can tell of.
    """

    source: NodeName
    target: NodeName
    passed: int
    lost: tuple[str, ...] = ()
    unknown: int = 0


class NetDiagnosis(Record, frozen=True, kw_only=True):
    """What `hafen net doctor` found.

    Attributes:
        probes: how many were sent.
        cells: by source and target.
        skipped: what was not tried, and why, one sentence each.
        findings: none: all is well.
    """

    probes: int
    nodes: tuple[NodeName, ...]
    cells: tuple[NetCell, ...]
    skipped: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class MemberView(Record, frozen=True, kw_only=True):
    """A service on a network.

    Attributes:
        service: as <stack>.<service>.
        names: further ones that it has there.
        addresses: of its replicas, by allocation.
    """

    service: str
    names: tuple[str, ...] = ()
    addresses: Mapping[AllocId, str] = {}


class ReachView(Record, frozen=True, kw_only=True):
    """A network and who is on it.

    Attributes:
        name: empty: what every container is on that names no network.
        internal: nothing leads out of it.
        subnet: where its fixed addresses are from; empty: it has none.
    """

    name: str
    internal: bool = False
    subnet: str = ""
    members: tuple[MemberView, ...] = ()


class EntryView(Record, frozen=True, kw_only=True):
    """A way in from outside.

    Attributes:
        is_host: only nodes with a replica have the port.
    """

    service: str
    published: int
    target: int
    protocol: Protocol
    is_host: bool = False


class ServiceNetView(Record, frozen=True, kw_only=True):
    """What a service has of the network.

    Attributes:
        networks: their names; empty: it names none, or has its own `mode`.
        vip: its virtual address; empty: it has none.
        mode: host or none; empty: its networks'.
        endpoints: replicas that are sent requests, by allocation.
    """

    service: str
    networks: tuple[str, ...] = ()
    vip: str = ""
    mode: str = ""
    endpoints: Mapping[AllocId, str] = {}


class NetView(Record, frozen=True, kw_only=True):
    """Who may talk to whom: what `hafen net show` draws. Everything is sorted by name."""

    networks: tuple[ReachView, ...] = ()
    services: tuple[ServiceNetView, ...] = ()
    entries: tuple[EntryView, ...] = ()
