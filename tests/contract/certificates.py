"""Certificates for tests: a CA, and one certificate of it that is good for 127.0.0.1."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared import signing
from shared.certificates import pem, private_pem
from shared.settings import TlsSettings

_SINCE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_DAYS = 79 * 365
_LOOPBACK = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
_BOTH_ENDS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def make_certificates(folder: Path) -> TlsSettings:
    """Write a new CA, a certificate for both ends of a connection, and its key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = signing.make_authority(f"CA of {folder}"[:60], _SINCE, _DAYS)
    made = signing.issue(
        authority,
        "test member",
        alternatives=[_LOOPBACK],
        usages=_BOTH_ENDS,
        now=_SINCE,
        days=_DAYS,
    )
    tls = TlsSettings(ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem")
    tls.ca.write_text(pem(authority.certificate))
    tls.cert.write_text(pem(made.certificate))
    tls.key.touch(mode=0o600)
    tls.key.write_text(private_pem(made.key))
    return tls
