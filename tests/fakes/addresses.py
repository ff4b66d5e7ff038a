"""A kernel's floating addresses, which end by themselves."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from node_agent.floating.floating import KERNEL_LATE_S
from node_agent.floating.host import HostStatus, Wish
from shared.clock import Clock


class FakeAddresses:
    """Implements HostAddresses on one machine.

    Args:
        clock: the machine's.
        lateness: a share, 0 to 1, of how late the kernel may end an address; drawn every time.
        stranger: says who else answers an address; empty: nobody does.
        changed: told when what is answered may have changed, other than by time.
    """

    def __init__(
        self,
        clock: Clock,
        lateness: Callable[[], float] = lambda: 0.0,
        stranger: Callable[[str], str] = lambda _: "",
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock, self._lateness, self._stranger = clock, lateness, stranger
        self._changed = changed
        self._ends_s: dict[str, float] = {}
        self._says_s: dict[str, float] = {}
        self._forced: dict[str, float] = {}

    def up(self) -> Mapping[str, float]:
        """Return what is answered, and for how long more by what was asked."""
        now = self._clock.boot_s()
        forced = {a: ends_s - now for a, ends_s in self._forced.items() if ends_s > now}
        self._ends_s = {a: ends_s for a, ends_s in self._ends_s.items() if ends_s > now}
        asked = {a: max(self._says_s[a] - now, 0.0) for a in self._ends_s}
        return asked | forced

    def answers(self, address: str) -> bool:
        """Say whether an address is answered now."""
        now, never = self._clock.boot_s(), -math.inf
        ends_s = self._ends_s.get(address, never)
        return ends_s > now or self._forced.get(address, never) > now

    def ends_s(self) -> Iterable[float]:
        """Return the moments of the boot clock at which addresses end by themselves."""
        return (*self._ends_s.values(), *self._forced.values())

    def power_loss(self) -> None:
        """Forget everything."""
        self._changed()
        self._ends_s.clear()

    def give(self, address: str, seconds: float) -> None:
        """Answer an address that nobody asked for, for so long whatever is asked."""
        self._changed()
        self._forced[address] = self._clock.boot_s() + seconds

    async def look(self) -> HostStatus:
        """Return what is there."""
        return HostStatus(up=self.up(), segments=("198.18.0.0/24",))

    async def apply(self, wishes: Sequence[Wish]) -> HostStatus:
        """Answer these and no others."""
        self._changed()
        now, _ = self._clock.boot_s(), self.up()
        self._ends_s = {
            w.address: self._ends_s[w.address] for w in wishes if w.address in self._ends_s
        }
        for wish in wishes:
            if wish.lifetime_s is not None:
                self._says_s[wish.address] = now + wish.lifetime_s
                late_s = self._lateness() * KERNEL_LATE_S
                self._ends_s[wish.address] = now + wish.lifetime_s + late_s
        return await self.look()

    async def answered_by(self, wish: Wish) -> str:
        """Say who else answers an address."""
        return self._stranger(wish.address)
