"""What is in a container's configs and secrets: read from the store and opened, nowhere kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from shared import codec, keys
from shared.errors import CodecError, HostError, RuntimeFailureError, SealError
from shared.model import Content, MountedFile
from shared.seal import read_key, unseal
from shared.store import Store, exactly


class Contents:
    """Reads the contents of files.

    Args:
        store: where they are, sealed.
        key: the file with what they are sealed with; read anew each time, so that a host that was
            given it late needs no restart.
    """

    def __init__(self, store: Store, key: Path) -> None:
        self._store, self._key = store, key

    async def read(self, files: Sequence[MountedFile]) -> Mapping[str, bytes]:
        """Return the contents of `files` by their MountedFile.content.

        Raises:
            RuntimeFailureError: one is not there or cannot be opened; says what to do.
            StoreError: the store cannot be asked now.
        """
        names = sorted({each.content for each in files})
        if not names:
            return {}
        try:
            key = read_key(self._key)
            return {name: await self._opened(key, keys.content(name)) for name in names}
        except (HostError, SealError, CodecError) as error:
            raise RuntimeFailureError(str(error)) from error

    async def _opened(self, key: bytes, where: str) -> bytes:
        found = await self._store.list(exactly(where))
        if not found.items:
            raise RuntimeFailureError(f"{where} is not in etcd: deploy the stack again")
        sealed = codec.decode(Content, found.items[0].value, where).sealed
        return unseal(key, where, sealed)
