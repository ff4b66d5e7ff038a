"""What a host must have before anything is started on it; a lack is a line that says what to do."""

import datetime as dt
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from deploy.host import sockets
from deploy.host.needs import missing, needs_of, require_root
from deploy.host.parts import etcd_dir
from shared.errors import HostError
from shared.seal import read_key
from shared.settings import (
    AGENT_PORT,
    API_PORT,
    ETCD_CLIENT_PORT,
    ETCD_PEER_PORT,
    AcmeSettings,
    Settings,
    TlsSettings,
)


def check_host(settings: Settings, *, now: dt.datetime) -> None:
    """Refuse a host on which hafen cannot run.

    Raises:
        HostError: everything that is missing or in the way, one line each.
    """
    require_root("hafen serve")
    problems = [
        *missing(needs_of(settings)),
        *certificate_problems(settings.tls, now=now),
        *key_problems(settings.secrets.key),
        *etcd_dir_problems(etcd_dir(settings)),
        *port_problems(settings),
    ]
    if problems:
        raise HostError("\n".join(problems))


def wanted_ports(settings: Settings) -> Mapping[int, str]:
    """Return the ports that this host's parts listen on, and which part each is for."""
    ports = {AGENT_PORT: "the node agent"}
    if settings.scheduler:
        ports[API_PORT] = "the API"
    if settings.member is not None:
        ports |= {ETCD_CLIENT_PORT: "etcd's clients", ETCD_PEER_PORT: "etcd's members"}
    return ports


def port_problems(settings: Settings) -> list[str]:
    """Return a line for each port that someone else listens on, with who that is where it shows."""
    taken = sockets.listening()
    addresses = {settings.address, "127.0.0.1"}
    problems = []
    for port, purpose in sorted(wanted_ports(settings).items()):
        holder = next((each for each in taken if each.blocks(port, addresses)), None)
        if holder is not None:
            who = sockets.holder_of(holder.inode)
            by = f" by {who}" if who else ""
            problems.append(f"port {port} for {purpose} is taken{by}: stop that first")
    return problems


def etcd_dir_problems(path: Path) -> list[str]:
    """Return why etcd could not use its data directory; a missing or an empty one is fine."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{path} for etcd's data cannot be read: {error.strerror}"]
    if names and "member" not in names:
        return [f"{path} is for etcd's data but holds {names[0]}: move it away"]
    return []


def certificate_problems(tls: TlsSettings | None, *, now: dt.datetime) -> list[str]:
    """Return what is wrong with the certificate files: unreadable, past their time, not a pair."""
    if tls is None:
        return []
    try:
        authority = x509.load_pem_x509_certificate(_read(tls.ca))
        certificate = x509.load_pem_x509_certificate(_read(tls.cert))
        key = serialization.load_pem_private_key(_read(tls.key), password=None)
    except (HostError, ValueError, TypeError) as error:
        return [f"certificates: {error}"]
    problems = [
        f"{path} is valid from {each.not_valid_before_utc} to {each.not_valid_after_utc}, not now"
        for path, each in ((tls.ca, authority), (tls.cert, certificate))
        if not each.not_valid_before_utc <= now <= each.not_valid_after_utc
    ]
    if key.public_key() != certificate.public_key():
        problems.append(f"{tls.key} is not the key of {tls.cert}")
    if stat.S_IMODE(tls.key.stat().st_mode) & 0o077:
        problems.append(f"{tls.key} can be read by others: chmod 600 {tls.key}")
    return problems


def key_problems(path: Path) -> list[str]:
    """Return what is wrong with the key of configs and secrets; a host may do without one."""
    if not path.exists():
        return []
    try:
        read_key(path)
    except HostError as error:
        return [str(error)]
    return []


def acme_problems(acme: AcmeSettings | None) -> list[str]:
    """Return what is wrong with the certificates that an ACME server is to be trusted by.

    No reason to run nothing at all: only what is issued from now on will not be.
    """
    if acme is None or acme.ca is None:
        return []
    try:
        x509.load_pem_x509_certificates(_read(acme.ca))
    except (HostError, ValueError) as error:
        return [f"[acme] ca: {acme.ca} holds no certificates: {error}"]
    return []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
