"""What a certificate and its key are refused for, and what is read from those that are good."""

import datetime as dt
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from scheduler.issuing.authority import Made, issue, make_authority
from shared.certificates import check_dates, covers, read_pair
from shared.errors import SpecError

NOW_S = dt.datetime(2026, 11, 25, tzinfo=dt.UTC).timestamp()
AUTHORITY = make_authority("test", NOW_S)
GOOD = issue(AUTHORITY, ["shop.example.org", "*.example.org"], NOW_S, 90)
OTHER = issue(make_authority("other", NOW_S), ["b.test"], NOW_S, 90)
LEAF = GOOD.chain.removesuffix(AUTHORITY.chain)


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> str:
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        lock = serialization.BestAvailableEncryption(password)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
    ).decode()


def test_what_is_good_is_read() -> None:
    found = read_pair(f"\n# a comment\n\n{GOOD.chain}\n".encode(), GOOD.key.encode())
    assert (found.chain, found.key) == (GOOD.chain, GOOD.key)
    assert found.hosts == ("shop.example.org", "*.example.org")
    assert found.not_after_s - found.not_before_s == 90 * 86400 + 300
    assert (found.issuer, len(found.fingerprint)) == ("CN=test", 64)
    assert GOOD.key not in repr(found)
    check_dates(found, NOW_S)


SMALL: Callable[[], str] = lambda: pem(rsa.generate_private_key(65537, 1024))  # noqa: E731, S505


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Made("", GOOD.key), "c.pem: holds no certificate in PEM"),
        (Made("-----BEGIN CERTIFICATE-----\nx\n", GOOD.key), "c.pem: holds no certificate"),
        (Made(GOOD.chain, "x"), "k.pem: holds no private key in PEM"),
        (
            Made(GOOD.chain, pem(ed25519.Ed25519PrivateKey.generate(), b"secret")),
            "k.pem: is locked with a password; take it off before",
        ),
        (Made(GOOD.chain, pem(ed25519.Ed25519PrivateKey.generate())), "k.pem: browsers know RSA"),
        (Made(GOOD.chain, SMALL()), "k.pem: an RSA key of 1024 bits; 2048 are the least"),
        (Made(GOOD.chain, OTHER.key), "k.pem: is not the key of c.pem"),
        (Made(AUTHORITY.chain + LEAF, GOOD.key), "the certificate of k.pem is number 2; it comes"),
        (
            Made(LEAF + OTHER.chain, GOOD.key),
            "c.pem: certificate 2 has not signed certificate 1",
        ),
        (AUTHORITY, "c.pem: names no host"),
        (Made(GOOD.chain + AUTHORITY.chain * 30, GOOD.key), "bytes; 15000 are the most"),
    ],
)
def test_what_is_not_is_refused_by_file(made: Made, said: str) -> None:
    with pytest.raises(SpecError, match=r".") as refused:
        read_pair(made.chain.encode(), made.key.encode(), chain_file="c.pem", key_file="k.pem")
    assert said in str(refused.value)


def test_the_dates_are_named() -> None:
    pair = read_pair(GOOD.chain.encode(), GOOD.key.encode())
    begins, ends = "2026-11-24 23:55 UTC", "2027-02-23 00:00 UTC"
    with pytest.raises(SpecError, match=f"c.pem: it has expired: valid from {begins} to {ends}"):
        check_dates(pair, pair.not_after_s, chain_file="c.pem")
    with pytest.raises(SpecError, match="it is not valid yet"):
        check_dates(pair, pair.not_before_s - 1, chain_file="c.pem")


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [
        (["a.org"], "a.org", True),
        (["*.org"], "a.org", True),
        (["*.org"], "b.a.org", False),
        (["a.org"], "b.org", False),
        (["*.a.org"], "*.a.org", True),
        ([], "org", False),
    ],
)
def test_what_a_certificate_is_for(hosts: list[str], host: str, *, expected: bool) -> None:
    assert covers(hosts, host) is expected
