"""Certificates as tables and lines for people.

Pure.
"""

from collections.abc import Iterable

from deploy.render import Column, Table
from shared.api import CertificateView
from shared.certificates import day


def certificate_table(certificates: Iterable[CertificateView]) -> Table:
    """Return certificates with what they are for and until when."""
    columns = (
        Column("CERTIFICATE"),
        Column("HOSTS"),
        Column("FROM"),
        Column("ENDS"),
        Column("NOTES"),
    )
    rows = tuple(
        (
            one.name,
            ", ".join(one.hosts),
            one.origin.value,
            day(one.not_after_s) if one.chain else "-",
            one.problem,
        )
        for one in certificates
    )
    return Table(columns, rows)


def certificate_lines(one: CertificateView) -> Iterable[str]:
    """Return everything about one certificate but its chain."""
    yield f"{one.name}: {', '.join(one.hosts)}"
    if one.chain:
        yield f"valid from {day(one.not_before_s)} to {day(one.not_after_s)}"
        yield f"issued by {one.issuer}"
        yield f"SHA-256 {one.fingerprint}"
    if one.problem:
        yield one.problem
