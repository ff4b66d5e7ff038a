"""What `hafen doctor` asks before it judges: etcd, the other schedulers, this host.

Everything is asked at once, and what does not answer in time is not known.
"""

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from scheduler.api.doctor import Facts, HostFacts
from scheduler.api.measures import Measures, measures
from shared.errors import StoreError
from shared.model import NodeName
from shared.settings import API_PORT, Settings
from shared.store import Store
from shared.tls import client_context

# One answer; whoever calls a doctor has a little time.
_ANSWER_S_MAX: Final = 1.0
# etcd's metrics are some 150 KB.
_METRICS_BYTES_MAX: Final = 4 * 1024 * 1024
# No profile counts on a lease that is shorter.
_LEASE_S: Final = 1.0
# Two are enough to say that there is a second: no need to greet a thousand hosts.
_GREETED_MAX: Final = 20
_CGROUP2: Final = Path("/sys/fs/cgroup/cgroup.controllers")


class Gatherer:
    """Completes the facts that the view holds already."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Read the TLS files.

        Raises:
            SettingsError: one of them is wrong.
        """
        self._store, self._settings = store, settings
        self._tls = client_context(settings.tls) if settings.tls is not None else None

    async def complete(self, facts: Facts) -> Facts:
        """Return `facts` with what has to be asked for."""
        endpoints = self._settings.etcd.endpoints
        async with asyncio.TaskGroup() as group:
            granted = group.create_task(self._granted_s())
            members = {each: group.create_task(self._measures(each)) for each in endpoints}
            schedulers = group.create_task(self._schedulers(facts))
        answers = ((each, task.result()) for each, task in members.items())
        return msgspec.structs.replace(
            facts,
            granted_s=granted.result(),
            measures={each: found for each, found in answers if found is not None},
            schedulers=schedulers.result(),
            host=HostFacts(
                node=NodeName(self._settings.node),
                has_cgroup2=await asyncio.to_thread(_CGROUP2.exists),
                has_watchdog=self._settings.watchdog is not None,
            ),
        )

    async def _granted_s(self) -> float | None:
        try:
            async with asyncio.timeout(_ANSWER_S_MAX), self._store.lease(_LEASE_S) as lease:
                return lease.ttl_s
        except (StoreError, TimeoutError):
            return None

    async def _measures(self, endpoint: str) -> Measures | None:
        scheme = "http" if self._tls is None else "https"
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{scheme}://{endpoint}/metrics", ssl=self._tls or True) as answer,
            ):
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > _METRICS_BYTES_MAX:
                        return None
        except (aiohttp.ClientError, OSError):  # A TimeoutError is an OSError.
            return None
        return measures(body.decode(errors="replace"))

    async def _schedulers(self, facts: Facts) -> int | None:
        """Count who answers at the API's port of a living node, this scheduler included."""
        if self._tls is None:
            return None
        alive = (node.spec.address for node in facts.world.nodes.values() if node.alive)
        others = [address for address in alive if address != self._settings.address]
        return 1 + await _greet(others[:_GREETED_MAX], self._tls)


async def _greet(addresses: Iterable[str], tls: ssl.SSLContext) -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_answers(address, tls)) for address in addresses]
    return sum(task.result() for task in tasks)


async def _answers(address: str, tls: ssl.SSLContext) -> bool:
    """Say whether a server shows a certificate there: a process that stands still does not."""
    try:
        async with asyncio.timeout(_ANSWER_S_MAX):
            _, writer = await asyncio.open_connection(address, API_PORT, ssl=tls)
    except OSError:  # A TimeoutError and an ssl.SSLError are OSErrors.
        return False
    writer.close()
    return True
