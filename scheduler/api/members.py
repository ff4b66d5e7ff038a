"""How etcd's members are, asked all the time: nobody should have to wait for a dead one."""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from shared.api import EtcdMemberView
from shared.clock import Clock
from shared.etcd.store import EtcdStore

# How etcd's members are; answers within seconds whatever is broken.
AskMembers = Callable[[], Awaitable[tuple[EtcdMemberView, ...]]]
# How etcd begins all it says itself; what the network says begins otherwise.
_OF_ETCD: Final = "etcdserver: "
# Between two such questions: each costs one small answer of each member.
_ASK_S: Final = 2.0


class Members:
    """The last that was heard of etcd's members, in the words of the API."""

    def __init__(self, ask: AskMembers, clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self._answered_s = clock.monotonic_s()
        self.seen: tuple[EtcdMemberView, ...] = ()

    def age_s(self) -> float:
        """Return how long ago a member that knows a leader answered: so old may the view be."""
        return self._clock.monotonic_s() - self._answered_s

    async def watch(self) -> NoReturn:
        """Ask again and again, for ever."""
        while True:
            self.seen = await self._ask()
            if any(not member.problem for member in self.seen):
                self._answered_s = self._clock.monotonic_s()
            await self._clock.sleep(_ASK_S)


def members_of(store: EtcdStore) -> AskMembers:
    """Return what asks every member of the store's settings."""

    async def ask() -> tuple[EtcdMemberView, ...]:
        return tuple(
            EtcdMemberView(
                endpoint=member.endpoint,
                problem=member.problem,
                answers=bool(member.id) or member.problem.startswith(_OF_ETCD),
                version=member.version,
                leader=member.is_leader,
            )
            for member in await store.status()
        )

    return ask
