"""The logs of many allocations as one stream: asked from their nodes' agents, merged as they come.

A node that does not answer is one remark in the stream, not the end of it. Nothing is kept here: a
reader who stops reading stops the agents from sending.
"""

import asyncio
import datetime as dt
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec

from scheduler.api.changes import Changes
from shared.api import AGENT_LOGS, LogEntry
from shared.clock import Clock
from shared.errors import HafenError, NotFoundError
from shared.http import Put
from shared.model import AllocId, NodeName
from shared.remote import Remote, Target

# Enough for every replica of a large service; each one is a connection to an agent.
ALLOCATIONS_MAX: Final = 200
_RETRY_S: Final = 1.0
# A follower looks for new allocations at least this often.
_LOOK_AGAIN_S: Final = 10.0


class Source(msgspec.Struct, frozen=True):
    """One allocation whose log is wanted; `agent` None: its node cannot be asked, for `why`."""

    id: AllocId
    node: NodeName
    agent: Target | None
    why: str = ""


class LogRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader wants.

    Attributes:
        sources: returns the allocations that are meant, as of now.
        tail: how many of the last lines of each; None: all.
    """

    sources: Callable[[], tuple[Source, ...]]
    follow: bool
    tail: int | None


class LogMerger:
    """Merges the logs of one request into `put`; made for it and thrown away with it."""

    def __init__(self, request: LogRequest, changes: Changes, clock: Clock, put: Put) -> None:
        self._request, self._changes, self._clock, self._put = request, changes, clock, put

    async def run(self) -> None:
        """Put lines until all logs end, or with `follow` until cancelled."""
        seen: set[AllocId] = set()
        tail = self._request.tail
        async with asyncio.TaskGroup() as group:
            while True:
                count = self._changes.count
                await self._begin(group, seen, tail)
                if not self._request.follow:
                    return
                # What comes later is new: all of it was written after the reader asked.
                tail = None
                await self._changes.wait(count, _LOOK_AGAIN_S)

    async def _begin(self, group: asyncio.TaskGroup, seen: set[AllocId], tail: int | None) -> None:
        for source in self._request.sources():
            if source.id in seen:
                continue
            if len(seen) == ALLOCATIONS_MAX:
                await self._remark(source, f"{ALLOCATIONS_MAX} logs are the most at once")
            seen.add(source.id)
            if len(seen) <= ALLOCATIONS_MAX:
                group.create_task(self._read(source, tail))

    async def _read(self, source: Source, tail: int | None) -> None:
        if source.agent is None:
            await self._remark(source, source.why)
            return
        is_silent = False
        while (error := await self._read_once(source, source.agent, tail)) is not None:
            is_following = self._request.follow and self._is_wanted(source)
            # A container that is not made yet has written nothing: that is no news to a follower.
            is_unmade = isinstance(error, NotFoundError)
            if not is_silent and not (is_unmade and is_following):
                await self._remark(source, str(error))
                is_silent = True
            if not is_following:
                return
            # What was written in between is lost to the reader; the remark stands where it is.
            tail = tail if is_unmade else 0
            await self._clock.sleep(_RETRY_S)

    def _is_wanted(self, source: Source) -> bool:
        return any(one.id == source.id for one in self._request.sources())

    async def _read_once(
        self, source: Source, agent: Target, tail: int | None
    ) -> HafenError | None:
        """Put the lines of one connection; return what ended it, None for its proper end."""
        query = {"follow": "1" if self._request.follow else "0"}
        if tail is not None:
            query["tail"] = str(tail)
        path = AGENT_LOGS.format(id=source.id)
        try:
            async with (
                Remote(agent) as remote,
                aclosing(remote.stream(path, LogEntry, query=query)) as entries,
            ):
                async for entry in entries:
                    await self._put(entry)
        except HafenError as error:
            return error
        return None

    async def _remark(self, source: Source, text: str) -> None:
        at = dt.datetime.fromtimestamp(self._clock.now_s(), dt.UTC).isoformat()
        await self._put(
            LogEntry(allocation=source.id, node=source.node, at=at, stream="hafen", text=text)
        )
