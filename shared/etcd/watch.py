"""One watch, kept going across streams and members.

A member that is frozen keeps its connections open and says nothing. So a member that has said
nothing for a while to anyone in this process is asked for progress, and left when it is silent.
"""

import asyncio
from functools import partial
from typing import Final

import grpc
import grpc.aio
import structlog

from shared.backoff import backoff_s
from shared.errors import CompactedError, DeniedError, StoreError
from shared.etcd.assembly import Assembly
from shared.etcd.calls import GIVEN_UP, HOME_AGAIN, WATCH, Calls, Stream
from shared.etcd.convert import span
from shared.etcd.proto import etcd_pb2 as pb
from shared.etcd.verdict import FINAL, CallFailedError, Verdict, failed, judge_cancelled_watch
from shared.model import Revision
from shared.store import Batch, KeyRange

_log = structlog.get_logger()

# A member that was not heard for so long is asked. A process that keeps leases of 2 s hears of its
# member more often anyway, and then an idle watch sends nothing.
PULSE_S: Final = 0.7
# A stream that was not heard for so long is asked even though its member lives.
STREAM_PULSE_S: Final = 10.0
# How long an answer may take: a frozen member is left 1.8 s after its last word. A stream that
# fails so again and again gets longer, because etcd does not answer before a watch has caught up.
ANSWER_S: Final = 1.1
ANSWER_S_MAX: Final = 15.0
# Who wakes up so much later than planned stood still; a busy event loop is late by less.
LATE_S: Final = 0.3
# A member may lag behind what another one told us, but not for long; one that stays behind has
# another history (restored from a backup).
BEHIND_S: Final = 5.0
# Batches that a slow reader may leave lying; then the stream is not read on, and etcd waits.
BATCHES_MAX: Final = 64
_STALE_TOKENS_MAX: Final = 3
_PAUSE_S: Final = 0.02
_PAUSE_S_MAX: Final = 0.5
_SILENT: Final = "asked for progress, it is silent"
_PROGRESS: Final = pb.WatchRequest(progress_request=pb.WatchProgressRequest())

_Stream = Stream[pb.WatchRequest, pb.WatchResponse]
_End = CallFailedError | CompactedError


