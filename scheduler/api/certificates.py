"""Certificates as people see them, and what is wrong with them.

Pure.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from scheduler.world import World
from shared import keys
from shared.api import CertificateList, CertificateView
from shared.certificates import covers, day
from shared.errors import NotFoundError, SpecError
from shared.hosts import host_problem
from shared.model import Certificate, Origin

# A month's habits have room in it, and a letter to whoever sells certificates.
EXPIRY_DAYS: Final = 21
HOSTS_MAX: Final = 100
_DAY_S: Final = 24 * 3600.0
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


def certificates(world: World, now_s: float) -> CertificateList:
    """Return every certificate, the issued one in the place of the wish for it."""
    found = {
        key.removeprefix(keys.CERTIFICATES): one
        for key, one in world.certificates.items()
        if key.startswith(keys.CERTIFICATES)
    }
    for key, one in world.certificates.items():
        if key.startswith(keys.ISSUED):
            wish = found.get(one.name)
            if wish is None or wish.origin is one.origin:
                found[one.name] = one
    return CertificateList(certificates=tuple(view(one, now_s) for _, one in sorted(found.items())))


def view(one: Certificate, now_s: float) -> CertificateView:
    """Return a certificate without its key."""
    leaf = _leaf(one.chain)
    return CertificateView(
        name=one.name,
        origin=one.origin,
        hosts=one.hosts,
        not_before_s=one.not_before_s,
        not_after_s=one.not_after_s,
        issuer=leaf.issuer.rfc4514_string() if leaf is not None else "",
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex() if leaf is not None else "",
        chain=one.chain,
        problem=problem(one, now_s),
    )


def _leaf(chain: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(chain.encode()) if chain else None
    except ValueError:
        return None


def problem(one: Certificate, now_s: float) -> str:
    """Return what a person should know of a certificate; empty where all is well."""
    said = [f"it could not be renewed: {one.problem}" if one.chain else one.problem]
    if not one.problem:
        said = [] if one.chain else ["it is being issued"]
    if one.chain and now_s >= one.not_after_s:
        said.insert(0, f"it expired on {day(one.not_after_s)}")
    elif one.chain and one.not_after_s - now_s < EXPIRY_DAYS * _DAY_S:
        days = int((one.not_after_s - now_s) / _DAY_S)
        said.insert(0, f"it ends in {days} days, on {day(one.not_after_s)}")
    return "; ".join(said)


def uncovered(world: World) -> Iterator[tuple[str, str]]:
    """Yield (service, host) of every route with TLS that no certificate is for."""
    known = [host for one in world.certificates.values() if one.chain for host in one.hosts]
    for name, state in sorted(world.stacks.items()):
        for spec in state.stack.services:
            hosts = {route.host for route in spec.routes if route.tls.is_on}
            for host in sorted(hosts):
                if not covers(known, host):
                    yield f"{name}.{spec.name}", host


def check_name(name: str) -> None:
    """Refuse a name that cannot be part of a key.

    Raises:
        SpecError: says what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"certificate name {name[:80]!r}: use a-z, 0-9, ., - and _, beginning with a letter or "
            "digit, at most 100 characters"
        )


def check_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts of a wish, each once.

    Raises:
        SpecError: one is no host, or there are none or too many.
    """
    found = tuple(dict.fromkeys(host.lower() for host in hosts))
    if not 0 < len(found) <= HOSTS_MAX:
        raise SpecError(f"{len(found)} hosts; 1 to {HOSTS_MAX} are possible")
    for host in found:
        if why := host_problem(host):
            raise SpecError(why)
    return found


def none_such(world: World, name: str) -> NotFoundError:
    """Return the refusal of a name that nobody has; it says which there are."""
    there = [
        key.removeprefix(keys.CERTIFICATES)
        for key in world.certificates
        if key.startswith(keys.CERTIFICATES)
    ]
    fetched = world.certificates.get(keys.issued(name))
    if fetched is not None and fetched.origin is Origin.ACME:
        return NotFoundError(
            f"{name} is fetched for a route with tls: acme; it goes when no route wants it"
        )
    known = ", ".join(sorted(there)[:20]) or "none"
    return NotFoundError(f"there is no certificate {name[:80]!r}; there are: {known}")
