"""What a certificate and its key are good for, and what a person reads when they are not.

Pure.
"""

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from shared.errors import SpecError
from shared.hosts import host_problem
from shared.pair import Pair

# HAProxy takes a chain and its key as one text into a buffer of 16 KiB, with a command before it.
PEM_BYTES_MAX: Final = 15_000
RSA_BITS_MIN: Final = 2048
_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)


def read_pair(
    chain: bytes, key: bytes, *, chain_file: str = "the chain", key_file: str = "the key"
) -> Pair:
    """Return what a chain and its key say, if they belong together.

    Raises:
        SpecError: names the file and says what to do.
    """
    certificates = _chain(chain, chain_file)
    private = _key(key, key_file)
    _check_match(certificates, private, chain_file, key_file)
    _check_order(certificates, chain_file)
    leaf = certificates[0]
    hosts = names_of(leaf)
    if not hosts:
        raise SpecError(f"{chain_file}: names no host; gateways choose certificates by DNS names")
    text = "".join(pem(one) for one in certificates)
    own = private_pem(private)
    if len(text) + len(own) > PEM_BYTES_MAX:
        raise SpecError(
            f"{chain_file} and its key have {len(text) + len(own)} bytes; {PEM_BYTES_MAX} are the "
            "most: leave the root certificate out, or use an EC key"
        )
    return Pair(
        chain=text,
        key=own,
        hosts=hosts,
        not_before_s=leaf.not_valid_before_utc.timestamp(),
        not_after_s=leaf.not_valid_after_utc.timestamp(),
        issuer=leaf.issuer.rfc4514_string(),
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
    )


def check_dates(pair: Pair, now_s: float, *, chain_file: str = "the chain") -> None:
    """Refuse what nobody would accept today.

    Raises:
        SpecError: names the file and both dates.
    """
    begins, ends = day(pair.not_before_s), day(pair.not_after_s)
    if now_s >= pair.not_after_s:
        raise SpecError(f"{chain_file}: it has expired: valid from {begins} to {ends}")
    if now_s < pair.not_before_s:
        raise SpecError(f"{chain_file}: it is not valid yet: valid from {begins} to {ends}")


def day(at_s: float) -> str:
    """Return a moment as people write it, in UTC."""
    return dt.datetime.fromtimestamp(at_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names of a certificate that a route could have."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    names = [name.lower() for name in found.value.get_values_for_type(x509.DNSName)]
    return tuple(dict.fromkeys(name for name in names if not host_problem(name)))


def covers(hosts: Sequence[str], host: str) -> bool:
    """Say whether a certificate for `hosts` is one for `host`, which may be a wildcard."""
    _, dot, rest = host.partition(".")
    return host in hosts or bool(dot and f"*.{rest}" in hosts)


def _chain(text: bytes, file: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise SpecError(f"{file}: holds no certificate in PEM") from error


def _key(text: bytes, file: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(text, None)
    except TypeError as error:
        raise SpecError(f"{file}: is locked with a password; take it off before") from error
    except ValueError as error:
        raise SpecError(f"{file}: holds no private key in PEM") from error
    if not isinstance(key, _KEYS):
        raise SpecError(f"{file}: browsers know RSA and EC keys only")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS_MIN:
        raise SpecError(f"{file}: an RSA key of {key.key_size} bits; {RSA_BITS_MIN} are the least")
    return key


def _check_match(
    chain: Sequence[x509.Certificate],
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    chain_file: str,
    key_file: str,
) -> None:
    own = _public(key.public_key())
    fits = [number for number, one in enumerate(chain, 1) if _public(one.public_key()) == own]
    if not fits:
        raise SpecError(f"{key_file}: is not the key of {chain_file}")
    if fits[0] != 1:
        raise SpecError(
            f"{chain_file}: the certificate of {key_file} is number {fits[0]}; it comes first"
        )


def _check_order(chain: Sequence[x509.Certificate], file: str) -> None:
    for number, (one, signer) in enumerate(itertools.pairwise(chain), 1):
        try:
            one.verify_directly_issued_by(signer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise SpecError(
                f"{file}: certificate {number + 1} has not signed certificate {number}: each is "
                "followed by its issuer's"
            ) from error


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes"), "it was read as a public key"
    found: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: CertificateIssuerPrivateKeyTypes) -> str:
    """Return a key as text, not encrypted: whoever writes it down seals it, or sees to its mode."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
