"""Runs on the client of a lab: prints every change of hafen's keys, a line of JSON each.

Every etcd member is watched by itself: when one vanishes with its host, another tells.
"""

import asyncio
import sys
import time
from contextlib import aclosing
from pathlib import Path

from bench.seen import Seen
from shared import codec, keys, log
from shared.errors import StoreError
from shared.etcd.store import EtcdStore
from shared.model import Revision
from shared.settings import EtcdSettings, TlsSettings
from shared.store import KeyRange

# A member that does not answer is asked again; the others tell meanwhile.
_AGAIN_S = 0.2


class Told:
    """What was printed; of members that say the same only the first is heard."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, bool]] = {}

    def say(self, key: str, revision: int, value: bytes | None) -> None:
        """Print a change, unless another member told it.

        Args:
            key: what changed.
            revision: of the value, or of the value that was there before it was deleted.
            value: None: deleted.
        """
        now_s = time.time()  # noqa: TID251 - lined up with the events of the same machine
        order = (revision, value is None)
        if order <= self._last.get(key, (0, False)):
            return
        self._last[key] = order
        text = None if value is None else value.decode()
        seen = Seen(at_s=now_s, key=key, revision=revision, value=text)
        sys.stdout.buffer.write(codec.encode(seen) + b"\n")
        sys.stdout.buffer.flush()


async def follow(store: EtcdStore, told: Told) -> None:
    """Tell all there is and all that changes, until the member stops answering."""
    everything = KeyRange(keys.ROOT, is_prefix=True)
    there = await store.list(everything)
    written = {item.key: int(item.mod_revision) for item in there.items}
    for item in there.items:
        told.say(item.key, item.mod_revision, item.value)
    after: Revision = there.revision
    async with aclosing(store.watch(everything, after=after)) as batches:
        async for batch in batches:
            for change in batch.changes:
                if change.now is None:
                    told.say(change.key, written.get(change.key, 0), None)
                else:
                    written[change.key] = change.now.mod_revision
                    told.say(change.key, change.now.mod_revision, change.now.value)


async def member(endpoint: str, tls: TlsSettings, told: Told) -> None:
    """Watch one member for ever."""
    async with EtcdStore(EtcdSettings(endpoints=(endpoint,)), tls) as store:
        while True:
            try:
                await follow(store, told)
            except StoreError as error:
                print(f"{endpoint}: {error}", file=sys.stderr)
            await asyncio.sleep(_AGAIN_S)


async def main(pki: Path, endpoints: list[str]) -> None:
    tls = TlsSettings(ca=pki / "ca.crt", cert=pki / "operator.crt", key=pki / "operator.key")
    log.set_up()  # on standard error: standard output is for what was seen
    told = Told()
    async with asyncio.TaskGroup() as group:
        for endpoint in endpoints:
            group.create_task(member(endpoint, tls, told))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