class Watch:
    """A watch of one range after a revision; `run` fills `feed` until it meets a final error."""

    def __init__(self, calls: Calls, keys: KeyRange, after: Revision) -> None:
        self.feed: asyncio.Queue[Batch | StoreError] = asyncio.Queue(BATCHES_MAX)
        self._calls = calls
        self._keys = keys
        self._assembly = Assembly(after)
        self._cluster_id = 0
        self._heard_s = 0.0
        self._asked_s: float | None = None  # None: no question is open
        self._limit = asyncio.timeout(None)  # of the stream that runs
        self._cut_for = ""
        self._batch: Batch | None = None  # handed over at this moment
        self._behind_since_s: float | None = None
        # Streams in a row that failed, fell silent, or met a stale token before anything was heard.
        self._failures = self._silences = self._stale_tokens = 0

    async def run(self) -> None:
        """Watch until cancelled; a final error is handed to the reader as the last of the feed."""
        while True:
            end = await self._follow_one_stream()
            await self._hand_over()  # what the stream was cut with: no other stream sends it again
            final = self._final(end)
            if final is not None:
                await self.feed.put(final)
                return
            _log.debug("watch_stream_ended", key=self._keys.key, reason=str(end))
            self._failures += 1
            pause_s = backoff_s(
                self._failures, self._calls.rng, base_s=_PAUSE_S, limit_s=_PAUSE_S_MAX
            )
            await asyncio.sleep(pause_s)

    def _final(self, end: _End) -> StoreError | None:
        """Return what ends the watch, or None when another stream may help."""
        if isinstance(end, CompactedError):
            return end
        if end.verdict in FINAL:
            return FINAL[end.verdict](f"{self._keys.key}: {end.why}")
        if self._stale_tokens >= _STALE_TOKENS_MAX:
            return DeniedError(f"etcd takes none of its own tokens: {end.why}")
        return None

    async def _follow_one_stream(self) -> _End:
        """Open a stream, read it until it ends, and return why it did."""
        try:
            stream = await self._calls.open(WATCH)
        except CallFailedError as error:
            return error
        self._assembly.begin()
        self._behind_since_s = None
        self._limit, self._cut_for = asyncio.timeout(None), ""
        try:
            async with asyncio.TaskGroup() as pair:
                pulse = pair.create_task(self._pulse(stream))
                end = await self._read(stream)
                pulse.cancel()
        finally:
            stream.call.cancel()
        if isinstance(end, CallFailedError):
            self._stale_tokens += end.verdict is Verdict.STALE_TOKEN
            self._calls.react(stream.member, stream.token, end)
        return end

    async def _read(self, stream: _Stream) -> _End:
        """Read a new stream until it ends, or is cut; return why it did."""
        loop = asyncio.get_running_loop()
        self._heard_s, self._asked_s = loop.time(), None
        try:
            async with self._limit:
                gone, home = partial(self._cut, GIVEN_UP), partial(self._cut, HOME_AGAIN)
                with stream.member.carrying(gone, home):
                    await stream.call.write(self._request())
                    end = await self._take_all(stream)
                if end is not None:
                    return end
        except TimeoutError:
            self._silences += self._cut_for == _SILENT
            return CallFailedError(Verdict.NOT_DONE, self._cut_for)
        except grpc.aio.AioRpcError as error:
            return failed(error)
        except asyncio.InvalidStateError:
            return CallFailedError(Verdict.NOT_DONE, "the stream ended before it began")
        return CallFailedError(Verdict.NOT_DONE, "etcd closed the stream")

    def _cut(self, why: str) -> None:
        """End the stream that runs, unless it has ended, or was cut for another reason before."""
        if not self._cut_for:
            self._cut_for = why
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def _take_all(self, stream: _Stream) -> _End | None:
        """Take responses until one ends the stream, or None when the stream just ends."""
        loop = asyncio.get_running_loop()
        while isinstance(response := await stream.call.read(), pb.WatchResponse):
            self._heard_s, self._asked_s = loop.time(), None
            stream.member.hear(self._heard_s)
            end = self._refusal(response) or self._other_history(response)
            if end is not None:
                return end
            await self._deliver(response)
        return None

    def _request(self) -> pb.WatchRequest:
        first, end = span(self._keys)
        return pb.WatchRequest(
            create_request=pb.WatchCreateRequest(
                key=first,
                range_end=end,
                start_revision=self._assembly.after + 1,
                progress_notify=True,
                fragment=True,
            )
        )

    async def _deliver(self, response: pb.WatchResponse) -> None:
        if not response.created:
            self._failures = self._silences = self._stale_tokens = 0
        self._batch = self._assembly.take(response)
        await self._hand_over()

    async def _hand_over(self) -> None:
        if self._batch is not None:
            await self.feed.put(self._batch)
            self._batch = None
            self._heard_s, self._asked_s = asyncio.get_running_loop().time(), None

    async def _pulse(self, stream: _Stream) -> None:
        """Ask for progress when nothing is heard, and end the reader when no answer comes."""
        loop = asyncio.get_running_loop()
        answer_s = min(ANSWER_S * 2.0 ** min(self._silences, 8), ANSWER_S_MAX)
        while True:
            now_s = loop.time()
            if self._batch is not None:
                # A reader that takes its time is no silent member.
                next_s = now_s + PULSE_S
            elif self._asked_s is not None:
                next_s = self._asked_s + answer_s
            else:
                next_s = self._question_due_s(stream)
            if next_s > now_s:
                await self._sleep_until(next_s)
            elif self._asked_s is not None:
                self._cut(_SILENT)
                return
            elif not await self._ask(stream):
                return  # The reader of the same stream says why it ended.

    async def _ask(self, stream: _Stream) -> bool:
        """Ask for progress, and count from when that is sent: we may stand still before."""
        loop = asyncio.get_running_loop()
        self._asked_s = loop.time()
        is_sent = await _asked(stream)
        if self._asked_s is not None:
            self._asked_s = loop.time()
        return is_sent

    async def _sleep_until(self, when_s: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(when_s - loop.time())
        if self._asked_s is not None and loop.time() - when_s > LATE_S:
            # It was us who stood still: what came meanwhile is still to be read.
            self._asked_s = loop.time()

    def _question_due_s(self, stream: _Stream) -> float:
        member_heard_s = max(stream.member.heard_s, self._heard_s)
        return min(member_heard_s + PULSE_S, self._heard_s + STREAM_PULSE_S)

    def _refusal(self, response: pb.WatchResponse) -> _End | None:
        if response.compact_revision:
            return CompactedError(response.compact_revision)
        if response.canceled:
            verdict = judge_cancelled_watch(response.cancel_reason)
            return CallFailedError(verdict, response.cancel_reason or "etcd cancelled the watch")
        return None

    def _other_history(self, response: pb.WatchResponse) -> CompactedError | None:
        """Return an error when what we know is not this member's past: list again then."""
        header, now_s = response.header, self._heard_s
        self._cluster_id = self._cluster_id or header.cluster_id
        if header.cluster_id != self._cluster_id:
            return CompactedError(header.revision)
        if header.revision >= self._assembly.after:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = now_s
        elif now_s - self._behind_since_s > BEHIND_S:
            return CompactedError(header.revision)
        return None


async def _asked(stream: _Stream) -> bool:
    try:
        await stream.call.write(_PROGRESS)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True
