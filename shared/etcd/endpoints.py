"""The members of an etcd cluster, one gRPC channel each, and which of them is in use.

gRPC could balance over several addresses itself, but then a frozen member gets every n-th call and
each name must be in every certificate. So the choice is made here: one member until it fails.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Final, NamedTuple

import grpc
import grpc.aio
import structlog

from shared import tls as contexts
from shared.errors import SettingsError
from shared.etcd.homing import Homing
from shared.etcd.verdict import CallFailedError, Verdict
from shared.settings import TlsSettings
from shared.timing import Timing

_log = structlog.get_logger()

_OPTIONS: Final = (
    # etcd forbids pings more often than every 5 s.
    ("grpc.keepalive_time_ms", 6_000),
    # Without this nothing happens until a ping has gone unanswered for 60 s, whatever stands above.
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),
    # Two stores in one process must not share a connection: they may have other certificates.
    ("grpc.use_local_subchannel_pool", 1),
    # etcd is reached directly, whatever proxy the environment names for the web.
    ("grpc.enable_http_proxy", 0),
)


# TCP_USER_TIMEOUT counts from the first time that the kernel's timer sends again; measured so long
# after the packet itself, round trips aside. Before that it only probes for a lost tail.
_RESENT_S: Final = 0.42


class Files(NamedTuple):
    """What the three files of TlsSettings hold."""

    ca: bytes
    cert: bytes
    key: bytes


class Member:
    """One etcd member and the channel to it, opened on first use."""

    def __init__(self, address: str, files: Files | None, silent_s: float) -> None:
        self.address = address
        self._files, self._silent_s = files, silent_s
        self.in_use = asyncio.Event()  # a stream runs here
        self._streams: dict[Callable[[], object], None] = {}
        self._channel: grpc.aio.Channel | None = None
        self._retired: list[grpc.aio.Channel] = []
        self._heard_s = -math.inf
        self._under_way: dict[Callable[[], object], None] = {}

    @property
    def host(self) -> str:
        """Return the host of the address."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def heard_s(self) -> float:
        """Return when the member last answered anything, on the event loop's clock."""
        return self._heard_s

    def hear(self, now_s: float) -> None:
        """Note that the member answered."""
        self._heard_s = now_s

    @property
    def channel(self) -> grpc.aio.Channel:
        """Return the channel; needs a running event loop."""
        if self._channel is None:
            self._channel = _open(self.address, self._files, self._silent_s)
        return self._channel

    def renew(self, files: Files) -> None:
        """Use other certificates for everything that begins from now on."""
        self._files = files
        if self._channel is not None:
            # Closing it now would cancel calls that still run on it.
            self._retired.append(self._channel)
            self._channel = None

    async def connect(self, within_s: float) -> None:
        """Return when the channel is connected, or when a call on it would fail at once.

        So a request is only handed to gRPC when it can be sent: one that waits inside a channel
        that never connects would look as if it might have arrived.

        Raises:
            CallFailedError: neither happened in time.
        """
        channel = self.channel
        settled = {
            grpc.ChannelConnectivity.READY,
            grpc.ChannelConnectivity.TRANSIENT_FAILURE,
            grpc.ChannelConnectivity.SHUTDOWN,
        }
        try:
            async with asyncio.timeout(within_s):
                while (state := channel.get_state(try_to_connect=True)) not in settled:
                    await channel.wait_for_state_change(state)
        except TimeoutError as error:
            why = f"no connection within {within_s:.1f} s"
            raise CallFailedError(Verdict.NOT_CONNECTED, why) from error

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Inside, `end` is called when this member is given up from outside."""
        self._under_way[end] = None
        try:
            yield
        finally:
            del self._under_way[end]

    @contextmanager
    def carrying(self, end: Callable[[], object], move: Callable[[], object]) -> Iterator[None]:
        """Inside, a stream runs here: `end` as in `ending`; `move` when it should go elsewhere."""
        with self.ending(end):
            self._streams[move] = None
            self.in_use.set()
            try:
                yield
            finally:
                del self._streams[move]
                if not self._streams:
                    self.in_use.clear()

    def move(self) -> None:
        """Have the streams that run here begin anew at the member in use."""
        for move in tuple(self._streams):
            move()

    def give_up(self) -> None:
        """End what is under way here: its host is gone, and TCP would not say so for long."""
        for end in tuple(self._under_way):
            end()

    async def close(self) -> None:
        """End every call on this member."""
        for channel in [*self._retired, *([self._channel] if self._channel else [])]:
            await channel.close(None)
        self._retired, self._channel = [], None


class Endpoints:
    """All members, and the one in use.

    Everything of a process uses the same member, so that whoever notices first that it is gone or
    frozen moves everyone. The member on our own host comes first: the end of another host then
    costs nothing. The others are tried in an order of our own, so that clients spread.
    """

    def __init__(
        self, addresses: tuple[str, ...], tls: TlsSettings | None, timing: Timing, *, near: str = ""
    ) -> None:
        """Read the certificates.

        Args:
            addresses: host:port of every member.
            tls: None: no encryption.
            timing: of the cluster's profile.
            near: our own host; a member there is preferred.

        Raises:
            SettingsError: no address, or a file is missing or does not hold what it should.
        """
        if not addresses:
            raise SettingsError("etcd.endpoints: is empty; it needs host:port of every member")
        self._tls = tls
        self._files = None if tls is None else _checked(tls)
        self.members = tuple(
            Member(address, self._files, timing.etcd_silent_s) for address in addresses
        )
        self._order = list(self.members)
        random.SystemRandom().shuffle(self._order)
        self.home = next((m for m in self.members if near and m.host == near), None)
        self.homing = Homing(timing.etcd_home_s)
        self._avoided: frozenset[str] = frozenset()
        if self.home is not None:
            self._put_first(self.home)

    @property
    def current(self) -> Member:
        """Return the member in use."""
        return self._order[0]

    @property
    def is_away(self) -> bool:
        """Say whether another host's member is in use, or a stream runs there, for want of ours."""
        if self.home is None or self._is_avoided(self.home):
            return False
        others = (member for member in self.members if member is not self.home)
        return self.current is not self.home or any(each.in_use.is_set() for each in others)

    def come_home(self) -> None:
        """Use our own host's member again, and have the streams that run at others' move there."""
        if self.home is None or self._is_avoided(self.home):
            return
        self._put_first(self.home)
        _log.debug("etcd_member_again", member=self.home.address)
        for member in self.members:
            if member is not self.home:
                member.move()

    def leave(self, member: Member, why: str) -> None:
        """Move to the next member, unless someone else has done so since."""
        if self._order[0] is not member:
            return
        if member is self.home:
            self.homing.begin_anew()
        self._order.append(self._order.pop(0))
        self._order.sort(key=self._is_avoided)
        _log.debug(
            "etcd_member_left", member=member.address, reason=why, now=self._order[0].address
        )
        self._renew_certificates()

    def avoid(self, hosts: AbstractSet[str]) -> None:
        """Use no member on these hosts while there is another; end what is under way there."""
        fresh = frozenset(hosts) - self._avoided
        self._avoided = frozenset(hosts)
        self._order.sort(key=self._is_avoided)
        for member in self.members:
            if member.host in fresh:
                _log.debug("etcd_member_avoided", member=member.address)
                member.give_up()

    def _is_avoided(self, member: Member) -> bool:
        return member.host in self._avoided

    def _put_first(self, member: Member) -> None:
        self._order.remove(member)
        self._order.insert(0, member)

    async def close(self) -> None:
        """Close all channels."""
        for member in self.members:
            await member.close()

    def _renew_certificates(self) -> None:
        """Take new certificates up after a failure: the old ones' end may have been its cause."""
        if self._tls is None:
            return
        try:
            files = _read(self._tls)
        except OSError as error:
            _log.warning("etcd_certificate_unreadable", reason=str(error))
            return
        if files != self._files:
            self._files = files
            for member in self.members:
                member.renew(files)


def _open(address: str, files: Files | None, silent_s: float) -> grpc.aio.Channel:
    # gRPC makes this the connection's TCP_USER_TIMEOUT, too: what was sent and is not acknowledged
    # for so long ends it. It is the kernel at the other end that acknowledges, and the one at ours
    # that counts: a process that stands still, here or there, is not taken for a host that is gone.
    options = (*_OPTIONS, ("grpc.keepalive_timeout_ms", round(1000 * (silent_s - _RESENT_S))))
    if files is None:
        return grpc.aio.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(files.ca, files.key, files.cert)
    return grpc.aio.secure_channel(address, credentials, options)


def _checked(tls: TlsSettings) -> Files:
    # gRPC would say no more than "invalid credentials" later; this names the file now.
    contexts.client_context(tls)
    return _read(tls)


def _read(tls: TlsSettings) -> Files:
    return Files(tls.ca.read_bytes(), tls.cert.read_bytes(), tls.key.read_bytes())
