"""Calls with deadlines: which failure is tried again on which member, and which is told.

A read is tried on one member after the other. A write is sent again only when it certainly was not
carried out; otherwise the caller is told that nobody knows.
"""

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, NamedTuple, NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from shared.backoff import backoff_s
from shared.errors import (
    AmbiguousError,
    CompactedError,
    DeniedError,
    SettingsError,
    UnavailableError,
)
from shared.etcd.endpoints import Endpoints, Member
from shared.etcd.proto import etcd_pb2 as pb
from shared.etcd.verdict import FINAL, MEMBERS_FAULT, CallFailedError, Verdict, failed
from shared.settings import EtcdSettings

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

# All attempts together. Longer than an election with etcd's default timing.
TOTAL_S: Final = 6.0
# When not one member accepts a connection, waiting for the rest of TOTAL_S tells nobody more.
UNREACHABLE_S: Final = 0.8
CONNECT_S: Final = 1.0
# A frozen member costs a read this long; later attempts may take twice as long each, so that a slow
# line gets its answer in the end.
READ_S: Final = 1.0
# A write is not tried again when it times out, so it gets time for a busy disk. Where the profile
# says less: a write that a dying leader took is never answered, and those who write can cope.
WRITE_S: Final = 2.0
_ATTEMPT_S_MIN: Final = 0.1
GIVEN_UP: Final = "its host does not answer"
HOME_AGAIN: Final = "the member on our own host serves again"
_STALE_TOKENS_MAX: Final = 3
_PAUSE_S: Final = 0.02
_PAUSE_S_MAX: Final = 0.3


class Method(NamedTuple, Generic[Q, A]):
    """One method of etcd's API: its path, how its request is written and its answer read."""

    path: str
    write: Callable[[Q], bytes]
    read: Callable[[bytes], A]


def _method(service: str, name: str, request: type[Q], answer: type[A]) -> Method[Q, A]:
    path = f"/etcdserverpb.{service}/{name}"
    return Method(path, request.SerializeToString, answer.FromString)


