"""What a failure means: only what certainly did not happen may be sent again."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.etcd.verdict import Verdict, judge, judge_cancelled_watch

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "words", "verdict"),
    [
        (
            Code.UNAVAILABLE,
            "failed to connect to all addresses; last error: UNKNOWN: Connection refused",
            Verdict.NOT_CONNECTED,
        ),
        (Code.UNAVAILABLE, "DNS resolution failed for m1:2379", Verdict.NOT_CONNECTED),
        (Code.UNAVAILABLE, "etcdserver: no leader", Verdict.NOT_DONE),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Verdict.NOT_DONE),
        (
            Code.RESOURCE_EXHAUSTED,
            "etcdserver: mvcc: database space exceeded",
            Verdict.NOT_DONE,
        ),
        (Code.UNAVAILABLE, "Socket closed", Verdict.PERHAPS),
        (Code.UNAVAILABLE, "etcdserver: request timed out", Verdict.PERHAPS),
        (
            Code.UNAVAILABLE,
            "etcdserver: request timed out, possibly due to previous leader failure",
            Verdict.PERHAPS,
        ),
        (Code.UNAVAILABLE, "etcdserver: leader changed", Verdict.PERHAPS),
        (Code.UNAVAILABLE, "etcdserver: server stopped", Verdict.PERHAPS),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", Verdict.PERHAPS),
        (Code.INTERNAL, "Received RST_STREAM with error code 2", Verdict.PERHAPS),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", Verdict.STALE_TOKEN),
        (
            Code.INVALID_ARGUMENT,
            "etcdserver: revision of auth store is old",
            Verdict.STALE_TOKEN,
        ),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Verdict.DENIED),
        (
            Code.INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
            Verdict.DENIED,
        ),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", Verdict.LEASE_GONE),
        (
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
            Verdict.COMPACTED,
        ),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", Verdict.REFUSED),
    ],
)
def test_the_words_of_etcd_and_grpc_decide(code: Code, words: str, verdict: Verdict) -> None:
    assert judge(code, words) is verdict


@given(st.sampled_from([Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNKNOWN]), st.text())
def test_words_nobody_knows_may_mean_that_it_happened(code: Code, words: str) -> None:
    assert judge(code, "unheard of: " + words) is Verdict.PERHAPS


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
            Verdict.DENIED,
        ),
        (
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
            Verdict.STALE_TOKEN,
        ),
        ("", Verdict.NOT_DONE),
        ("etcdserver: no leader", Verdict.NOT_DONE),
    ],
)
def test_a_cancelled_watch_tells_its_reason_in_words(reason: str, verdict: Verdict) -> None:
    assert judge_cancelled_watch(reason) is verdict
