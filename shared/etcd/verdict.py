"""What a failed call means: whether it may have been carried out, and who can mend it.

gRPC's status codes do not tell a request that was never sent from one whose answer was lost; etcd's
and gRPC's own words do. Whatever is not known here counts as: it may have happened.
"""

import enum
from typing import Final

import grpc

from shared.errors import DeniedError, LeaseLostError, StoreError

_Code = grpc.StatusCode
_WHY_CHARS_MAX: Final = 200


class Verdict(enum.Enum):
    """What a failure says about the call."""

    NOT_CONNECTED = "not_connected"  # it never left this process
    NOT_DONE = "not_done"  # the member refused it for now; nothing was written
    PERHAPS = "perhaps"  # it may have been carried out
    STALE_TOKEN = "stale_token"  # noqa: S105 - a word, no password. Authenticate, then the same again
    COMPACTED = "compacted"  # the history that was asked for is gone
    DENIED = "denied"  # the credentials do not suffice
    LEASE_GONE = "lease_gone"  # the lease it names has ended
    REFUSED = "refused"  # it can never succeed as it is


# The first line whose code (None: any) and words fit decides. The words are etcd's or gRPC's.
_TABLE: Final[tuple[tuple[_Code | None, str, Verdict], ...]] = (
    (_Code.UNAVAILABLE, "failed to connect to all addresses", Verdict.NOT_CONNECTED),
    (_Code.UNAVAILABLE, "DNS resolution failed", Verdict.NOT_CONNECTED),
    (_Code.UNAVAILABLE, "empty address list", Verdict.NOT_CONNECTED),
    # Asked for by our `hasleader` metadata and checked before anything is proposed.
    (_Code.UNAVAILABLE, "etcdserver: no leader", Verdict.NOT_DONE),
    (_Code.UNAVAILABLE, "etcdserver: not capable", Verdict.NOT_DONE),
    (_Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Verdict.NOT_DONE),
    (_Code.RESOURCE_EXHAUSTED, "database space exceeded", Verdict.NOT_DONE),
    (_Code.RESOURCE_EXHAUSTED, "larger than max", Verdict.REFUSED),
    (_Code.UNAUTHENTICATED, "", Verdict.STALE_TOKEN),
    # Users or roles changed after the token was made; found out before anything is applied.
    (None, "revision of auth store is old", Verdict.STALE_TOKEN),
    (_Code.PERMISSION_DENIED, "", Verdict.DENIED),
    (_Code.INVALID_ARGUMENT, "authentication failed", Verdict.DENIED),
    (_Code.INVALID_ARGUMENT, "user name is empty", Verdict.DENIED),
    (_Code.FAILED_PRECONDITION, "authentication is not enabled", Verdict.DENIED),
    (_Code.NOT_FOUND, "requested lease not found", Verdict.LEASE_GONE),
    (_Code.OUT_OF_RANGE, "has been compacted", Verdict.COMPACTED),
    (_Code.INVALID_ARGUMENT, "", Verdict.REFUSED),
    (_Code.UNIMPLEMENTED, "", Verdict.REFUSED),
)
# Another member may do better. After any other verdict it would say the same.
MEMBERS_FAULT: Final = {Verdict.NOT_CONNECTED, Verdict.NOT_DONE, Verdict.PERHAPS}
FINAL: Final = {
    Verdict.DENIED: DeniedError,
    Verdict.LEASE_GONE: LeaseLostError,
    Verdict.REFUSED: StoreError,
}


class CallFailedError(Exception):
    """One call on one member failed. Never leaves this package.

    Attributes:
        verdict: what it means.
        why: the member's answer on one line.
    """

    def __init__(self, verdict: Verdict, why: str) -> None:
        super().__init__(why)
        self.verdict, self.why = verdict, why


def judge(code: grpc.StatusCode, words: str) -> Verdict:
    """Return what a failure with this code and these words means."""
    for its_code, its_words, verdict in _TABLE:
        if its_code in {None, code} and its_words in words:
            return verdict
    return Verdict.PERHAPS


def failed(error: grpc.aio.AioRpcError) -> CallFailedError:
    """Return gRPC's error as ours."""
    words = error.details() or ""
    return CallFailedError(judge(error.code(), words), _on_one_line(error.code(), words))


def judge_cancelled_watch(reason: str) -> Verdict:
    """Return what it means that etcd cancelled a watch; it says so in words only."""
    if "PermissionDenied" in reason or "permission denied" in reason:
        return Verdict.DENIED
    if "Unauthenticated" in reason or "invalid auth token" in reason:
        return Verdict.STALE_TOKEN
    return Verdict.NOT_DONE


def _on_one_line(code: grpc.StatusCode, words: str) -> str:
    """Return what a person needs of an error: gRPC puts the cause behind "last error"."""
    cause = words.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")
    text = " ".join(cause.split())[:_WHY_CHARS_MAX]
    return text or code.name.lower()
