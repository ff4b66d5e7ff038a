"""Certificates that fit work; those that do not are named by file before anybody connects."""

import datetime as dt
import ssl
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization as pem

from deploy.host.certificates import Authority, Issued
from shared.errors import SettingsError
from shared.settings import TlsSettings
from shared.tls import client_context, server_context

NOW = dt.datetime.now(dt.UTC)


def authority() -> Authority:
    return Authority.make("test", now=NOW, valid_days=1)


def files(folder: Path, made: Authority, issued: Issued) -> TlsSettings:
    tls = TlsSettings(ca=folder / "ca.crt", cert=folder / "it.crt", key=folder / "it.key")
    tls.ca.write_bytes(made.certificate)
    tls.cert.write_bytes(issued.certificate)
    tls.key.write_bytes(issued.key)
    return tls


@pytest.fixture(name="tls")
def _tls(tmp_path: Path) -> TlsSettings:
    made = authority()
    return files(tmp_path, made, made.issue_node("node-1", "127.0.0.1", now=NOW, valid_days=1))


def test_a_server_demands_a_certificate_and_a_modern_version(tls: TlsSettings) -> None:
    context = server_context(tls)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_client_checks_the_servers_certificate_and_name(tls: TlsSettings) -> None:
    context = client_context(tls)

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def refusal(tls: TlsSettings) -> str:
    with pytest.raises(SettingsError) as refused:
        server_context(tls)
    return str(refused.value)


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_a_missing_file_is_named(tls: TlsSettings, name: str) -> None:
    path: Path = getattr(tls, name)
    path.unlink()

    assert refusal(tls) == f"tls.{name}: {path}: No such file or directory"


def test_a_folder_is_no_file(tls: TlsSettings, tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(tls, key=tmp_path)

    assert refusal(wrong) == f"tls.key: {tmp_path}: Is a directory"


def test_an_authority_that_is_no_certificate_is_named(tls: TlsSettings) -> None:
    tls.ca.write_text("nothing")

    assert refusal(tls) == f"tls.ca: {tls.ca}: holds no certificate in PEM"


def test_a_certificate_that_is_none_is_named(tls: TlsSettings) -> None:
    tls.cert.write_text("nothing")

    assert refusal(tls) == f"tls.cert: {tls.cert}: holds no certificate in PEM"


def test_a_key_that_is_none_is_named(tls: TlsSettings) -> None:
    tls.key.write_text("nothing")

    assert refusal(tls) == (
        f"tls.key: {tls.key}: holds no private key in PEM that belongs to {tls.cert}"
    )


def test_a_key_of_another_certificate_is_named(tls: TlsSettings) -> None:
    other = authority().issue_operator("other", now=NOW, valid_days=1)
    tls.key.write_bytes(other.key)

    assert refusal(tls) == f"tls.key: {tls.key}: is not the key of the certificate {tls.cert}"


def test_a_locked_key_is_refused_without_asking_on_the_terminal(tls: TlsSettings) -> None:
    key = pem.load_pem_private_key(tls.key.read_bytes(), password=None)
    locked = key.private_bytes(
        pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret")
    )
    tls.key.write_bytes(locked)

    assert refusal(tls) == (
        f"tls.key: {tls.key}: is locked with a passphrase; store it without one, mode 0600"
    )
