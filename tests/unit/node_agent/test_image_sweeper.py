"""Images that nobody asks for go after a while; whatever anybody may still need stays."""

import os
from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.image_sweeper import ImageSweeper
from node_agent.oci import leftovers
from node_agent.oci.image import Image
from node_agent.oci.images import ImageStore, Named
from node_agent.oci.reference import Reference
from node_agent.stale import Held, stale
from shared import codec, keys
from shared.clock import SystemClock
from shared.errors import CodecError, UnavailableError
from shared.model import Manifest, NodeName, Record
from shared.settings import EtcdSettings, Settings
from shared.store import Put
from tests.build import assignment, rollout, service, stack, workload
from tests.fakes.store import FakeEtcd, FakeStore, Way

DAY_S = 86_400.0
NAMES = st.sampled_from([f"r/{letter}:1" for letter in "abcdef"])
DIGESTS = st.sampled_from([f"sha256:{number}" for number in range(4)])
HELD = st.builds(Held, NAMES, DIGESTS, st.floats(0, 100 * DAY_S))


@given(
    st.lists(HELD, unique_by=lambda one: one.name),
    st.frozensets(NAMES),
    st.frozensets(DIGESTS),
    st.floats(0, 100 * DAY_S),
    st.floats(0, 50),
)
def test_what_goes_is_old_and_nobodys(
    held: list[Held],
    asked_for: frozenset[str],
    running: frozenset[str],
    now_s: float,
    days: float,
) -> None:
    going = set(stale(held, asked_for, running, now_s=now_s, days=days))
    for one in held:
        is_needed = one.name in asked_for or one.digest in running or days == 0
        is_old = now_s - one.used_at_s > days * DAY_S
        assert (one.name in going) == (is_old and not is_needed)


def put(data: Path, name: str, number: int, *layers: int, days_ago: float = 30.0) -> str:
    """Put an image on the disk as ImageStore does; return its full name."""
    full = str(Reference.parse(name))
    store = ImageStore(data)
    blobs = tuple(f"sha256:layer{layer}" for layer in (number, *layers))
    folder = data / "unpacked" / f"image{number}"
    image = Image(digest=f"sha256:image{number}", blobs=blobs)
    for path in (folder / "rootfs", data / "images" / "references", blob(data, 0).parent):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "image.json").write_bytes(msgspec.json.encode(image))
    for layer in (number, *layers):
        blob(data, layer).write_bytes(b"x")
    file = store._name_file(Reference.parse(name))  # noqa: SLF001 - what find() looks for
    file.write_bytes(msgspec.json.encode(Named(full, image.digest)))
    moment_s = SystemClock().now_s() - days_ago * DAY_S
    os.utime(file, (moment_s, moment_s))
    return full


def blob(data: Path, layer: int) -> Path:
    return data / "images" / "blobs" / "sha256" / f"layer{layer}"


def layers(data: Path) -> set[str]:
    return {path.name for path in blob(data, 0).parent.iterdir()}


async def store_with(*puts: tuple[str, Record]) -> FakeStore:
    store = FakeStore(FakeEtcd(SystemClock()), "node-1")
    for key, record in puts:
        await store.txn([], [Put(key, codec.encode(record))])
    return store


def sweeper(
    data: Path, store: FakeStore, running: AbstractSet[str] = frozenset(), days: float = 7.0
) -> ImageSweeper:
    settings = Settings(
        node="node-1",
        address="198.18.0.1",
        subnet="198.19.1.0/24",
        pool="198.19.0.0/16",
        etcd=EtcdSettings(endpoints=("198.18.0.1:2379",)),
        data_dir=data,
        images_days=days,
    )
    return ImageSweeper(store, lambda: frozenset(running), settings, SystemClock())


def manifest(*images: str, runs: str = "") -> tuple[str, Manifest]:
    assigned = (assignment("shop.web.1.a", workload(runs)),) if runs else ()
    node = NodeName("node-1")
    made = Manifest(node=node, generation=1, assignments=assigned, images=images)
    return keys.desired(node), made


