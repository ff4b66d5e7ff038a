"""Certificates and requests as tables and lines for people.

Pure.
"""

import datetime as dt
from collections.abc import Iterable

from deploy.render import Column, Table
from shared.api import AccessEntry, CertificateView
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


def access_line(one: AccessEntry) -> str:
    """Return one request that a gateway carried."""
    at = dt.datetime.fromtimestamp(one.at_ms / 1000, dt.UTC).isoformat(timespec="milliseconds")
    parts = {"waited": one.wait_ms, "connected": one.connect_ms, "answered": one.answer_ms}
    took = ", ".join(f"{word} {ms}" for word, ms in parts.items() if ms > 0)
    return _printable(
        f"{at.removesuffix('+00:00')}Z {one.node} | {one.service} {one.client} {one.method}"
        f" {one.host}{one.path} {one.status} from {one.replica} {one.address},"
        f" {one.bytes} B in {one.all_ms} ms{f' ({took})' if took else ''}"
    )


def _printable(text: str) -> str:
    """Return a text that no client can steer a terminal with."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
