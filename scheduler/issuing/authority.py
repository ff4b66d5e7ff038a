"""The cluster's own authority for certificates of hosts inside an organisation.

It is not the authority of the cluster's hosts: whoever trusts this one trusts no host.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared import signing
from shared.certificates import pem, private_pem
from shared.signing import Signed

AUTHORITY_DAYS: Final = 3650
# Renewed when a third is left: a cluster may be off for a month and still serve.
CERTIFICATE_DAYS: Final = 90
_COMMON_NAME_MAX: Final = 64


class Made(msgspec.Struct, frozen=True):
    """A certificate and its key in PEM; the key is never shown."""

    chain: str
    key: str

    def __repr__(self) -> str:
        return "Made(...)"


def make_authority(name: str, now_s: float) -> Made:
    """Return a new authority."""
    made = signing.make_authority(name[:_COMMON_NAME_MAX], _time(now_s), AUTHORITY_DAYS)
    return Made(pem(made.certificate), private_pem(made.key))


def issue(
    authority: Made, hosts: Sequence[str], now_s: float, days: int = CERTIFICATE_DAYS
) -> Made:
    """Return a certificate for `hosts`, the authority's own behind it, and a new key.

    Raises:
        ValueError: the authority is none.
    """
    signer = x509.load_pem_x509_certificate(authority.chain.encode())
    own = serialization.load_pem_private_key(authority.key.encode(), None)
    if not isinstance(own, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is no elliptic-curve key")  # noqa: TRY004 - its type is content
    made = signing.issue(
        Signed(signer, own),
        hosts[0][:_COMMON_NAME_MAX],
        alternatives=[x509.DNSName(host) for host in hosts],
        usages=[ExtendedKeyUsageOID.SERVER_AUTH],
        now=_time(now_s),
        days=days,
    )
    return Made(pem(made.certificate) + authority.chain, private_pem(made.key))


def _time(now_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(now_s, dt.UTC)