async def test_only_what_no_record_and_no_container_has_goes(tmp_path: Path) -> None:
    for number, name in enumerate(
        ("spare:1", "runs:1", "asked:1", "back:1", "made-of:1", "old:1", "fresh:1"), 1
    ):
        put(tmp_path, name, number, 100, days_ago=1.0 if name == "fresh:1" else 30.0)
    old = str(Reference.parse("old:1"))
    shop = stack("shop", service("web", image="asked:1"))
    update = rollout(shop, shop.services[0], stable=service("web", image="back:1"))
    store = await store_with(
        manifest("spare:1", runs="runs:1"),
        (keys.stack(shop.name), shop),
        (keys.rollout(shop.name, shop.services[0].name), update),
    )

    swept = sweeper(tmp_path, store, {"sha256:image5"})
    assert await swept.one_pass() == (old,)
    assert await swept.one_pass() == ()

    images = ImageStore(tmp_path)
    assert images.find("old:1") is None
    assert not (tmp_path / "unpacked" / "image6").exists()
    for name in ("spare:1", "runs:1", "asked:1", "back:1", "made-of:1", "fresh:1"):
        assert images.find(name) is not None
    # The layer that all of them share stays, that of the one that went goes.
    assert layers(tmp_path) == {f"layer{number}" for number in (1, 2, 3, 4, 5, 7, 100)}
    assert list((tmp_path / "images" / "incoming").iterdir()) == []


async def test_to_be_asked_for_is_to_be_used(tmp_path: Path) -> None:
    full = put(tmp_path, "app:1", 1)
    asking = await store_with(manifest(runs="app:1"))
    assert await sweeper(tmp_path, asking).one_pass() == ()
    # Nobody asks any more: its time begins now, not when it came.
    quiet = await store_with(manifest())
    assert await sweeper(tmp_path, quiet).one_pass() == ()
    (held,) = leftovers.held(tmp_path)
    assert held.name == full
    assert SystemClock().now_s() - held.used_at_s < DAY_S


async def test_a_digest_with_another_name_stays(tmp_path: Path) -> None:
    put(tmp_path, "old:1", 1)
    put(tmp_path, "new:1", 1, days_ago=0)
    store = await store_with(manifest())
    assert await sweeper(tmp_path, store).one_pass() == (str(Reference.parse("old:1")),)
    assert ImageStore(tmp_path).find("new:1") is not None


async def test_where_nobody_knows_what_is_asked_for_nothing_goes(tmp_path: Path) -> None:
    put(tmp_path, "old:1", 1)
    # A store without this node's manifest has lost its data, or never knew this node.
    assert await sweeper(tmp_path, await store_with()).one_pass() == ()
    store = await store_with(manifest())
    store.impede(Way.CUT)
    with pytest.raises(UnavailableError):
        await sweeper(tmp_path, store).one_pass()
    damaged = await store_with(manifest())
    await damaged.txn([], [Put(keys.STACKS + "shop", b"{")])
    with pytest.raises(CodecError):
        await sweeper(tmp_path, damaged).one_pass()
    assert await sweeper(tmp_path, await store_with(manifest()), days=0).one_pass() == ()
    assert ImageStore(tmp_path).find("old:1") is not None


async def test_what_is_being_fetched_is_left_in_peace(tmp_path: Path) -> None:
    put(tmp_path, "old:1", 1)
    store = await store_with(manifest())
    async with ImageStore(tmp_path)._workspace():  # noqa: SLF001 - a pull that is under way
        assert await sweeper(tmp_path, store).one_pass() == ()
    assert await sweeper(tmp_path, store).one_pass() != ()


async def test_layers_stay_where_an_image_does_not_say_what_it_has(tmp_path: Path) -> None:
    put(tmp_path, "old:1", 1)
    put(tmp_path, "odd:1", 2, days_ago=0)
    (tmp_path / "unpacked" / "image2" / "image.json").write_text("{")
    assert await sweeper(tmp_path, await store_with(manifest())).one_pass() != ()
    assert layers(tmp_path) == {"layer1", "layer2"}
