"""The cluster's own authority for certificates of hosts inside an organisation.

ECDSA on P-256: a key is made in about a millisecond, handshakes are cheap, and a chain of two is
small. It is not the authority of the cluster's hosts: whoever trusts this one trusts no host.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS: Final = 3650
# Renewed when a third is left: a cluster may be off for a month and still serve.
CERTIFICATE_DAYS: Final = 90
# Hosts' clocks differ.
_CLOCK_SKEW: Final = dt.timedelta(minutes=5)
_COMMON_NAME_MAX: Final = 64


class Made(msgspec.Struct, frozen=True):
    """A certificate and its key in PEM; the key is never shown."""

    chain: str
    key: str

    def __repr__(self) -> str:
        return "Made(...)"


def make_authority(name: str, now_s: float) -> Made:
    """Return a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _begun(subject, subject, key.public_key(), now_s, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
    )
    return Made(_pem(builder.sign(key, hashes.SHA256())), private_pem(key))


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
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(host) for host in hosts]
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        _begun(_name(hosts[0]), signer.subject, key.public_key(), now_s, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False
        )
    )
    return Made(_pem(builder.sign(own, hashes.SHA256())) + authority.chain, private_pem(key))


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a key as it is sealed."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_s: float, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(now_s, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:_COMMON_NAME_MAX])])


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
