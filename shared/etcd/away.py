"""What is done while another host's member of etcd is in use.

That host may vanish, and TCP would not say so before something is sent there: so something is, for
as long as a stream runs. And our own host's member is asked until it serves.
"""

import asyncio
from typing import Final, NoReturn

import grpc
import grpc.aio

from shared.etcd.calls import RANGE, WATCH, Calls
from shared.etcd.endpoints import Member
from shared.etcd.homing import ASK_S
from shared.etcd.proto import etcd_pb2 as pb
from shared.etcd.verdict import FINAL, CallFailedError

# What a member of a cluster with a majority answers once it has all that was written before: a read
# of no key, which is not answered from what it happens to know.
_ANY: Final = pb.RangeRequest(key=b"\0", count_only=True)
# There is no such watch: etcd reads this, answers nothing, and has nothing to write into its log.
_PROBE: Final = pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=1))


class Away:
    """Watches over what runs at other hosts' members; `run` must run beside."""

    def __init__(self, calls: Calls, probe_s: float) -> None:
        """Prepare; `probe_s` lies between two probes of a member."""
        self._calls, self._endpoints, self._probe_s = calls, calls.endpoints, probe_s

    async def run(self) -> NoReturn:
        """Do both until cancelled."""
        async with asyncio.TaskGroup() as group:
            for member in self._endpoints.members:
                if member is not self._endpoints.home:
                    group.create_task(self._probe(member))
            if self._endpoints.home is not None:
                group.create_task(self._seek(self._endpoints.home))
        raise AssertionError("unreachable: none of them ends")

    async def _probe(self, member: Member) -> NoReturn:
        """Send something to a member every so often while a stream runs there.

        Should nobody acknowledge it, the kernel ends the connection, and with it all that goes on
        there. An answer would cost more than all the rest, and say no more.
        """
        while True:
            await member.in_use.wait()
            stream = member.channel.stream_stream(WATCH.path, WATCH.write, WATCH.read)(None)
            try:
                while member.in_use.is_set():
                    await stream.write(_PROBE)
                    await asyncio.sleep(self._probe_s)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The others say why; should there be any, they begin anew elsewhere.
                await asyncio.sleep(self._probe_s)
            finally:
                stream.cancel()

    async def _seek(self, home: Member) -> NoReturn:
        """Come home once our own member has answered for long enough."""
        while True:
            await asyncio.sleep(ASK_S)
            if not self._endpoints.is_away:
                self._endpoints.homing.begin_anew()
                continue
            is_answer = await self._answers(home)
            now_s = asyncio.get_running_loop().time()
            if self._endpoints.homing.told(now_s, is_answer=is_answer):
                self._endpoints.come_home()

    async def _answers(self, home: Member) -> bool:
        try:
            await self._calls.ask(home, RANGE, _ANY)
        except CallFailedError as error:
            # It may well refuse us: so it would a call.
            return error.verdict in FINAL
        return True
