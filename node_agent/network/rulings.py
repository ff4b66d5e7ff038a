"""The rules of a node, found anew only where something has changed.

Pure but for what it remembers. Whatever it returns is what one that remembers nothing would, with
the same objects as before for all that is the same: comparing two costs what differs between them.
"""

import itertools
from collections.abc import Mapping
from functools import partial

import msgspec

from node_agent.each import OfEach
from node_agent.network.cluster import (
    Cluster,
    Local,
    awaited_of,
    is_closed,
    networks_of,
    with_awaited,
)
from node_agent.network.parts import Member
from node_agent.network.policy import (
    Frame,
    Members,
    Own,
    Ruleset,
    combinations_of,
    joined,
    members_of,
    own_of,
)
from shared.model import AllocId, NodeName

_Locals = Mapping[AllocId, Local]


class _Crew(msgspec.Struct, frozen=True, kw_only=True):
    """The containers of one stack.

    Attributes:
        awaited: this node's, as they will be here.
        networks: by container, what it is on.
        on: all of these.
    """

    members: tuple[Member, ...]
    awaited: tuple[tuple[AllocId, Local], ...]
    networks: Mapping[AllocId, frozenset[str]]
    on: frozenset[str]


def _crew(node: NodeName, members: tuple[Member, ...]) -> _Crew:
    networks: dict[AllocId, frozenset[str]] = {}
    for each in members:
        before = networks.get(each.allocation, frozenset())
        networks[each.allocation] = before.union(networks_of(each))
    return _Crew(
        members=members,
        awaited=awaited_of(members, node),
        networks=networks,
        on=frozenset().union(*networks.values()),
    )


class Rulings:
    """Remembers what came of the cluster and of this node's containers last.

    Args:
        node: this one.
        frame: what of the rules never changes.
    """

    def __init__(self, node: NodeName, frame: Frame) -> None:
        self._frame = frame
        self._asked: tuple[Cluster, _Locals] | None = None
        self._find = OfEach(partial(_crew, node))
        self._crews: list[_Crew] = []
        self._here: _Locals = {}
        self._combinations: frozenset[tuple[str, ...]] = frozenset()
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
            crews = self._find.of(cluster.by_stack)
            awaited = itertools.chain.from_iterable(crew.awaited for crew in crews)
            self._ruleset = self._found(cluster, crews, with_awaited(awaited, here))
            self._asked = asked
        return self._ruleset

    def _found(self, cluster: Cluster, crews: list[_Crew], locals_: _Locals) -> Ruleset:
        before, is_same = self._own, locals_ == self._here
        if not is_same:
            self._combinations = combinations_of(locals_)
        shut = {combo: is_closed(cluster, combo) for combo in self._combinations}
        is_known = before is not None and is_same and shut == self._shut
        own = before if before is not None and is_known else own_of(self._frame, locals_, shut)
        changed = self._changed(crews, locals_)
        stale = {name for name in own.used if name in changed or name not in self._members}
        if stale:
            on_them = (crew.members for crew in crews if not stale.isdisjoint(crew.on))
            some = itertools.chain.from_iterable(on_them)
            self._members = {
                **{name: self._members[name] for name in own.used - stale},
                **members_of(self._frame, some, locals_, stale),
            }
        self._own, self._shut, self._here, self._crews = own, shut, locals_, crews
        return joined(self._frame, cluster, own, self._members)

    def _changed(self, crews: list[_Crew], locals_: _Locals) -> set[str]:
        """Return the networks that may have other members than last."""
        found: set[str] = set()
        for some, others in ((self._crews, crews), (crews, self._crews)):
            known = set(map(id, others))
            found.update(*(crew.on for crew in some if id(crew) not in known))
        if locals_ == self._here:
            return found
        for one, other in ((self._here, locals_), (locals_, self._here)):
            for id_, local in one.items():
                if other.get(id_) != local:
                    found.update(networks_of(local))
        # Whether a container is this node's decides whose word counts.
        moved = self._here.keys() ^ locals_.keys()
        return found.union(
            *(crew.networks[id_] for id_ in moved for crew in crews if id_ in crew.networks)
        )


def _is_same(before: tuple[Cluster, _Locals], now: tuple[Cluster, _Locals]) -> bool:
    return before[0] is now[0] and before[1] == now[1]
