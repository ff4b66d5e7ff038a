"""What does not work now, one sentence each, from the cluster at a glance.

Pure.
"""

from collections.abc import Iterator

from shared.api import ClusterView, NodeView, ServiceView

_GIVEN_UP = frozenset({"lost", "unreachable"})


def outages(view: ClusterView) -> tuple[str, ...]:
    """Return what people cannot do, or miss, at this moment; empty: everything works."""
    return (
        *_decisions(view),
        *_exclusive(view),
        *_nodes(view),
        *view.unread.values(),
        *_services(view),
        *_floating(view),
    )


def _decisions(view: ClusterView) -> Iterator[str]:
    if not view.etcd_reachable:
        yield f"no change is accepted: {_why_no_etcd(view)}; containers and traffic go on"
        yield "a host that is lost now is not replaced until etcd is back"
    elif not view.leader:
        yield f"nothing is placed or replaced: nobody leads since {view.leaderless_s:.0f} s"


def _why_no_etcd(view: ClusterView) -> str:
    answering = [member for member in view.members if member.answers]
    if len(answering) * 2 <= len(view.members):
        return f"etcd has no quorum ({len(answering)} of {len(view.members)} members answer)"
    if all(member.problem for member in answering):
        return f"etcd has no leader ({'; '.join(sorted({one.problem for one in answering}))})"
    return "etcd does not answer this host in time"


def _exclusive(view: ClusterView) -> Iterator[str]:
    if not view.etcd_reachable and any(one.exclusive for one in view.services):
        yield "exclusive services end, unless every other node answers and agrees that they go on"


def _nodes(view: ClusterView) -> Iterator[str]:
    given_up = [node for node in view.nodes if node.state in _GIVEN_UP]
    yield from (f"{node.name} is {node.state}{_because(node)}" for node in given_up)
    silent = [node for node in view.nodes if node.state == "suspect"]
    if len(silent) * 2 >= len(view.nodes) > 1:
        yield (
            f"{len(silent)} of {len(view.nodes)} nodes are silent at once: what they run is not "
            "replaced before their leases have ended"
        )


def _because(node: NodeView) -> str:
    return f": {node.reason}" if node.reason else ""


def _floating(view: ClusterView) -> Iterator[str]:
    for one in view.floating:
        if not one.holder:
            yield f"floating address {one.address}: {one.problem}"


def _services(view: ClusterView) -> Iterator[str]:
    for one in view.services:
        if one.replicas and not one.ready:
            yield f"{one.stack}.{one.service} has no replica that answers{_why(one)}"


def _why(one: ServiceView) -> str:
    return f": {'; '.join(one.waiting)}" if one.waiting else ""
