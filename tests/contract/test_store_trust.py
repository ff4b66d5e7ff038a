"""What the etcd client does about passwords, tokens, permissions and certificates."""

import asyncio
import shutil
from collections.abc import Generator
from contextlib import aclosing
from pathlib import Path

import pytest

from shared.errors import DeniedError, SettingsError, UnavailableError
from shared.etcd.store import EtcdStore
from shared.model import Revision
from shared.settings import EtcdSettings, TlsSettings
from shared.store import Put, exactly, under
from tests.contract.certificates import make_certificates
from tests.contract.etcd_server import EtcdCluster, running_etcd
from tests.contract.store_rig import WITHIN_S, keys_of

pytestmark = pytest.mark.real

ROOT_PASSWORD, PASSWORD = "for-tests-only", "also-for-tests"


@pytest.fixture(scope="module")
def guarded() -> Generator[EtcdCluster, None, None]:
    """Run a member that knows a user who may touch what is under /mine/ only."""
    with running_etcd(1) as cluster:
        cluster.ctl("user", "add", f"user:{PASSWORD}")
        cluster.ctl("role", "add", "mine")
        cluster.ctl("role", "grant-permission", "mine", "--prefix=true", "readwrite", "/mine/")
        cluster.ctl("user", "grant-role", "user", "mine")
        cluster.enable_auth(ROOT_PASSWORD)
        yield cluster


@pytest.fixture(scope="module")
def sealed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[EtcdCluster, None, None]:
    """Run a member that talks to those who show a certificate of its CA."""
    tls = make_certificates(tmp_path_factory.mktemp("tls"))
    with running_etcd(1, tls=tls) as cluster:
        yield cluster


def user(cluster: EtcdCluster, folder: Path, password: str = PASSWORD) -> EtcdSettings:
    """Return the settings of the user, whose password lies in a file."""
    file = folder / "password"
    file.touch(mode=0o600)
    file.write_text(password + "\n", encoding="utf-8")
    return cluster.settings(user="user", password_file=file)


def make_tokens_stale(cluster: EtcdCluster) -> None:
    """Change the password there and back, which ends every token that was given for it."""
    for password in ("something-else", PASSWORD):
        cluster.ctl("user", "passwd", "user", "--interactive=false", typed=password + "\n")


async def test_a_wrong_password_is_denied(guarded: EtcdCluster, tmp_path: Path) -> None:
    async with EtcdStore(user(guarded, tmp_path, "wrong")) as store:
        with pytest.raises(DeniedError, match="authentication failed"):
            await store.list(under("/mine/"))


async def test_no_password_is_denied(guarded: EtcdCluster) -> None:
    async with EtcdStore(guarded.settings()) as store:
        with pytest.raises(DeniedError, match="user name is empty"):
            await store.list(under("/mine/"))


async def test_a_user_without_a_password_file_is_refused_at_once(guarded: EtcdCluster) -> None:
    with pytest.raises(SettingsError, match="password_file"):
        EtcdStore(guarded.settings(user="user"))


async def test_what_is_not_ones_own_is_denied(guarded: EtcdCluster, tmp_path: Path) -> None:
    async with EtcdStore(user(guarded, tmp_path)) as store:
        written = await store.txn([], [Put("/mine/key", b"")])
        with pytest.raises(DeniedError):
            await store.list(under("/theirs/"))
        with pytest.raises(DeniedError):
            await store.txn([], [Put("/theirs/key", b"")])
        async with asyncio.timeout(WITHIN_S):
            async with aclosing(store.watch(exactly("/theirs/key"), after=written)) as batches:
                with pytest.raises(DeniedError, match="/theirs/key"):
                    await anext(batches)


async def test_a_stale_token_is_replaced_without_anybody_noticing(
    guarded: EtcdCluster, tmp_path: Path
) -> None:
    async with EtcdStore(user(guarded, tmp_path)) as store, asyncio.timeout(WITHIN_S):
        start = await store.txn([], [Put("/mine/start", b"")])
        make_tokens_stale(guarded)
        async with aclosing(store.watch(under("/mine/"), after=start)) as batches:
            await store.txn([], [Put("/mine/1", b"")])
            seen = keys_of(await anext(batches))
            make_tokens_stale(guarded)
            await store.txn([], [Put("/mine/2", b"")])
            seen += keys_of(await anext(batches))

    assert seen == ["/mine/1", "/mine/2"]


async def test_a_watch_that_begins_with_a_stale_token_gets_a_new_one(
    guarded: EtcdCluster, tmp_path: Path
) -> None:
    async with EtcdStore(user(guarded, tmp_path)) as store, asyncio.timeout(WITHIN_S):
        start = await store.txn([], [Put("/mine/start", b"")])
        await store.txn([], [Put("/mine/next", b"")])
        make_tokens_stale(guarded)
        async with aclosing(store.watch(under("/mine/"), after=start)) as batches:
            seen = keys_of(await anext(batches))

    assert seen == ["/mine/next"]


async def test_a_lease_is_kept_by_a_user_with_a_password(
    guarded: EtcdCluster, tmp_path: Path
) -> None:
    async with EtcdStore(user(guarded, tmp_path)) as store, store.lease(1.0) as lease:
        left = await store.grant_for(lease.ttl_s)
        written = await store.txn([], [Put("/mine/left", b"", left)])
        async with (
            asyncio.timeout(WITHIN_S),
            aclosing(store.watch(exactly("/mine/left"), after=written)) as batches,
        ):
            assert (await anext(batches)).changes[0].now is None
        assert not lease.lost.is_set()


async def test_both_ends_show_their_certificates(sealed: EtcdCluster) -> None:
    async with EtcdStore(sealed.settings(), sealed.tls) as store:
        written = await store.txn([], [Put("/key", b"value")])
        async with asyncio.timeout(WITHIN_S):
            async with aclosing(store.watch(exactly("/key"), after=Revision(1))) as batches:
                assert (await anext(batches)).revision == written


async def test_a_member_of_another_ca_is_not_trusted(sealed: EtcdCluster, tmp_path: Path) -> None:
    async with EtcdStore(sealed.settings(), make_certificates(tmp_path)) as store:
        with pytest.raises(UnavailableError, match="handshake failed") as caught:
            await store.list(under("/"))

    assert sealed.endpoints[0] in str(caught.value)


async def test_a_certificate_that_was_replaced_is_taken_up(
    sealed: EtcdCluster, tmp_path: Path
) -> None:
    """First the store holds one that nobody trusts; its next failure makes it look again."""
    assert sealed.tls is not None
    mine = make_certificates(tmp_path)
    async with EtcdStore(sealed.settings(), mine) as store:
        with pytest.raises(UnavailableError):
            await store.list(under("/"))
        for name in TlsSettings.__struct_fields__:
            shutil.copy(getattr(sealed.tls, name), getattr(mine, name))
        with_new = await _list_in_the_end(store)

    assert with_new >= 1


async def test_certificates_that_do_not_fit_together_are_named_at_once(
    sealed: EtcdCluster, tmp_path: Path
) -> None:
    tls = make_certificates(tmp_path / "a")
    other = make_certificates(tmp_path / "b")
    with pytest.raises(SettingsError, match=str(other.key)):
        EtcdStore(sealed.settings(), TlsSettings(ca=tls.ca, cert=tls.cert, key=other.key))


async def _list_in_the_end(store: EtcdStore) -> Revision:
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return (await store.list(under("/"))).revision
            except UnavailableError:
                continue
