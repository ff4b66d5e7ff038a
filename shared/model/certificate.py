"""Certificates that gateways show, and what is closed for a while.

Pure.
"""

import enum

from shared.model.base import Record


class Origin(enum.StrEnum):
    """Who issued a certificate, and so who renews it."""

    FILE = "file"  # a person brought it, and will bring the next one
    CLUSTER = "cluster"  # the cluster's own authority: for those who trust it
    ACME = "acme"  # an authority that asked for proof that the host leads here


class Certificate(Record, frozen=True, kw_only=True):
    """A certificate, or that one is wanted.

    Key: certificates/<name>, writer: the API: what a person brought, or wants from the cluster's
    own authority (then without a chain). Key: issued/<name>, writer: the leader.

    Attributes:
        hosts: that it is for; a wildcard's begins with "*.".
        chain: PEM, the host's own first; empty: there is none yet.
        sealed: its key in PEM, sealed under the record's key in etcd.
        not_before_s, not_after_s: wall clock, from the chain.
        problem: why there is none, or no newer one; one sentence.
        failures: how often in a row it was not to be had.
        next_try_s: wall clock; not before that is it asked for again.
    """

    name: str
    origin: Origin
    hosts: tuple[str, ...] = ()
    chain: str = ""
    sealed: bytes = b""
    not_before_s: float = 0.0
    not_after_s: float = 0.0
    problem: str = ""
    failures: int = 0
    next_try_s: float = 0.0


class Authority(Record, frozen=True, kw_only=True):
    """Whoever issues certificates for the leader: the cluster itself, or an account elsewhere.

    Key: authorities/<name>. Writer: the leader.

    Attributes:
        name: "cluster", or the directory's address, digested.
        chain: of the cluster's own: what clients have to trust, in PEM.
        sealed: its key in PEM, sealed under the record's key in etcd.
        account: its address at an ACME server.
    """

    name: str
    chain: str = ""
    sealed: bytes = b""
    account: str = ""


class Challenge(Record, frozen=True, kw_only=True):
    """What gateways answer to whoever wants proof that a host leads here.

    Key: challenges/<token>, leased. Writer: the leader.
    """

    token: str
    answer: str


class Closed(Record, frozen=True, kw_only=True):
    """A stack or a service answers with a page of excuses.

    Key: closed/<stack>[.<service>]. Writer: the API.

    Attributes:
        since_s: wall clock, for display only.
    """

    name: str
    since_s: float = 0.0