RANGE: Final = _method("KV", "Range", pb.RangeRequest, pb.RangeResponse)
TXN: Final = _method("KV", "Txn", pb.TxnRequest, pb.TxnResponse)
WATCH: Final = _method("Watch", "Watch", pb.WatchRequest, pb.WatchResponse)
GRANT: Final = _method("Lease", "LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
REVOKE: Final = _method("Lease", "LeaseRevoke", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse)
KEEP_ALIVE: Final = _method(
    "Lease", "LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse
)
AUTHENTICATE: Final = _method(
    "Auth", "Authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse
)
STATUS: Final = _method("Maintenance", "Status", pb.StatusRequest, pb.StatusResponse)


class Timed(NamedTuple, Generic[A]):
    """An answer, and when the request that got it was sent, on the event loop's clock."""

    answer: A
    sent_s: float


class Stream(NamedTuple, Generic[Q, A]):
    """An open stream in both directions, the member at its other end, and the token it shows."""

    member: Member
    call: "grpc.aio.StreamStreamCall[Q, A]"
    token: str


class Login:
    """User, password and the token that etcd gave for them."""

    def __init__(self, settings: EtcdSettings) -> None:
        """Read the password.

        Raises:
            SettingsError: the password file is missing or empty.
        """
        self._user = settings.user
        self._password = _password(settings.password_file) if settings.user else ""
        self._token = ""
        self._one_at_a_time = asyncio.Lock()

    async def token(self, member: Member) -> str:
        """Return the token; empty when the certificate alone says who we are.

        Raises:
            CallFailedError: etcd did not give one. Whatever the token was for was not sent.
        """
        if not self._user or self._token:
            return self._token
        async with self._one_at_a_time:
            if not self._token:
                self._token = await self._authenticate(member)
        return self._token

    def forget(self, token: str) -> None:
        """Drop a token that etcd no longer takes, unless it was replaced since."""
        if self._token == token:
            self._token = ""

    async def _authenticate(self, member: Member) -> str:
        request = pb.AuthenticateRequest(name=self._user, password=self._password)
        try:
            return (await _send(member, AUTHENTICATE, request, READ_S, ())).token
        except CallFailedError as error:
            if error.verdict is Verdict.PERHAPS:
                raise CallFailedError(Verdict.NOT_DONE, error.why) from error
            raise


class Calls:
    """Calls on whichever member answers."""

    def __init__(self, endpoints: Endpoints, login: Login, answer_s: float = WRITE_S) -> None:
        self.endpoints = endpoints
        self.login = login
        self._answer_s = answer_s
        self.rng = random.SystemRandom()

    async def read(self, method: Method[Q, A], request: Q) -> A:
        """Return the answer to a call that may be carried out twice without harm.

        Raises:
            UnavailableError: no member answered in time.
            CompactedError, DeniedError, LeaseLostError, StoreError: etcd's answer.
        """
        return (await self.timed(method, request)).answer

    async def write(self, method: Method[Q, A], request: Q) -> A:
        """Return the answer to a call that must not be carried out twice.

        Raises:
            AmbiguousError: it may have been carried out.
            UnavailableError: it was not.
            DeniedError, LeaseLostError, StoreError: etcd's answer; it was not.
        """
        return (await self.timed(method, request, is_repeatable=False)).answer

    async def timed(
        self, method: Method[Q, A], request: Q, *, is_repeatable: bool = True
    ) -> Timed[A]:
        """Do what `read` or `write` does, and tell when the answered request was sent."""
        loop = asyncio.get_running_loop()
        trial = _Trial(loop.time(), self._answer_s, is_repeatable=is_repeatable)
        for attempt in itertools.count():
            member = self.endpoints.current
            try:
                sent_s = loop.time()
                answer = await self._once(member, method, request, trial.attempt_s(attempt, sent_s))
                return Timed(answer, sent_s)
            except CallFailedError as error:
                trial.note(member, error, loop.time())
            limit_s = min(_PAUSE_S_MAX, trial.left_s(loop.time()))
            await asyncio.sleep(backoff_s(attempt, self.rng, base_s=_PAUSE_S, limit_s=limit_s))
        raise AssertionError("unreachable: the count has no end")

    async def ask(self, member: Member, method: Method[Q, A], request: Q) -> A:
        """Return one particular member's answer to a single attempt.

        Raises:
            CallFailedError: it gave none.
        """
        return await self._once(member, method, request, READ_S)

    async def open(self, method: Method[Q, A], *, connect_s: float = CONNECT_S) -> Stream[Q, A]:
        """Open a stream to the member in use.

        Raises:
            CallFailedError: it cannot be had; the member has been left.
        """
        member = self.endpoints.current
        try:
            await member.connect(connect_s)
            token = await self.login.token(member)
        except CallFailedError as error:
            self.react(member, "", error)
            raise
        opener = member.channel.stream_stream(method.path, method.write, method.read)
        return Stream(member, opener(None, metadata=_metadata(token)), token)

    def react(self, member: Member, token: str, error: CallFailedError) -> None:
        """Do what a failure asks for: drop a stale token, leave a member that fails."""
        if error.verdict is Verdict.STALE_TOKEN:
            self.login.forget(token)
        elif error.verdict in MEMBERS_FAULT:
            self.endpoints.leave(member, error.why)

    async def _once(self, member: Member, method: Method[Q, A], request: Q, attempt_s: float) -> A:
        token = ""
        try:
            await member.connect(min(CONNECT_S, attempt_s))
            token = await self.login.token(member)
            return await _send(member, method, request, attempt_s, _metadata(token))
        except CallFailedError as error:
            self.react(member, token, error)
            raise


class _Trial:
    """The attempts at one call: how long it may still go on, and what to say in the end."""

    def __init__(self, started_s: float, answer_s: float, *, is_repeatable: bool) -> None:
        self._started_s, self._answer_s = started_s, answer_s
        self._is_repeatable = is_repeatable
        self._ever_connected = False
        self._stale_tokens = 0
        self._answers: dict[str, str] = {}

    def attempt_s(self, attempt: int, now_s: float) -> float:
        """Return how many seconds attempt number `attempt`, counted from 0, may take."""
        # The first retry is as short: a read that etcd took while it had no leader is lost.
        read_s = min(READ_S, self._answer_s) * 2.0 ** min(max(attempt - 1, 0), 3)
        wanted_s = read_s if self._is_repeatable else self._answer_s
        return min(wanted_s, max(self._started_s + TOTAL_S - now_s, _ATTEMPT_S_MIN))

    def left_s(self, now_s: float) -> float:
        """Return how many seconds are left for all attempts together."""
        total_s = TOTAL_S if self._ever_connected else UNREACHABLE_S
        return max(self._started_s + total_s - now_s, 0.0)

    def note(self, member: Member, error: CallFailedError, now_s: float) -> None:
        """Remember a failure; raise if the call is over with it."""
        self._answers[member.address] = error.why
        self._ever_connected |= error.verdict is not Verdict.NOT_CONNECTED
        self._stale_tokens += error.verdict is Verdict.STALE_TOKEN
        if error.verdict in FINAL:
            raise FINAL[error.verdict](error.why) from error
        if error.verdict is Verdict.COMPACTED:
            raise CompactedError(0) from error
        if self._stale_tokens >= _STALE_TOKENS_MAX:
            raise DeniedError(f"etcd takes none of its own tokens: {error.why}") from error
        if error.verdict is Verdict.PERHAPS and not self._is_repeatable:
            raise AmbiguousError(
                f"the write may or may not have happened: {member.address}: {error.why}"
            ) from error
        if self.left_s(now_s) <= 0.0:
            self._give_up(error)

    def _give_up(self, error: CallFailedError) -> NoReturn:
        answers = "; ".join(f"{address}: {why}" for address, why in sorted(self._answers.items()))
        raise UnavailableError(f"no etcd member can be used ({answers})") from error


async def _send(
    member: Member,
    method: Method[Q, A],
    request: Q,
    attempt_s: float,
    metadata: tuple[tuple[str, str], ...],
) -> A:
    caller = member.channel.unary_unary(method.path, method.write, method.read)
    call = caller(request, timeout=attempt_s, metadata=metadata)
    given_up = asyncio.Event()

    def give_up() -> None:
        given_up.set()
        call.cancel()

    try:
        with member.ending(give_up):
            answer: A = await call
    except grpc.aio.AioRpcError as error:
        raise failed(error) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if not given_up.is_set() or (task is not None and task.cancelling()):
            raise
        raise CallFailedError(Verdict.PERHAPS, GIVEN_UP) from error
    member.hear(asyncio.get_running_loop().time())
    return answer


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    # `hasleader` makes a member that is cut off from the majority say so, instead of not answering.
    asked = (("hasleader", "true"),)
    return (*asked, ("token", token)) if token else asked


def _password(path: Path | None) -> str:
    if path is None:
        raise SettingsError("etcd.password_file: is missing, but etcd.user is set")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SettingsError(f"etcd.password_file: {path}: {error.strerror}") from error
    if not lines or not lines[0]:
        raise SettingsError(f"etcd.password_file: {path}: its first line is empty")
    return lines[0]
