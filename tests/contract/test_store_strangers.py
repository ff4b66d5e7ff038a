"""Watches of members that behave as no healthy etcd does; each is a gRPC server in this process."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Self

import grpc
import grpc.aio
import pytest

from shared.errors import CompactedError
from shared.etcd.calls import Calls, Login
from shared.etcd.endpoints import Endpoints
from shared.etcd.proto import etcd_pb2 as pb
from shared.etcd.store import EtcdStore
from shared.etcd.watch import ANSWER_S, BATCHES_MAX, PULSE_S, Watch
from shared.model import Revision
from shared.settings import EtcdSettings
from shared.store import Batch, under
from shared.timing import LAN, PATIENT
from tests.waiting import until

WITHIN_S = 15.0
EVENTS = 2 * BATCHES_MAX


class Member:
    """Answers Watch: says that it was created, sends events, and then what the test wants."""

    def __init__(self, *, events: int = 0, cluster_id: int = 1, is_hung: bool = False) -> None:
        self.events, self.cluster_id, self.is_hung = events, cluster_id, is_hung
        self.endpoint = ""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.streams = self.questions = self.probes = 0
        self._server = grpc.aio.server()
        method = grpc.stream_stream_rpc_method_handler(
            self._watch, pb.WatchRequest.FromString, pb.WatchResponse.SerializeToString
        )
        handler = grpc.method_handlers_generic_handler("etcdserverpb.Watch", {"Watch": method})
        self._server.add_generic_rpc_handlers((handler,))

    async def __aenter__(self) -> Self:
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def _watch(
        self, requests: AsyncIterator[pb.WatchRequest], _: object
    ) -> AsyncGenerator[pb.WatchResponse, None]:
        async for request in requests:
            if request.HasField("create_request"):
                self.streams += 1
                yield self._response(created=True)
                for number in range(request.create_request.start_revision, self.events + 1):
                    yield self._response(events=[_event(number)])
            elif request.HasField("cancel_request"):
                self.probes += 1  # of a watch that never was: etcd, too, says nothing
            elif not self.is_hung:
                self.questions += 1
                await self.may_answer.wait()
                yield self._response(watch_id=-1)

    def _response(
        self, *, created: bool = False, events: list[pb.Event] | None = None, watch_id: int = 0
    ) -> pb.WatchResponse:
        header = pb.ResponseHeader(cluster_id=self.cluster_id, revision=self.events)
        return pb.WatchResponse(
            header=header, created=created, events=events or [], watch_id=watch_id
        )


def _event(revision: int) -> pb.Event:
    return pb.Event(kv=pb.KeyValue(key=b"/%d" % revision, mod_revision=revision))


@asynccontextmanager
async def watching(
    *members: Member, after: int = 0
) -> AsyncGenerator[AsyncGenerator[Batch, None], None]:
    """Run the members and watch the first one, or whichever the store moves to."""
    async with AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(member)
        endpoints = tuple(member.endpoint for member in members)
        store = await stack.enter_async_context(EtcdStore(EtcdSettings(endpoints=endpoints)))
        while store.endpoint != members[0].endpoint:
            store._endpoints.leave(store._endpoints.current, "")  # noqa: SLF001 - random order
        await stack.enter_async_context(asyncio.timeout(WITHIN_S))
        batches = store.watch(under("/"), after=Revision(after))
        yield await stack.enter_async_context(aclosing(batches))


def of(member: Member) -> EtcdSettings:
    return EtcdSettings(endpoints=(member.endpoint,))


@asynccontextmanager
async def following(store: EtcdStore) -> AsyncGenerator[None, None]:
    """Watch, and let nothing come."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_next(store))
        yield
        task.cancel()


async def _next(store: EtcdStore) -> None:
    async with aclosing(store.watch(under("/"), after=Revision(0))) as batches:
        await anext(batches)


async def test_a_member_that_is_hung_though_its_connection_lives_is_left() -> None:
    hung, healthy = Member(is_hung=True), Member(events=3)
    async with watching(hung, healthy) as batches:
        seen = [(await anext(batches)).revision for _ in range(3)]

    assert seen == [1, 2, 3]
    assert (hung.streams, healthy.streams) == (1, 1)


async def test_a_reader_that_takes_its_time_is_not_taken_for_a_silent_member() -> None:
    member = Member(events=EVENTS)
    async with watching(member) as batches:
        seen = [(await anext(batches)).revision]
        await asyncio.sleep(1.2 * (PULSE_S + ANSWER_S))  # Being slow is what this is about.
        seen += [(await anext(batches)).revision for _ in range(EVENTS - 1)]

    assert seen == list(range(1, EVENTS + 1))
    assert member.streams == 1


async def test_a_member_of_another_cluster_means_that_what_is_known_is_void() -> None:
    hung, stranger = Member(is_hung=True), Member(events=9, cluster_id=2)
    async with watching(hung, stranger) as batches:
        with pytest.raises(CompactedError):
            await anext(batches)


async def test_a_member_that_stays_behind_what_is_known_has_another_history() -> None:
    restored = Member(events=5)
    async with watching(restored, after=9) as batches:
        with pytest.raises(CompactedError):
            await anext(batches)

    assert restored.streams == 1


async def test_a_stream_that_is_cut_while_its_reader_takes_its_time_loses_nothing() -> None:
    async with Member(events=EVENTS) as member, asyncio.timeout(WITHIN_S):
        settings = of(member)
        endpoints = Endpoints(settings.endpoints, None, PATIENT)
        watch = Watch(Calls(endpoints, Login(settings)), under("/"), Revision(0))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch.run())
            await until(lambda: watch.feed.full() and watch._batch is not None, WITHIN_S)  # noqa: SLF001 - what hangs
            endpoints.avoid({"127.0.0.1"})
            await until(lambda: not endpoints.members[0].in_use.is_set(), WITHIN_S)
            seen = [await watch.feed.get() for _ in range(EVENTS)]
            task.cancel()
        await endpoints.close()

    assert [batch.revision for batch in seen if isinstance(batch, Batch)] == [*range(1, EVENTS + 1)]


async def test_another_hosts_member_is_probed_while_a_stream_runs_there() -> None:
    async with Member() as member, EtcdStore(of(member), timing=LAN) as store, following(store):
        await until(lambda: member.probes >= 3, WITHIN_S)


async def test_our_own_hosts_member_is_not_probed() -> None:
    async with (
        Member() as member,
        EtcdStore(of(member), timing=LAN, near="127.0.0.1") as store,
        following(store),
    ):
        # What a watch asks by itself is further apart than probes are.
        await until(lambda: member.questions >= 2, WITHIN_S)

    assert member.probes == 0


async def test_who_stood_still_himself_does_not_take_his_member_for_silent() -> None:
    async with Member() as member, asyncio.timeout(WITHIN_S):
        endpoints = Endpoints((member.endpoint,), None, PATIENT)
        watch = Watch(Calls(endpoints, Login(of(member))), under("/"), Revision(0))
        member.may_answer.clear()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch.run())
            await until(lambda: watch._asked_s is not None, WITHIN_S)  # noqa: SLF001 - a question is open
            time.sleep(2 * ANSWER_S)  # noqa: ASYNC251 - to stand still is what this is about
            member.may_answer.set()
            await until(lambda: watch._asked_s is None, WITHIN_S)  # noqa: SLF001
            task.cancel()
        await endpoints.close()

    assert member.streams == 1
