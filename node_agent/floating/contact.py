"""Whether this node is in contact: with those whose word could convict it, or with etcd.

A host that is cut off has no answer to what it asks. It is found by the age of the newest question
that was answered: a watcher that hears nothing of us began to count after we asked that.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol

import structlog

from node_agent import exclusive
from node_agent.floating.convicted import contact_until
from shared.clock import Clock
from shared.errors import StoreError
from shared.loop import Dirty
from shared.model import NodeName
from shared.timing import Timing

_log = structlog.get_logger()

# One lost question says nothing, and one that was only just asked neither.
_UNANSWERED_MIN: Final = 2
# So often in the time after which contact is lost.
_LOOKS: Final = 3
# Of that time, what is left when etcd is asked as well: no peer that is well answers so late.
_HURRY_SHARE: Final = 0.2
# Questions are first asked one period of the probes after there is anybody to ask.
_FIRST_ROUND: Final = 2
# Nothing is to be found while nothing is held.
_IDLE_S: Final = 10.0


class Neighbours(exclusive.Neighbours, Protocol):
    """The other nodes' agents, which also answer our probes."""

    def answered_s(
        self, nodes: Iterable[NodeName], unanswered_min: int
    ) -> Mapping[NodeName, float]:
        """Return when the newest probe that each of `nodes` answered was sent; see Lookout."""
        ...

    def watch_back(self) -> None:
        """Probe those, too, that watch this node."""
        ...


class Contact:
    """Says whether this node is in contact.

    Args:
        timing: contact_s of it.
        neighbours: the others' agents.
        clock: time.
        voters: the nodes whose word could convict this one now.
        matters: says whether anything depends on contact.
        holds: says whether we hold anything that others could be given.
        ask_etcd: reads from etcd what we hold; raises StoreError if it does not answer.
        changed: called when contact is lost or there again; `paused` when this process stood still
            for as long.
    """

    def __init__(  # noqa: PLR0913 - what it acts on, each by name
        self,
        timing: Timing,
        neighbours: Neighbours,
        clock: Clock,
        *,
        voters: Callable[[], tuple[NodeName, ...]],
        matters: Callable[[], bool],
        holds: Callable[[], bool],
        ask_etcd: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
        paused: Callable[[], None],
    ) -> None:
        self._contact_s = timing.contact_s
        self._neighbours, self._clock = neighbours, clock
        self._voters, self._ask_etcd = voters, ask_etcd
        self._matters, self._holds = matters, holds
        self._changed, self._paused = changed, paused
        self._etcd_until_s = 0.0  # by the monotonic clock, as everything here
        self._looked_s: float | None = None
        self._begun_s: float | None = None
        self.dirty = Dirty()
        self.is_there = False  # not known yet

    async def one_pass(self) -> float:
        """Look once; return when to look again, seconds."""
        now = self._clock.monotonic_s()
        if not self._matters():
            self._looked_s = None
            self._become(is_there=True)
            return _IDLE_S
        if self._looked_s is not None and now - self._looked_s > self._contact_s:
            self._paused()
        self._looked_s = now
        until_s = max(self._peers_until_s(), self._etcd_until_s)
        self._become(is_there=now < until_s)
        if until_s - now > self._contact_s * _HURRY_SHARE:
            return min(self._contact_s / _LOOKS, until_s - now)
        if not self._holds():
            return self._contact_s / _LOOKS
        await self._ask(until_s - now if now < until_s else self._contact_s / _LOOKS)
        return 0.0

    def _peers_until_s(self) -> float:
        voters = self._voters()
        answered = self._neighbours.answered_s(voters, _UNANSWERED_MIN)
        until = contact_until({voter: answered.get(voter) for voter in voters}, self._contact_s)
        if until is None:
            return math.inf
        if self._begun_s is None:
            self._begun_s = self._clock.monotonic_s()
        # What an agent before us had is kept until a first round of questions can be answered.
        return max(until, self._begun_s + _FIRST_ROUND * self._contact_s)

    async def _ask(self, within_s: float) -> None:
        """Ask etcd: what it answers was true when it was asked, or later."""
        asked_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(within_s):
                await self._ask_etcd()
        except (StoreError, TimeoutError):
            # Not to spin where the refusal is quicker than the time.
            left_s = asked_s + within_s - self._clock.monotonic_s()
            await self._clock.sleep(max(left_s, 0.0))
        else:
            self._etcd_until_s = asked_s + self._contact_s

    def _become(self, *, is_there: bool) -> None:
        if is_there is self.is_there:
            return
        self.is_there = is_there
        if not is_there and self._holds():
            _log.warning(
                "contact_lost",
                reason="neither etcd nor enough of the nodes that watch this one answer:"
                " its floating addresses are dropped",
            )
        self._changed()
