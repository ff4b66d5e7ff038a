"""What of a world a decision goes by: most of what nodes write changes none of it.

Pure. A change of some routes is acknowledged by every node, and for each of these words a leader
would decide to do nothing; what gateways have acknowledged matters only to what drains.
"""

import msgspec

from scheduler.world import NodeState, World
from shared.model import Revision, Want


def basis_of(world: World) -> World:
    """Return a world without what no decision goes by: equal ones are decided alike.

    For as long as a decision says that time alone does not change it, and changes nothing itself.
    """
    drains = any(
        one.want is Want.DRAIN for node in world.nodes.values() for one in node.assignments
    )
    return msgspec.structs.replace(
        world,
        revision=Revision(0),
        nodes={name: _bare(node, drains=drains) for name, node in world.nodes.items()},
        # Agents decide about floating addresses, without the leader.
        floating={},
        vips={},
    )


def _bare(node: NodeState, *, drains: bool) -> NodeState:
    report = node.report
    if report is not None:
        report = msgspec.structs.replace(
            report,
            acked=report.acked if drains else {},
            busy=report.busy if drains else (),
            problems=(),
            segments=(),
            floating={},
        )
    return msgspec.structs.replace(node, report=report, report_revision=Revision(0), trouble="")
