"""Certificates and closed services from the command line to the store."""

import json
import time
from pathlib import Path
from typing import NamedTuple

from scheduler.issuing.authority import issue, make_authority
from shared import codec, keys
from shared.model import Certificate, Origin
from shared.seal import unseal
from shared.settings import SecretsSettings
from tests.integration.api_rig import SHOP, Rig, cluster, upload
from tests.integration.test_cli import hafen as run_cli

NOW_S = time.time()  # noqa: TID251 - what the command line compares with
MADE = issue(make_authority("test", NOW_S), ["shop.example.org"], NOW_S, 10)


class Told(NamedTuple):
    """What the command line said."""

    code: int | None
    out: str
    err: str


async def hafen(rig: Rig, *arguments: str) -> Told:
    return Told(*await run_cli(rig, *arguments))


def key_file(folder: Path) -> SecretsSettings:
    path = folder / "secrets.key"
    path.touch(mode=0o600)
    path.write_bytes(b"k" * 32)
    return SecretsSettings(key=path)


async def test_a_certificate_is_brought_shown_and_removed(tmp_path: Path) -> None:
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    chain.write_text(MADE.chain)
    key.write_text(MADE.key)
    async with cluster(tmp_path, secrets=key_file(tmp_path)) as (rig, _):
        added = await hafen(rig, "cert", "add", "shop", "--cert", str(chain), "--key", str(key))
        assert added.code == 0, added
        assert "shop: shop.example.org" in added.out
        assert "it ends in 9 days" in added.out
        item = rig.view.items[keys.certificate("shop")]
        stored = codec.decode(Certificate, item.value, item.key)
        assert MADE.key not in item.value.decode()
        assert unseal(b"k" * 32, item.key, stored.sealed).decode() == MADE.key
        listed = await hafen(rig, "cert", "ls", "--json")
        (one,) = json.loads(listed.out)["certificates"]
        assert (one["name"], one["hosts"], one["origin"]) == ("shop", ["shop.example.org"], "file")
        shown = await hafen(rig, "cert", "show", "shop")
        assert shown.out.endswith(MADE.chain)
        assert "PRIVATE KEY" not in shown.out + listed.out
        assert (await hafen(rig, "cert", "rm", "-y", "shop")).code == 0
        assert (await hafen(rig, "cert", "rm", "-y", "shop")).code == 3
        assert keys.certificate("shop") not in rig.view.items


async def test_a_wrong_certificate_is_refused_by_file(tmp_path: Path) -> None:
    other = issue(make_authority("x", NOW_S), ["b.test"], NOW_S - 10 * 86400, 1)
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    chain.write_text(other.chain)
    key.write_text(MADE.key)
    async with cluster(tmp_path, secrets=key_file(tmp_path)) as (rig, _):
        told = await hafen(rig, "cert", "add", "b", "--cert", str(chain), "--key", str(key))
        assert (told.code, f"{key}: is not the key of {chain}" in told.err) == (2, True)
        key.write_text(other.key)
        told = await hafen(rig, "cert", "add", "b", "--cert", str(chain), "--key", str(key))
        assert (told.code, f"{chain}: it has expired: valid from" in told.err) == (2, True)


async def test_without_the_clusters_key_no_certificate_is_stored(tmp_path: Path) -> None:
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    chain.write_text(MADE.chain)
    key.write_text(MADE.key)
    missing = SecretsSettings(key=tmp_path / "none")
    async with cluster(tmp_path, secrets=missing) as (rig, _):
        told = await hafen(rig, "cert", "add", "b", "--cert", str(chain), "--key", str(key))
        assert (told.code, "secrets need the cluster's key" in told.err) == (4, True)


async def test_a_wish_for_a_certificate_is_written_down(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, _):
        assert (await hafen(rig, "cert", "issue", "*.Shop.test", "b.test")).code == 0
        item = rig.view.items[keys.certificate("wildcard.shop.test")]
        stored = codec.decode(Certificate, item.value, item.key)
        assert (stored.origin, stored.hosts) == (Origin.CLUSTER, ("*.shop.test", "b.test"))
        assert "it is being issued" in (await hafen(rig, "cert", "ls")).out
        assert (await hafen(rig, "cert", "issue", "a b")).code == 2
        assert (await hafen(rig, "cert", "show", "--authority")).code == 3


async def test_a_stack_is_closed_and_opened(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        assert (await hafen(rig, "maintenance", "on", "shop.web")).code == 0
        assert keys.closed("shop.web") in rig.view.items
        assert (await hafen(rig, "maintenance", "off", "shop.web")).code == 0
        assert keys.closed("shop.web") not in rig.view.items
        assert (await hafen(rig, "maintenance", "off", "shop.web")).code == 3
        assert (await hafen(rig, "maintenance", "on", "shop.db")).code == 3
        assert (await hafen(rig, "maintenance", "on", "blog")).code == 3
