"""`hafen status` where nobody answers: what this host knows by itself, and the exit code."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from deploy.cli.glance import UnixConnection, first_glance, glance
from deploy.cli.here import this_host
from deploy.client import ApiClient
from deploy.host.certificates import Authority
from deploy.host.settings_text import toml
from shared import keys
from shared.api import ClusterView
from shared.errors import DeniedError, UnavailableError
from shared.model import Leader, NodeName, Revision
from shared.settings import (
    AGENT_PORT,
    API_PORT,
    ETCD_CLIENT_PORT,
    EtcdMember,
    EtcdSettings,
    Settings,
    TlsSettings,
)
from shared.tls import server_context
from tests.integration.api_rig import WITHIN_S, cluster
from tests.integration.test_api_tls import NOW, node_tls, operator_tls
from tests.integration.test_cli import HAFEN, ROOT
from tests.loopback import own
from tests.waiting import until

# An address of this file only: the ports are fixed.
NODE = own(1)
ELSEWHERE = "containers and traffic go on without it; --host https://HOST names another host's"


@asynccontextmanager
async def answering(
    port: int, answer: bytes = b"", tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve `answer` on a port of NODE, or take connections and never say a word."""
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        else:
            await closed.wait()
        writer.close()

    server = await asyncio.start_server(serve, NODE, port, ssl=tls)
    try:
        yield
    finally:
        closed.set()
        server.close()
        await server.wait_closed()


def config(folder: Path, *, tls: TlsSettings | None = None, member: bool = False) -> Path:
    settings = Settings(
        node="node-1",
        address=NODE,
        subnet="198.19.1.0/24",
        pool="198.19.0.0/16",
        etcd=EtcdSettings(endpoints=(f"{NODE}:{ETCD_CLIENT_PORT}",)),
        tls=tls,
        member=EtcdMember(name="node-1", initial_cluster={"node-1": NODE}) if member else None,
    )
    path = folder / "hafen.toml"
    path.write_text(toml(settings))
    return path


