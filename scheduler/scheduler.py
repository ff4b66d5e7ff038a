"""The scheduler's composition root.

One mirror of etcd, the API on top of it, and leading when elected.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from scheduler.api.changes import Changes
from scheduler.api.members import members_of
from scheduler.api.server import ApiServer
from scheduler.explain import explain
from scheduler.issuing.issuer import Fetch, Issuer
from scheduler.leadership import Leadership
from shared import codec, keys
from shared.clock import Clock
from shared.election import Fence
from shared.etcd.store import EtcdStore
from shared.loop import Dirty
from shared.mirror import mirror
from shared.model import NodeSpec, Silence, Suspicion
from shared.settings import Settings, load
from shared.store import Store, under
from shared.view import View

# Given the view, what the leader does besides deciding, until it is cancelled.
Beside = Callable[[View], Callable[[Fence], Awaitable[None]]]


class Scheduler:
    """Everything of a scheduler but its API: what the simulation runs unchanged."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
        beside: Beside | None = None,
    ) -> None:
        self.changes = Changes()
        self.view = View(self._changed)
        self._dirty = Dirty()
        self._avoided_at = (0, 0)
        self._store, self._clock, self._rng = store, clock, rng
        self._leadership = Leadership(
            store,
            self.view,
            self._dirty,
            settings,
            clock=clock,
            rng=rng,
        )
        self._leadership.beside = beside(self.view) if beside is not None else None

    async def run(self) -> None:
        """Mirror etcd and campaign until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                mirror(self._store, under(keys.ROOT), self.view, self._clock, self._rng)
            )
            group.create_task(self._leadership.run())

    def _changed(self) -> None:
        at = (self.view.stamp(keys.SUSPECTS), self.view.stamp(keys.NODES))
        if at != self._avoided_at:
            self._avoided_at = at
            self._store.avoid(silent_hosts(self.view))
        self.changes.mark()
        self._dirty.mark()


def silent_hosts(view: View) -> frozenset[str]:
    """Return the addresses of hosts that a watcher cannot reach: no member of etcd answers there.

    One word is enough: to be wrong costs a reconnection.
    """
    found: set[str] = set()
    for key, item in view.range(keys.SUSPECTS).items():
        # The leader complains of what cannot be read; nothing is avoided for it.
        suspicion = codec.readable(Suspicion, item.value, key)
        if suspicion is None or suspicion.silence is not Silence.HOST:
            continue
        at = view.items.get(keys.node_spec(suspicion.node))
        spec = codec.readable(NodeSpec, at.value, at.key) if at is not None else None
        if spec is not None:
            found.add(spec.address)
    return frozenset(found)


async def serve(config: Path, clock: Clock) -> NoReturn:
    """Run this host's scheduler until cancelled.

    Raises:
        SettingsError: the configuration is wrong.
        HostError: a port or socket is taken.
    """
    settings = load(config)
    rng = random.Random()  # noqa: S311 - jitter needs no secrecy
    async with EtcdStore.of_host(settings) as store, asyncio.TaskGroup() as group:

        def issuing(view: View) -> Callable[[Fence], Awaitable[None]]:
            key, fetch = settings.secrets.key, _acme(store, view, settings, clock)
            return Issuer(store, view, key, clock=clock, rng=rng, fetch=fetch).run

        scheduler = Scheduler(store, settings, clock=clock, rng=rng, beside=issuing)
        server = ApiServer(store, scheduler.view, scheduler.changes, explain, settings, clock)
        group.create_task(scheduler.run())
        await server.serve(members_of(store))


def _acme(store: Store, view: View, settings: Settings, clock: Clock) -> Fetch | None:
    """Return how to ask the ACME server that the settings name; None: they name none."""
    if settings.acme is None:
        return None
    from scheduler.issuing.acme import acme_fetch  # noqa: PLC0415 - a fifth of the start, seldom used

    return acme_fetch(store, view, settings.acme, settings.gateway.http_port, clock)
