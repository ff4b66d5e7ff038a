"""Which containers wait for a port of this node.

Pure. The leader gives a port to one allocation at a time, by what it knows of the node: of one that
was given up, cut off or forgotten, it does not know what still runs there.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from node_agent.claims import Right, Verdict
from node_agent.runtime import Container, Phase
from shared.model import AllocId, Assignment
from shared.ports import Port, host_ports


def waiting(
    desired: Mapping[AllocId, Assignment],
    observed: Mapping[AllocId, Container],
    in_flight: AbstractSet[AllocId],
) -> Mapping[AllocId, Verdict]:
    """Return what may not start yet, because what is to end here still has a port of it.

    Args:
        desired: the manifest's assignments by id.
        observed: the containers by id.
        in_flight: allocations that have a step under way: it may be a start.
    """
    held = _held(desired, observed, in_flight)
    return {
        id_: Verdict(Right.WAIT, f"waits until {' and '.join(others)} has ended")
        for id_, assignment in desired.items()
        if held
        and not _runs(observed.get(id_))
        and (others := _holders(host_ports(assignment.workload), held))
    }


def _held(
    desired: Mapping[AllocId, Assignment],
    observed: Mapping[AllocId, Container],
    in_flight: AbstractSet[AllocId],
) -> Mapping[Port, AllocId]:
    return {
        port: id_
        for id_, container in observed.items()
        if id_ not in desired and (id_ in in_flight or _runs(container))
        for port in host_ports(container.assignment.workload)
    }


def _holders(wanted: tuple[Port, ...], held: Mapping[Port, AllocId]) -> tuple[str, ...]:
    """Return who has ports of these, such as shop.dns.1.a (port 53/udp)."""
    return tuple(f"{held[port]} (port {port[0]}/{port[1]})" for port in wanted if port in held)


def _runs(container: Container | None) -> bool:
    return container is not None and container.phase is Phase.RUNNING