async def until_equal(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Ask until this is the answer: a busy machine gives one too late for those who ask briefly."""

    async def is_equal() -> bool:
        with suppress(UnavailableError):
            return await ask() == wanted
        return False

    await until(is_equal, WITHIN_S)


async def status_of(where: str, folder: Path) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *HAFEN,
        "--host",
        where,
        "--tls-dir",
        str(folder),
        "status",
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_scheduler_that_stands_still_is_not_waited_for(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()
        writer.close()

    server = await asyncio.start_unix_server(hang, tmp_path / "api.sock")
    code, out, err = await status_of(f"unix:{tmp_path}/api.sock", tmp_path)
    closed.set()
    server.close()

    first, *_, last = err.splitlines()
    assert (code, out) == (UnavailableError.exit_code, "")
    assert first == (f"hafen: the scheduler at {tmp_path}/api.sock did not answer within 0.45 s")
    assert last.startswith(ELSEWHERE)


async def test_a_host_elsewhere_that_does_not_answer_says_nothing_of_this_one(
    tmp_path: Path,
) -> None:
    operator_tls(tmp_path).ca.rename(tmp_path / "ca.crt")
    code, _, err = await status_of(f"https://{NODE}:9", tmp_path)

    first, last = err.splitlines()
    assert code == UnavailableError.exit_code
    assert first.startswith(f"hafen: nothing answers at https://{NODE}:9: is `hafen serve` running")
    assert last.startswith(ELSEWHERE)


async def test_the_agent_of_this_host_runs_answers_or_stands_still(tmp_path: Path) -> None:
    tls = node_tls(tmp_path, "node-1", NODE)
    path = config(tmp_path, tls=tls)

    async def said() -> str:
        return (await this_host(path))[1]

    await until_equal(said, "this host's agent does not run")
    async with answering(AGENT_PORT):
        silent = "this host's agent runs and does not answer: it stands still, or waits for others"
        await until_equal(said, silent)
    async with answering(AGENT_PORT, tls=server_context(tls)):
        await until_equal(said, "this host's agent answers")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answers"),
        (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            "answers that it has no leader: most members are gone",
        ),
        (b"", "runs and does not answer: it stands still, or waits for others"),
        (b"SSH-2.0\r\n", "cannot be asked: SSH-2.0\r\n"),
    ],
)
async def test_the_etcd_member_of_this_host(tmp_path: Path, answer: bytes, said: str) -> None:
    path = config(tmp_path, member=True)
    agent = "this host's agent cannot be asked: the settings have no [tls]"
    async with answering(ETCD_CLIENT_PORT, answer):
        await until_equal(lambda: this_host(path), (f"this host's etcd member {said}", agent))


async def test_without_a_member_or_settings_that_is_said(tmp_path: Path) -> None:
    without = await this_host(config(tmp_path))
    missing = await this_host(tmp_path / "none.toml")

    assert without[0] == "this host's etcd member is on other hosts"
    assert missing == (f"nothing more is known of this machine: there is no {tmp_path}/none.toml",)


async def test_a_glance_is_what_the_whole_client_sees(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await rig.put(keys.LEADER, Leader(node=NodeName("node-1")))
        whole = msgspec.structs.replace(await client.status(), members=())

        async def seen() -> ClusterView:
            found = await glance(UnixConnection(rig.socket), "here")
            return msgspec.structs.replace(found, members=())

        await until_equal(seen, whole)

    assert whole.leader == "node-1"


async def test_of_several_schedulers_one_that_reaches_etcd_is_believed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("cut", "well")]
    for folder in folders:
        folder.mkdir()
    async with cluster(folders[0]) as (cut, _), cluster(folders[1]) as (well, _):
        await well.put(keys.LEADER, Leader(node=NodeName("node-2")))
        cut.store.cut()
        paths = [tmp_path / "none.sock", cut.socket, well.socket]
        await until_equal(lambda: judged(paths), (True, "node-2", True))
        await until_equal(lambda: judged(paths[:2]), (False, "", False))
        assert await first_glance(paths[:1]) is None


async def test_a_scheduler_that_has_only_begun_is_not_believed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("new", "well")]
    for folder in folders:
        folder.mkdir()
    async with cluster(folders[0]) as (new, _), cluster(folders[1]) as (well, _):
        await well.put(keys.LEADER, Leader(node=NodeName("node-2")))
        new.view.revision = Revision(0)  # as before it has read etcd
        await until_equal(lambda: judged([new.socket, well.socket]), (True, "node-2", True))
        await until_equal(lambda: judged([new.socket]), (True, "", True))


async def judged(paths: list[Path]) -> tuple[bool, str, bool] | None:
    """Glance; return whether etcd is reached, who leads, and whether changes are accepted."""
    found = await first_glance(paths)
    if found is None:
        return None
    refused = found.outages[:1] and found.outages[0].startswith("no change is accepted: etcd ")
    return found.etcd_reachable, found.leader, not refused


async def test_how_long_nobody_has_led_is_counted_from_when_it_was_seen(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await until(lambda: leaderless(client), WITHIN_S)
        await rig.put(keys.LEADER, Leader(node=NodeName("node-1")))
        led = await client.status()
        await rig.delete(keys.LEADER)
        first = await client.status()
        then = await client.status()

    assert (led.leaderless_s, led.outages) == (0.0, ())
    assert 0.0 <= first.leaderless_s < then.leaderless_s
    assert then.outages[0].startswith("nothing is placed or replaced: nobody leads since ")


async def leaderless(client: ApiClient) -> bool:
    return (await client.status()).leaderless_s > 0.0


async def test_certificates_of_another_cluster_are_refused_and_said(tmp_path: Path) -> None:
    stranger = Authority.make("another", now=NOW, valid_days=1)
    tls = node_tls(tmp_path, "node-1", NODE)
    operator_tls(tmp_path, stranger).ca.rename(tmp_path / "ca.crt")
    (tmp_path / "ca.crt").write_bytes(stranger.certificate)
    refused = f"hafen: https://{NODE}: no common certificates: CERTIFICATE_VERIFY_"

    async def said() -> tuple[int | None, str, str]:
        code, out, err = await status_of(f"https://{NODE}", tmp_path)
        return code, out, err[: len(refused)]

    async with answering(API_PORT, tls=server_context(tls)):
        await until_equal(said, (DeniedError.exit_code, "", refused))
