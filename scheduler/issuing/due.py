"""Which certificates the leader should have issued now, and when it looks again.

Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from scheduler.world import World
from shared import keys
from shared.model import Certificate, Origin, RouteTls

# From a third before the end on: a month of tries for the usual 90 days.
RENEW_SHARE: Final = 1 / 3
# Public authorities allow five failures an hour for a host: at 0, 15 and 45 minutes is three.
_RETRY_FIRST_S: Final = 900.0
_RETRY_S_MAX: Final = 24 * 3600.0
_DOUBLINGS_MAX: Final = 10
# No name of a person's can begin so.
ACME_PREFIX: Final = "acme:"


class Wish(msgspec.Struct, frozen=True):
    """A certificate that somebody wants from the leader."""

    name: str
    origin: Origin
    hosts: tuple[str, ...]


class Due(msgspec.Struct, frozen=True):
    """One that is to be issued now; `before` is what there is of it."""

    wish: Wish
    before: Certificate | None = None


def wishes(world: World) -> dict[str, Wish]:
    """Return every wish: people's for the cluster's own authority, and routes' for ACME."""
    found = {
        one.name: Wish(one.name, one.origin, one.hosts)
        for key, one in world.certificates.items()
        if key.startswith(keys.CERTIFICATES) and one.origin is Origin.CLUSTER
    }
    for host in sorted(_acme_hosts(world)):
        name = ACME_PREFIX + host
        found[name] = Wish(name, Origin.ACME, (host,))
    return found


def _acme_hosts(world: World) -> Iterator[str]:
    for state in world.stacks.values():
        for spec in state.stack.services:
            yield from (route.host for route in spec.routes if route.tls is RouteTls.ACME)


def due(world: World, now_s: float) -> tuple[Due, ...]:
    """Return what is to be issued now, the longest overdue first."""
    issued = _issued(world)
    found = [Due(wish, issued.get(name)) for name, wish in wishes(world).items()]
    ready = [one for one in found if _is_due(one, now_s)]
    return tuple(sorted(ready, key=lambda one: (_ends_s(one), one.wish.name)))


def unwanted(world: World, now_s: float) -> tuple[str, ...]:
    """Return the names of what was issued and nobody wants any more.

    What another authority issued stays until it ends: a route that comes back finds it there.
    """
    wanted = wishes(world)
    return tuple(
        name
        for name, one in sorted(_issued(world).items())
        if name not in wanted and (one.origin is not Origin.ACME or now_s >= one.not_after_s)
    )


def _issued(world: World) -> Mapping[str, Certificate]:
    return {one.name: one for key, one in world.certificates.items() if key.startswith(keys.ISSUED)}


def _is_due(one: Due, now_s: float) -> bool:
    before = one.before
    if before is None or before.origin is not one.wish.origin:
        return True
    if before.hosts != one.wish.hosts and not before.failures:
        return True
    return now_s >= before.next_try_s and (not before.chain or now_s >= renew_at_s(before))


def _ends_s(one: Due) -> float:
    return one.before.not_after_s if one.before is not None else 0.0


def renew_at_s(one: Certificate) -> float:
    """Return from when on a certificate is renewed."""
    return one.not_after_s - (one.not_after_s - one.not_before_s) * RENEW_SHARE


def failed(one: Due, why: str, now_s: float, jitter: float) -> Certificate:
    """Return the record of a try that failed; what was there stays in force.

    Args:
        one: what was tried.
        why: one sentence.
        now_s: wall clock.
        jitter: from 0 to 1, so that not all hosts are tried again at one moment.
    """
    before = one.before
    if before is None or before.origin is not one.wish.origin:
        before = Certificate(name=one.wish.name, origin=one.wish.origin)
    failures = before.failures + 1
    wait_s = min(_RETRY_FIRST_S * 2.0 ** min(failures - 1, _DOUBLINGS_MAX), _RETRY_S_MAX)
    return msgspec.structs.replace(
        before,
        hosts=one.wish.hosts if not before.chain else before.hosts,
        problem=why,
        failures=failures,
        next_try_s=now_s + wait_s * (1 + jitter / 4),
    )
