"""A view kept equal to a range of keys.

List, watch from there, list again when history was lost.
"""

from contextlib import aclosing
from typing import NoReturn

import structlog

from shared.backoff import Rng, backoff_s
from shared.clock import Clock
from shared.errors import CompactedError, StoreError
from shared.store import KeyRange, Store
from shared.view import View

_log = structlog.get_logger()


async def mirror(store: Store, keys: KeyRange, view: View, clock: Clock, rng: Rng) -> NoReturn:
    """Keep `view` equal to the range until cancelled.

    A dropped stream resumes inside the store after the last revision it delivered. A compacted one
    cannot: etcd no longer knows what we missed, deletions included, so the view is replaced.
    """
    listed = False
    attempt = 0
    while True:
        try:
            if not listed:
                view.replace(await store.list(keys))
                listed = True
            async with aclosing(store.watch(keys, after=view.revision)) as batches:
                async for batch in batches:
                    view.apply(batch)
                    attempt = 0
        except CompactedError as error:
            _log.info("watch_compacted", key=keys.key, at=view.revision, oldest=error.revision)
            listed = False
        except StoreError as error:
            _log.warning("watch_failed", key=keys.key, attempt=attempt, reason=str(error))
        attempt += 1
        await clock.sleep(backoff_s(attempt, rng))
