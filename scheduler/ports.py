"""Where ports of nodes are taken.

Pure.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from scheduler.nodes import Verdict, Verdicts
from scheduler.world import World
from shared.labels import meets
from shared.model import Assignment, NodeName, ServiceSpec
from shared.ports import Port, host_ports
from shared.states import AllocState


def taken_ports(held: Iterable[Assignment]) -> Mapping[Port, str]:
    """Return which ports of a node are taken, and by whom, such as shop.dns.1."""
    return {
        port: f"{one.stack}.{one.service}.{one.slot}"
        for one in held
        if one.workload.ports
        for port in host_ports(one.workload)
    }


def is_crowded(world: World, verdicts: Verdicts, spec: ServiceSpec) -> bool:
    """Say whether no node has room for one more copy because of its ports.

    Then the old copy goes first, unless the service says otherwise. A node of a global service has
    no room for a second copy by nature.
    """
    wanted = frozenset(host_ports(spec.workload)) if spec.workload.ports else frozenset()
    if not wanted or spec.update.order is not None:
        return False
    return spec.mode.is_global or not any(
        verdicts[name] is Verdict.READY
        and meets(node.spec, spec.placement.constraints)
        and not wanted & _taken_on(world, name)
        for name, node in world.nodes.items()
    )


def _taken_on(world: World, name: NodeName) -> AbstractSet[Port]:
    node = world.nodes[name]
    over = {AllocState.FAILED, AllocState.COMPLETE}
    reported = node.report.allocations if node.report is not None else ()
    ended = {status.id for status in reported if status.state in over}
    return taken_ports(one for one in node.assignments if one.id not in ended).keys()
