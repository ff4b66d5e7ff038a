"""Removes images that nothing asks for any more, such as those that were pushed for old versions.

Once an hour, and only while etcd answers: what stacks ask for is read at that moment. Nothing goes
that a manifest, a stack, or an update in hand names, nor what a container here is made of.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

import structlog

from node_agent.oci import leftovers
from node_agent.oci.reference import Reference
from node_agent.stale import stale
from shared import codec, keys
from shared.clock import Clock
from shared.errors import CodecError, ImageError, StoreError
from shared.model import Manifest, NodeName, Rollout, ServiceSpec, Stack
from shared.settings import Settings
from shared.store import Store, exactly, under

_log = structlog.get_logger()

_PERIOD_S: Final = 3600.0


class ImageSweeper:
    """Keeps the disk free of what nobody asks for.

    Args:
        store: what records ask for.
        running: returns the digests that containers here are made of.
        settings: of this host.
        clock: time.
    """

    def __init__(
        self,
        store: Store,
        running: Callable[[], frozenset[str]],
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store, self._running, self._clock = store, running, clock
        self._settings, self._data = settings, settings.data_dir

    async def run(self) -> NoReturn:
        """Sweep until cancelled."""
        while True:
            try:
                await self.one_pass()
            except (StoreError, CodecError, OSError) as error:
                _log.warning("images_not_swept", reason=str(error))
            await self._clock.sleep(_PERIOD_S)

    async def one_pass(self) -> tuple[str, ...]:
        """Remove what may go; return its names.

        Raises:
            StoreError: etcd does not answer; nothing was done.
            CodecError: a record cannot be read, so nobody knows what it asks for; nothing was done.
        """
        asked_for = await self._asked_for()
        if asked_for is None:
            return ()
        return await asyncio.to_thread(self._sweep, asked_for)

    def _sweep(self, asked_for: frozenset[str]) -> tuple[str, ...]:
        now_s, running = self._clock.now_s(), self._running()
        leftovers.touch(self._data, asked_for, now_s)
        days = self._settings.images_days
        going = stale(leftovers.held(self._data), asked_for, running, now_s=now_s, days=days)
        if not going or not leftovers.remove(self._data, going, running):
            return ()
        _log.info("images_removed", images=going, unused_days=days)
        return going

    async def _asked_for(self) -> frozenset[str] | None:
        """Return every image that a record names; None: this node has no manifest."""
        key = keys.desired(NodeName(self._settings.node))
        own = (await self._store.list(exactly(key))).items
        if not own:
            # A store that lost its data asks for nothing, and what ran last is kept.
            return None
        names = set(_of_manifest(codec.decode(Manifest, own[0].value, key)))
        for item in (await self._store.list(under(keys.STACKS))).items:
            stack = codec.decode(Stack, item.value, item.key)
            names |= {_image(spec) for spec in stack.services}
        for item in (await self._store.list(under(keys.ROLLOUTS))).items:
            rollout = codec.decode(Rollout, item.value, item.key)
            names |= {_image(spec) for spec in (rollout.target, rollout.stable) if spec is not None}
        return frozenset(full for name in names if (full := _full(name)))


def _of_manifest(manifest: Manifest) -> Iterator[str]:
    yield from manifest.images
    for assignment in manifest.assignments:
        yield assignment.workload.image


def _image(spec: ServiceSpec) -> str:
    return spec.workload.image


def _full(name: str) -> str:
    """Return an image's full name; empty: it is no name, so nothing here can have it."""
    try:
        return str(Reference.parse(name))
    except ImageError:
        return ""
