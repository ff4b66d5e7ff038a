"""The rules of a node, found anew only where something has changed.

Pure but for what it remembers. Whatever it returns is what one that remembers nothing would, with
the same objects as before for all that is the same: comparing two costs what differs between them.
"""

from collections.abc import Mapping

from node_agent.network.cluster import Cluster, Local, networks_of, with_awaited
from node_agent.network.parts import Member
from node_agent.network.policy import (
    Frame,
    Members,
    Own,
    Ruleset,
    joined,
    members_of,
    own_of,
    shut_of,
)
from shared.model import AllocId, NodeName

_Locals = Mapping[AllocId, Local]


class Rulings:
    """Remembers what came of the cluster and of this node's containers last.

    Args:
        node: this one.
        frame: what of the rules never changes.
    """

    def __init__(self, node: NodeName, frame: Frame) -> None:
        self._node, self._frame = node, frame
        self._asked: tuple[Cluster, _Locals] | None = None
        self._seen: tuple[Member, ...] = ()
        self._here: _Locals = {}
        self._shut: Mapping[tuple[str, ...], bool] = {}
        self._own: Own | None = None
        self._members: Members = {}
        self._ruleset: Ruleset | None = None

    def of(self, cluster: Cluster, here: _Locals) -> Ruleset:
        """Return the rules for this node's containers, and for those that are awaited here.

        Args:
            cluster: all of it; the same object as long as nothing of it has changed.
            here: containers that are attached.
        """
        asked = (cluster, here)
        if self._ruleset is None or self._asked is None or not _is_same(self._asked, asked):
            self._ruleset = self._found(cluster, with_awaited(cluster, self._node, here))
            self._asked = asked
        return self._ruleset

    def _found(self, cluster: Cluster, locals_: _Locals) -> Ruleset:
        before = self._own
        shut = shut_of(cluster, locals_)
        is_known = before is not None and locals_ == self._here and shut == self._shut
        own = before if before is not None and is_known else own_of(self._frame, locals_, shut)
        changed = self._changed(cluster, locals_)
        stale = {name for name in own.used if name in changed or name not in self._members}
        if stale:
            self._members = {
                **{name: self._members[name] for name in own.used - stale},
                **members_of(self._frame, cluster, locals_, stale),
            }
        self._own, self._shut, self._here, self._seen = own, shut, locals_, cluster.members
        return joined(self._frame, cluster, own, self._members)

    def _changed(self, cluster: Cluster, locals_: _Locals) -> set[str]:
        """Return the networks that may have other members than last."""
        before, now = ({id(each): each for each in some} for some in (self._seen, cluster.members))
        members = [each for key, each in before.items() if key not in now]
        members += [each for key, each in now.items() if key not in before]
        found = {name for each in members for name in networks_of(each)}
        for one, other in ((self._here, locals_), (locals_, self._here)):
            for id_, local in one.items():
                if other.get(id_) != local:
                    found.update(networks_of(local))
        # Whether a container is this node's decides whose word counts.
        moved = self._here.keys() ^ locals_.keys()
        return found.union(
            *(networks_of(each) for each in cluster.members if each.allocation in moved)
        )


def _is_same(before: tuple[Cluster, _Locals], now: tuple[Cluster, _Locals]) -> bool:
    return before[0] is now[0] and before[1] == now[1]
