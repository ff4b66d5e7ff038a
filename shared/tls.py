"""Settings to TLS contexts: both sides show a certificate of the cluster's CA, or nobody talks.

The files are read once, when a context is made. Everything that can be wrong with them is a
SettingsError that names the file, because what OpenSSL says of a missing key helps nobody.
"""

import ssl
from pathlib import Path
from typing import Final, NoReturn

from shared.errors import SettingsError
from shared.settings import TlsSettings

_VERSION_MIN: Final = ssl.TLSVersion.TLSv1_2


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the context of a listener that refuses every client without a certificate of our CA.

    Raises:
        SettingsError: a file is missing, unreadable, not PEM, or key and certificate do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _filled(context, tls)


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the context of a client that shows its certificate and checks the server's.

    Raises:
        SettingsError: as `server_context`.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _filled(context: ssl.SSLContext, tls: TlsSettings) -> ssl.SSLContext:
    context.minimum_version = _VERSION_MIN
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        _check_readable(name, path)
    try:
        context.load_verify_locations(cafile=tls.ca)
    except ssl.SSLError as error:
        raise SettingsError(f"tls.ca: {tls.ca}: holds no certificate in PEM") from error
    try:
        # Without a password callback OpenSSL would ask on the terminal of a daemon.
        context.load_cert_chain(tls.cert, tls.key, password=lambda: _refuse_password(tls.key))
    except ssl.SSLError as error:
        raise SettingsError(_why_no_pair(tls, error)) from error
    return context


def _check_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise SettingsError(f"tls.{name}: {path}: {error.strerror}") from error


def _refuse_password(key: Path) -> NoReturn:
    raise SettingsError(
        f"tls.key: {key}: is locked with a passphrase; store it without one, mode 0600"
    )


def _why_no_pair(tls: TlsSettings, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"tls.key: {tls.key}: is not the key of the certificate {tls.cert}"
    if "BEGIN CERTIFICATE" not in tls.cert.read_text(errors="replace"):
        return f"tls.cert: {tls.cert}: holds no certificate in PEM"
    return f"tls.key: {tls.key}: holds no private key in PEM that belongs to {tls.cert}"
