"""Certificates and closed services, as people bring and see them.

Pure.
"""

from shared.model import Origin, Record


class CertificateUpload(Record, frozen=True, kw_only=True):
    """A certificate and its key, or the wish for one of the cluster's own authority.

    Attributes:
        chain, key: PEM; both empty: the cluster issues one for `hosts`.
    """

    chain: str = ""
    key: str = ""
    hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Keep the key out of every log."""
        return "CertificateUpload(...)"


class CertificateView(Record, frozen=True, kw_only=True):
    """A certificate as people see it; without its key.

    Attributes:
        not_before_s, not_after_s: wall clock; 0 while there is none.
        issuer, fingerprint, chain: empty while there is none.
        problem: what a person should know, one sentence; empty where all is well.
    """

    name: str
    origin: Origin
    hosts: tuple[str, ...] = ()
    not_before_s: float = 0.0
    not_after_s: float = 0.0
    issuer: str = ""
    fingerprint: str = ""
    chain: str = ""
    problem: str = ""


class CertificateList(Record, frozen=True, kw_only=True):
    """Every certificate, sorted by name."""

    certificates: tuple[CertificateView, ...] = ()


class AuthorityView(Record, frozen=True, kw_only=True):
    """The cluster's own authority: what clients have to trust, in PEM; empty: there is none yet."""

    chain: str = ""


class ClosedView(Record, frozen=True, kw_only=True):
    """A stack, or "<stack>.<service>", and whether it answers with a page of excuses."""

    name: str
    is_closed: bool
