"""All leases of a process, kept alive on one stream.

A lease is lost when our own clock says so: counted from the sending of the last keep-alive that was
answered, which is never later than the moment etcd counts from.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NoReturn

import grpc
import grpc.aio
import structlog

from shared.clock import SystemClock
from shared.errors import LeaseLostError, StoreError
from shared.etcd.calls import (
    GIVEN_UP,
    GRANT,
    HOME_AGAIN,
    KEEP_ALIVE,
    REVOKE,
    Calls,
    Stream,
)
from shared.etcd.proto import etcd_pb2 as pb
from shared.etcd.verdict import CallFailedError, Verdict, failed

_log = structlog.get_logger()

# A keep-alive that goes unanswered for longer than this, or a third of the TTL, moves us elsewhere.
UNANSWERED_S_MAX: Final = 1.0
# Keep-alives per TTL. They cost etcd no write, and the more of them, the more time is left for a
# keeper that is started anew before what hangs on its lease must end.
_KEEP_ALIVES: Final = 5
# Revoking is a courtesy: a lease that is not revoked ends by itself.
REVOKE_S: Final = 1.0
_PAUSE_S: Final = 0.05

_Answer = pb.LeaseKeepAliveResponse
_clock = SystemClock()
_Call = grpc.aio.StreamStreamCall[pb.LeaseKeepAliveRequest, _Answer]


class KeptLease:
    """One lease; implements shared.store.Lease.

    Two clocks count: the event loop's, for timers, and the boot clock, which goes on while the
    machine sleeps.
    """

    def __init__(self, id_: int, ttl_s: float, sent_s: float, sent_boot_s: float) -> None:
        self._id = id_
        self._ttl_s = ttl_s
        self._lost = asyncio.Event()
        self._end_s = sent_s + ttl_s
        self._ends_boot_s = sent_boot_s + ttl_s
        self._renewed: list[Callable[[], None]] = []
        self.next_s = sent_s + self.patience_s
        self._unanswered: deque[tuple[float, float]] = deque()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._end_s, self._ring)

    @property
    def id(self) -> int:
        """Return etcd's id of the lease."""
        return self._id

    @property
    def ttl_s(self) -> float:
        """Return the seconds that etcd granted."""
        return self._ttl_s

    @property
    def ends_s(self) -> float:
        """Return when it ends if nothing more is acknowledged, on the boot clock."""
        return self._ends_boot_s

    @property
    def lost(self) -> asyncio.Event:
        """Return the event that is set once the lease cannot be relied on."""
        return self._lost

    def on_renewed(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `ends_s` has moved on."""
        self._renewed.append(callback)

    @property
    def patience_s(self) -> float:
        """Return how long an answer may take."""
        return min(UNANSWERED_S_MAX, self._ttl_s / 3)

    @property
    def overdue_s(self) -> float:
        """Return the time at which an answer is late; infinite when none is awaited."""
        return self._unanswered[0][0] + self.patience_s if self._unanswered else math.inf

    def begin(self, now_s: float) -> None:
        """Count nothing as sent, because a new stream begins: the next keep-alive is due now."""
        self._unanswered.clear()
        self.next_s = now_s

    def sent(self, now_s: float) -> None:
        """Note that a keep-alive leaves."""
        self._unanswered.append((now_s, _clock.boot_s()))
        self.next_s = now_s + self._ttl_s / _KEEP_ALIVES

    def answered(self, ttl_s: float) -> None:
        """Note etcd's answer to the oldest keep-alive on this stream: answers come in order."""
        if ttl_s <= 0:
            self._lose("etcd ended it")
        elif self._unanswered:
            sent_s, sent_boot_s = self._unanswered.popleft()
            self._end_s = max(self._end_s, sent_s + ttl_s)
            self._ends_boot_s = max(self._ends_boot_s, sent_boot_s + ttl_s)
            for callback in self._renewed:
                callback()

    def stop(self) -> None:
        """Stop the clock; the lease is not kept any more."""
        self._timer.cancel()

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._end_s:
            self._timer = loop.call_at(self._end_s, self._ring)
        else:
            self._lose("no keep-alive was answered in time")

    def _lose(self, reason: str) -> None:
        if not self._lost.is_set():
            _log.warning("lease_lost", lease=f"{self._id:x}", ttl_s=self._ttl_s, reason=reason)
            self._lost.set()


class Leases:
    """The leases that are being kept; `run` must run beside."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._kept: dict[int, KeptLease] = {}
        self._wake = asyncio.Event()
        self._read_end: CallFailedError | None = None

    async def grant(self, ttl_s: float) -> KeptLease:
        """Grant a lease of at least `ttl_s` and begin to keep it.

        Raises:
            UnavailableError: no member granted one.
        """
        # Before the first attempt: earlier than the one that was answered, so on the safe side.
        sent_boot_s = _clock.boot_s()
        answer, sent_s = await self._calls.timed(GRANT, _request(ttl_s))
        lease = KeptLease(answer.ID, float(answer.TTL), sent_s, sent_boot_s)
        self._kept[lease.id] = lease
        self._wake.set()
        return lease

    async def grant_for(self, ttl_s: float) -> int:
        """Grant a lease that ends by itself and return its id."""
        return (await self._calls.read(GRANT, _request(ttl_s))).ID

    def drop(self, lease: KeptLease) -> None:
        """Stop keeping a lease; it ends by itself."""
        self._kept.pop(lease.id, None)
        lease.stop()

    async def end(self, lease: KeptLease) -> None:
        """Stop keeping a lease and revoke it, if etcd can be reached quickly."""
        self.drop(lease)
        try:
            async with asyncio.timeout(REVOKE_S):
                await self._calls.read(REVOKE, pb.LeaseRevokeRequest(ID=lease.id))
        except (TimeoutError, StoreError) as error:
            # A lease that etcd ended first is not there to be revoked; neither matters.
            reason = str(error) or f"no answer within {REVOKE_S:.1f} s"
            _log.info("lease_not_revoked", lease=f"{lease.id:x}", reason=reason)

    async def revoke(self, id_: int) -> None:
        """End anybody's lease.

        Raises:
            UnavailableError: no member answered in time.
        """
        with suppress(LeaseLostError):
            await self._calls.read(REVOKE, pb.LeaseRevokeRequest(ID=id_))

    async def run(self) -> NoReturn:
        """Keep every lease alive, on one member after the other, until cancelled."""
        while True:
            if not self._live():
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._keep_on_one_stream()
            except CallFailedError as error:
                _log.debug("keep_alive_stream_ended", reason=error.why)
                await asyncio.sleep(_PAUSE_S)

    def _live(self) -> list[KeptLease]:
        return [lease for lease in self._kept.values() if not lease.lost.is_set()]

    async def _keep_on_one_stream(self) -> None:
        """Return when no lease is left to keep.

        Raises:
            CallFailedError: this stream cannot keep them; another member must.
        """
        patience_s = min((lease.patience_s for lease in self._live()), default=UNANSWERED_S_MAX)
        stream = await self._calls.open(KEEP_ALIVE, connect_s=patience_s)
        now_s = asyncio.get_running_loop().time()
        for lease in self._live():
            lease.begin(now_s)
        try:
            gone, home = partial(self._end_stream, GIVEN_UP), partial(self._end_stream, HOME_AGAIN)
            with stream.member.carrying(gone, home):
                end = await self._send_and_read(stream)
        finally:
            stream.call.cancel()
        if end is None:
            return
        self._calls.react(stream.member, stream.token, end)
        raise end

    async def _send_and_read(
        self, stream: Stream[pb.LeaseKeepAliveRequest, _Answer]
    ) -> CallFailedError | None:
        async with asyncio.TaskGroup() as pair:
            self._read_end = None
            reader = pair.create_task(self._read(stream))
            end = await self._send_when_due(stream.call)
            reader.cancel()
        return end

    def _end_stream(self, why: str) -> None:
        self._read_end = CallFailedError(Verdict.PERHAPS, why)
        self._wake.set()

    async def _send_when_due(self, call: _Call) -> CallFailedError | None:
        """Send keep-alives; return why the stream is no good, or None once nothing is left."""
        loop = asyncio.get_running_loop()
        while live := self._live():
            self._wake.clear()  # before looking: what happens from here on wakes us again
            now_s = loop.time()
            if self._read_end is not None:
                return self._read_end
            if any(lease.overdue_s <= now_s for lease in live):
                return CallFailedError(Verdict.PERHAPS, "a keep-alive was not answered in time")
            try:
                await self._send(call, [lease for lease in live if lease.next_s <= now_s], now_s)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                return CallFailedError(Verdict.PERHAPS, str(error) or "the stream has ended")
            await self._sleep_until(min(min(lease.next_s, lease.overdue_s) for lease in live))
        return None

    async def _send(self, call: _Call, due: list[KeptLease], now_s: float) -> None:
        for lease in due:
            lease.sent(now_s)
            await call.write(pb.LeaseKeepAliveRequest(ID=lease.id))

    async def _sleep_until(self, when_s: float) -> None:
        """Return at `when_s`, or earlier when a lease was added or the stream ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(when_s):
                await self._wake.wait()

    async def _read(self, stream: Stream[pb.LeaseKeepAliveRequest, _Answer]) -> None:
        """Take answers until the stream ends; leave the reason in `_read_end`."""
        loop = asyncio.get_running_loop()
        try:
            while isinstance(answer := await stream.call.read(), _Answer):
                stream.member.hear(loop.time())
                lease = self._kept.get(answer.ID)
                if lease is not None:
                    lease.answered(float(answer.TTL))
            self._read_end = CallFailedError(Verdict.NOT_DONE, "etcd closed the stream")
        except grpc.aio.AioRpcError as error:
            self._read_end = failed(error)
        self._wake.set()


def _request(ttl_s: float) -> pb.LeaseGrantRequest:
    # etcd chooses the id. Should the answer be lost, another is granted and this one just ends.
    return pb.LeaseGrantRequest(TTL=math.ceil(ttl_s))
