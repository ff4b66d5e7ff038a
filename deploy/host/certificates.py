"""Certificates: one authority per cluster, one certificate per node, one for the operator.

Keys are written with mode 0600 before a byte of them is on disk; nothing here prints or logs a key.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from deploy.host.files import write_file
from shared import signing
from shared.certificates import pem, private_pem
from shared.errors import SettingsError
from shared.signing import Signed

_KEY_MODE: Final = 0o600
_CERT_MODE: Final = 0o644


class Issued(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A cluster's certificate authority: whoever has its key can make a member of the cluster."""

    def __init__(self, signed: Signed) -> None:
        self._signed = signed

    @classmethod
    def make(cls, name: str, *, now: dt.datetime, valid_days: int) -> "Authority":
        """Make a new authority that is valid for `valid_days` from `now` (an aware time)."""
        return cls(signing.make_authority(name, now, valid_days))

    @classmethod
    def load(cls, certificate: Path, key: Path) -> "Authority":
        """Read an authority back from its two PEM files.

        Raises:
            SettingsError: a file cannot be read or is not what it should be.
        """
        try:
            loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
            parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(f"certificate authority {certificate}, {key}: {error}") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise SettingsError(f"{key}: not an elliptic-curve key")
        return cls(Signed(parsed, loaded))

    @property
    def certificate(self) -> bytes:
        """Return the authority's own certificate, PEM; this is what everyone may know."""
        return pem(self._signed.certificate).encode()

    def issue_node(self, node: str, address: str, *, now: dt.datetime, valid_days: int) -> Issued:
        """Make a node's certificate: good for serving and for asking."""
        names: list[x509.GeneralName] = [
            x509.DNSName(node),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address(address)),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(node, names, usages, now=now, valid_days=valid_days)

    def issue_operator(self, name: str, *, now: dt.datetime, valid_days: int) -> Issued:
        """Make a person's certificate: good for asking only."""
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(name, [], usages, now=now, valid_days=valid_days)

    def write(self, certificate: Path, key: Path) -> None:
        """Write both PEM files, the key with mode 0600."""
        write_file(key, private_pem(self._signed.key).encode(), _KEY_MODE)
        write_file(certificate, self.certificate, _CERT_MODE)

    def _issue(
        self,
        name: str,
        alternatives: Sequence[x509.GeneralName],
        usages: Sequence[x509.ObjectIdentifier],
        *,
        now: dt.datetime,
        valid_days: int,
    ) -> Issued:
        made = signing.issue(
            self._signed,
            name,
            alternatives=alternatives,
            usages=usages,
            now=now,
            days=valid_days,
        )
        return Issued(pem(made.certificate).encode(), private_pem(made.key).encode())


def write_issued(issued: Issued, certificate: Path, key: Path) -> None:
    """Write a certificate (0644) and its key (0600)."""
    write_file(key, issued.key, _KEY_MODE)
    write_file(certificate, issued.certificate, _CERT_MODE)
