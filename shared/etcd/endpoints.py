"""The members of an etcd cluster, one gRPC channel each, and which of them is in use.

gRPC could balance over several addresses itself, but then a frozen member gets every n-th call and
each name must be in every certificate. So the choice is made here: one member until it fails.
"""

import asyncio
import math
import random
from typing import Final, NamedTuple

import grpc
import grpc.aio
import structlog

from shared import tls as contexts
from shared.errors import SettingsError
from shared.etcd.verdict import CallFailedError, Verdict
from shared.settings import TlsSettings

_log = structlog.get_logger()

_OPTIONS: Final = (
    # etcd forbids pings more often than every 5 s.
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 2_000),
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


class Files(NamedTuple):
    """What the three files of TlsSettings hold."""

    ca: bytes
    cert: bytes
    key: bytes


class Member:
    """One etcd member and the channel to it, opened on first use."""

    def __init__(self, address: str, files: Files | None) -> None:
        self.address = address
        self._files = files
        self._channel: grpc.aio.Channel | None = None
        self._retired: list[grpc.aio.Channel] = []
        self._heard_s = -math.inf

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
            self._channel = _open(self.address, self._files)
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

    async def close(self) -> None:
        """End every call on this member."""
        for channel in [*self._retired, *([self._channel] if self._channel else [])]:
            await channel.close(None)
        self._retired, self._channel = [], None


class Endpoints:
    """All members, and the one in use.

    Everything of a process uses the same member, so that whoever notices first that it is gone or
    frozen moves everyone. Members are tried in an order of our own, so that clients spread.
    """

    def __init__(self, addresses: tuple[str, ...], tls: TlsSettings | None) -> None:
        """Read the certificates.

        Raises:
            SettingsError: no address, or a file is missing or does not hold what it should.
        """
        if not addresses:
            raise SettingsError("etcd.endpoints: is empty; it needs host:port of every member")
        self._tls = tls
        self._files = None if tls is None else _checked(tls)
        self.members = tuple(Member(address, self._files) for address in addresses)
        self._order = list(self.members)
        random.SystemRandom().shuffle(self._order)

    @property
    def current(self) -> Member:
        """Return the member in use."""
        return self._order[0]

    def leave(self, member: Member, why: str) -> None:
        """Move to the next member, unless someone else has done so since."""
        if self.current is not member:
            return
        self._order.append(self._order.pop(0))
        _log.debug("etcd_member_left", member=member.address, reason=why, now=self.current.address)
        self._renew_certificates()

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


def _open(address: str, files: Files | None) -> grpc.aio.Channel:
    if files is None:
        return grpc.aio.insecure_channel(address, _OPTIONS)
    credentials = grpc.ssl_channel_credentials(files.ca, files.key, files.cert)
    return grpc.aio.secure_channel(address, credentials, _OPTIONS)


def _checked(tls: TlsSettings) -> Files:
    # gRPC would say no more than "invalid credentials" later; this names the file now.
    contexts.client_context(tls)
    return _read(tls)


def _read(tls: TlsSettings) -> Files:
    return Files(tls.ca.read_bytes(), tls.cert.read_bytes(), tls.key.read_bytes())
