"""What is in configs and secrets comes from the store, opened, or it is said why not."""

from pathlib import Path

import pytest

from node_agent.contents import Contents
from shared import codec, keys
from shared.clock import SystemClock
from shared.errors import RuntimeFailureError, UnavailableError
from shared.model import Content, MountedFile
from shared.seal import KEY_BYTES, NONCE_BYTES, seal
from shared.store import Put
from tests.fakes.store import FakeEtcd, FakeStore, Way

KEY, NONCE = b"k" * KEY_BYTES, b"n" * NONCE_BYTES
FILES = (
    MountedFile(content="shop/conf/1", target="/etc/conf"),
    MountedFile(content="shop/pass/1", target="/run/pass", is_secret=True),
    MountedFile(content="shop/conf/1", target="/etc/again"),
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    return path


async def store_with(*names: str, key: bytes = KEY) -> FakeStore:
    store = FakeStore(FakeEtcd(SystemClock()), "node-1")
    for name in names:
        sealed = seal(key, keys.content(name), name.encode(), NONCE)
        value = codec.encode(Content(sealed=sealed))
        await store.txn([], [Put(keys.content(name), value)])
    return store


async def test_every_content_is_read_once_and_opened(key: Path) -> None:
    store = await store_with("shop/conf/1", "shop/pass/1")
    assert await Contents(store, key).read(FILES) == {
        "shop/conf/1": b"shop/conf/1",
        "shop/pass/1": b"shop/pass/1",
    }


async def test_who_has_no_files_needs_neither_key_nor_store(tmp_path: Path) -> None:
    store = await store_with()
    store.impede(Way.CUT)
    assert await Contents(store, tmp_path / "absent").read(()) == {}


async def test_a_lack_says_what_to_do(key: Path) -> None:
    store = await store_with("shop/conf/1")
    with pytest.raises(RuntimeFailureError, match="shop/pass/1 is not in etcd: deploy the stack"):
        await Contents(store, key).read(FILES)
    other = await store_with("shop/conf/1", "shop/pass/1", key=b"o" * KEY_BYTES)
    with pytest.raises(RuntimeFailureError, match="all hosts of a cluster need the same"):
        await Contents(other, key).read(FILES)
    with pytest.raises(RuntimeFailureError, match="need the cluster's key of 32 bytes there"):
        await Contents(store, key.with_name("absent")).read(FILES)


async def test_a_store_that_is_away_is_no_fault_of_the_containers(key: Path) -> None:
    store = await store_with("shop/conf/1", "shop/pass/1")
    store.cut()
    with pytest.raises(UnavailableError):
        await Contents(store, key).read(FILES)
