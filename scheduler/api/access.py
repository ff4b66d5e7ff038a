"""The access logs of all gateways as one stream, in the order of time.

What is there is merged whole; what comes later waits a second for what other nodes have before it.
A node that does not answer is a remark in the stream, not the end of it.
"""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Final

import msgspec

from shared.api import AGENT_ACCESS, AccessEntry
from shared.clock import Clock
from shared.errors import HafenError
from shared.http import Put
from shared.model import NodeName
from shared.remote import Remote, Target

# Longer than a request takes from one host's file to here; short enough for who looks on.
HOLD_S: Final = 1.0
# Of one node; then it waits for those that are slower.
HELD_MAX: Final = 500
_RETRY_S: Final = 1.0
# A follower looks for new nodes this often.
_LOOK_AGAIN_S: Final = 10.0


class Source(msgspec.Struct, frozen=True):
    """A node; `agent` None: it cannot be asked, for `why`."""

    node: NodeName
    agent: Target | None
    why: str = ""


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader wants.

    Attributes:
        sources: returns all nodes, as of now.
        query: what agents are asked besides `since_ms` and `follow`.
        since_ms: requests that were over then or later.
        follow: go on with new ones.
    """

    sources: Callable[[], tuple[Source, ...]]
    query: Mapping[str, str]
    since_ms: int
    follow: bool


class Merge:
    """Entries of several nodes, each in order, put into one order. Pure.

    Args:
        hold_s: an entry waits no longer than this for other nodes; None: for as long as they take.
    """

    def __init__(self, hold_s: float | None = None) -> None:
        self._hold_s = hold_s
        self._newest: dict[NodeName, int] = {}
        self._held: dict[NodeName, int] = {}
        # When, a number that makes equal ones keep their order, since when it waits, what.
        self._heap: list[tuple[int, int, float, AccessEntry]] = []
        self._count = 0

    @property
    def is_empty(self) -> bool:
        """Say whether no node may say more and nothing waits."""
        return not self._newest and not self._heap

    def open(self, node: NodeName) -> None:
        """Expect entries of a node."""
        self._newest.setdefault(node, -1)

    def close(self, node: NodeName) -> None:
        """Expect no more of a node."""
        self._newest.pop(node, None)

    def has_room(self, node: NodeName) -> bool:
        """Say whether more of a node may be held."""
        return self._held.get(node, 0) < HELD_MAX

    def add(self, entry: AccessEntry, now: float) -> None:
        """Take the next entry of a node."""
        self._newest[entry.node] = max(self._newest.get(entry.node, -1), entry.at_ms)
        self._held[entry.node] = self._held.get(entry.node, 0) + 1
        self._count += 1
        heapq.heappush(self._heap, (entry.at_ms, self._count, now, entry))

    def ready(self, now: float) -> list[AccessEntry]:
        """Return what nothing older can come before any more, or has waited long enough."""
        found = []
        settled_ms = min(self._newest.values(), default=None)
        while self._heap:
            at_ms, _, since_s, entry = self._heap[0]
            has_waited = self._hold_s is not None and now - since_s >= self._hold_s
            if settled_ms is not None and at_ms > settled_ms and not has_waited:
                break
            heapq.heappop(self._heap)
            self._held[entry.node] -= 1
            found.append(entry)
        return found


class AccessMerger:
    """Merges the access logs for one reader into `put`; made for it and thrown away with it."""

    def __init__(self, request: AccessRequest, clock: Clock, put: Put) -> None:
        self._request, self._clock, self._put = request, clock, put
        self._merge = Merge()
        self._changed = asyncio.Event()
        self._room = asyncio.Condition()
        # Up to when each node's were put, and how many of them were over in that very millisecond.
        self._until: dict[NodeName, tuple[int, int]] = {}

    async def run(self) -> None:
        """Put what is there in order; with `follow` then what comes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._request.sources():
                self._begin(group, source, follow=False)
            await self._emit()
        if not self._request.follow:
            return
        self._merge = Merge(HOLD_S)
        known: set[NodeName] = set()
        async with asyncio.TaskGroup() as group:
            emitting = group.create_task(self._emit_for_ever())
            while not emitting.done():
                for source in self._request.sources():
                    if source.node not in known:
                        known.add(source.node)
                        self._begin(group, source, follow=True)
                await self._clock.sleep(_LOOK_AGAIN_S)

    def _begin(self, group: asyncio.TaskGroup, source: Source, *, follow: bool) -> None:
        self._merge.open(source.node)
        group.create_task(self._follow(source) if follow else self._read(source))

    # ------------------------------------------------------------ putting

    async def _emit(self) -> None:
        while not self._merge.is_empty:
            await self._changed.wait()
            self._changed.clear()
            await self._put_ready()

    async def _emit_for_ever(self) -> None:
        while True:
            await self._put_ready()
            await self._clock.sleep(HOLD_S / 5)

    async def _put_ready(self) -> None:
        for entry in self._merge.ready(self._clock.monotonic_s()):
            await self._put(entry)
        async with self._room:
            self._room.notify_all()

    # ------------------------------------------------------------ reading

    async def _read(self, source: Source) -> None:
        """Read what one node has."""
        problem = await self._read_once(source, follow=False)
        if problem:
            await self._remark(source.node, problem)
        self._merge.close(source.node)
        self._changed.set()

    async def _follow(self, source: Source) -> None:
        """Read what one node gets, for as long as it is one; what it did not say is said once."""
        is_said = bool(source.why)
        now: Source | None = source
        while now is not None:
            problem = await self._read_once(now, follow=True)
            if problem and not is_said:
                await self._remark(now.node, problem)
            is_said = bool(problem)
            await self._clock.sleep(_RETRY_S)
            now = next((one for one in self._request.sources() if one.node == source.node), None)
        self._merge.close(source.node)

    async def _read_once(self, source: Source, *, follow: bool) -> str:
        """Read one connection; return what ended it, empty for its proper end."""
        if source.agent is None:
            return source.why
        since_ms, skipped = self._until.get(source.node, (self._request.since_ms, 0))
        query = dict(self._request.query) | {"since": str(since_ms), "follow": str(int(follow))}
        if source.node in self._until:
            # Its last ones were put; of one that had none, or was asked for none, no more is asked.
            query.pop("tail", None)
        try:
            async with (
                Remote(source.agent) as remote,
                aclosing(remote.stream(AGENT_ACCESS, AccessEntry, query=query)) as entries,
            ):
                async for entry in entries:
                    if entry.at_ms == since_ms and skipped > 0:
                        skipped -= 1
                        continue
                    await self._take(msgspec.structs.replace(entry, node=source.node))
        except HafenError as error:
            return str(error)
        return ""

    async def _take(self, entry: AccessEntry) -> None:
        async with self._room:
            await self._room.wait_for(lambda: self._merge.has_room(entry.node))
        until_ms, count = self._until.get(entry.node, (-1, 0))
        if entry.at_ms > until_ms:
            self._until[entry.node] = entry.at_ms, 1
        elif entry.at_ms == until_ms:
            self._until[entry.node] = until_ms, count + 1
        self._merge.add(entry, self._clock.monotonic_s())
        self._changed.set()

    async def _remark(self, node: NodeName, text: str) -> None:
        at_ms = round(self._clock.now_s() * 1000)
        await self._put(AccessEntry(node=node, at_ms=at_ms, remark=text))
