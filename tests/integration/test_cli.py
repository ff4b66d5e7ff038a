"""The command line as people and scripts run it: a process of its own, against a real server."""

import asyncio
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

import pytest

from shared import keys
from shared.errors import ConvergenceError, NotFoundError, SpecError, UnavailableError
from shared.model import AllocationStatus, Event, Manifest, NodeName, Report, Resources
from shared.states import AllocState
from tests.build import assignment, service, workload
from tests.integration.api_rig import SHOP, Rig, cluster, upload
from tests.integration.typist import type_

ROOT = Path(__file__).parents[2]
HAFEN = (sys.executable, "-c", "from deploy.cli.main import main; main()")
COMPOSE = """\
name: shop
services:
  web:
    image: app:1
"""
NODE_1 = NodeName("node-1")


def environment(rig: Rig) -> dict[str, str]:
    return {**os.environ, "HAFEN_HOST": f"unix:{rig.socket}", "PYTHONPATH": str(ROOT)}


async def start(rig: Rig, *arguments: str, stdout: int = PIPE, stderr: int = PIPE) -> Process:
    return await asyncio.create_subprocess_exec(
        *HAFEN,
        *arguments,
        cwd=rig.socket.parent,
        env=environment(rig),
        stdin=DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )


async def hafen(rig: Rig, *arguments: str) -> tuple[int | None, str, str]:
    done = await asyncio.to_thread(
        type_, *arguments, environment=environment(rig), folder=rig.socket.parent
    )
    return done.returncode, done.stdout, done.stderr


async def shop_runs(rig: Rig, *, is_routed: bool = False) -> None:
    """Make one node that runs shop.web."""
    await rig.join("node-1")
    await rig.run_replica("node-1", service(), is_routed=is_routed)


async def test_a_deploy_waits_until_the_replicas_are_ready(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, _):
        await rig.join("node-1")
        process = await start(rig, "deploy")
        assert process.stderr is not None
        first = (await process.stderr.readline()).decode()
        await rig.run_replica("node-1", service(), is_routed=True)
        out, err = await process.communicate()

    assert (process.returncode, first) == (0, "web: 0 of 1 ready\n")
    assert err.decode() == "web: 1 of 1 ready\nweb 1 new: healthy on node-1\n"
    assert out.decode() == "shop: 1 of 1 replicas ready on 1 node\n"


async def test_a_detached_deploy_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, _):
        ended = await hafen(
            rig, "deploy", "-f", "other.yaml", "--name", "blog", "--detach", "--no-plan"
        )

    assert ended == (0, "blog: generation 1 is stored\n", "")


async def test_what_a_file_says_in_vain_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text('version: "3.8"\n' + COMPOSE)
    async with cluster(tmp_path) as (rig, _):
        code, _out, err = await hafen(rig, "deploy", "-f", "old.yaml", "--detach", "--no-plan")

    assert code == 0
    assert err.startswith("hafen: old.yaml:1: version: ")


async def test_a_deploy_that_fails_says_what_blocks_it_and_ends_with_six(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    wanted = assignment("shop.web.1.a", workload())
    failed = AllocationStatus(id=wanted.id, state=AllocState.FAILED, reason="app:1: no such image")
    async with cluster(tmp_path) as (rig, _):
        await rig.join("node-1")
        manifest = Manifest(node=NODE_1, generation=1, assignments=(wanted,))
        await rig.put(keys.desired(NODE_1), manifest)
        report = Report(node=NODE_1, capacity=Resources(), allocations=(failed,))
        await rig.put(keys.observed(NODE_1), report)
        code, out, err = await hafen(rig, "deploy")

    assert (code, out) == (ConvergenceError.exit_code, "")
    assert err == (
        "web: 0 of 1 ready (web 1 failed on node-1: app:1: no such image)\n"
        "web 1 new: failed on node-1\n"
        "hafen: shop does not come up:\n"
        "  web 1 failed on node-1: app:1: no such image\n"
        "The stack is stored (generation 2) and hafen keeps trying; `hafen ps shop` shows it.\n"
        "Mend the file and deploy it again, `hafen rollback shop`, or `hafen rm shop`.\n"
    )


async def test_a_deploy_that_takes_too_long_says_what_it_waits_for(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, _):
        code, _out, err = await hafen(rig, "deploy", "--no-plan", "--timeout", "3")

    assert code == ConvergenceError.exit_code
    assert err.splitlines()[1:4] == [
        "hafen: shop does not come up:",
        "  it is not ready after 3 s",
        "  web: slot 1: no node is ready",
    ]


async def test_a_wrong_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE.replace("image", "imgae"))
    async with cluster(tmp_path) as (rig, _):
        code, out, err = await hafen(rig, "deploy")

    assert (code, out) == (SpecError.exit_code, "")
    assert "compose.yaml:4: services.web.imgae: " in err


async def test_listings_in_a_pipe_are_plain_and_aligned(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await shop_runs(rig)
        shown = [await hafen(rig, *words) for words in (["ls"], ["ps", "shop"], ["node", "ls"])]

    assert [code for code, _, _ in shown] == [0, 0, 0]
    assert (
        shown[0][1] == "STACK  SERVICE  IMAGE  READY  PORTS  NOTES\nshop   web      app:1    1/1\n"
    )
    assert shown[1][1] == (
        "ALLOCATION    NODE    IMAGE  STATE    AGE  RESTARTS  ADDRESS     NOTES\n"
        "shop.web.1.a  node-1  app:1  healthy    -         0  198.19.1.2\n"
    )
    assert shown[2][1] == (
        "NODE    STATE  ADDRESS     CPUS   MEMORY  REPLICAS  LABELS  NOTES\n"
        "node-1  ready  198.18.0.1   0/1  0 B/0 B         1\n"
    )


async def test_listings_for_programs_are_the_records_of_the_api(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await shop_runs(rig)
        status = json.loads((await hafen(rig, "status", "--json"))[1])
        services = json.loads((await hafen(rig, "ls", "--json"))[1])

    assert status == {
        "etcd_reachable": True,
        "leader": "",
        "revision": status["revision"],
        "nodes": [
            {
                "name": "node-1",
                "state": "ready",
                "address": "198.18.0.1",
                "capacity": {"cpu_millis": 1000, "memory_bytes": 0, "pids": 0, "devices": {}},
                "reserved": {"cpu_millis": 0, "memory_bytes": 0, "pids": 0, "devices": {}},
                "allocations": 1,
                "leader": False,
                "reason": "",
                "problems": [],
                "availability": "active",
                "labels": {},
            }
        ],
        "stacks": 1,
        "replicas_wanted": 1,
        "replicas_ready": 1,
        "members": status["members"],
        "age_s": 0.0,
        "leaderless_s": status["leaderless_s"],
        "services": services["services"],
        "outages": status["outages"],
        "floating": [],
        "unread": {},
    }
    assert services["services"][0]["waiting"] == []


async def test_status_says_that_etcd_is_away(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, _):
        rig.store.cut()
        code, out, _ = await hafen(rig, "status")

    assert code == 0
    assert out.startswith("etcd      NOT REACHABLE; what follows is as of ")
    assert "Not working now:\n- no change is accepted: etcd does not answer this host" in out


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (
            ["ps", "blog"],
            NotFoundError.exit_code,
            "hafen: there is no stack 'blog'; none is deployed",
        ),
        (
            ["rm", "-y", "blog"],
            NotFoundError.exit_code,
            "hafen: there is no stack 'blog'; none is deployed",
        ),
        (["rm", "blog"], SpecError.exit_code, "hafen: there is no terminal to ask at; say -y"),
        (
            ["logs", "web"],
            NotFoundError.exit_code,
            "hafen: there is no service 'web'; nothing is deployed",
        ),
        (
            ["logs", "a.b.c.d.e"],
            SpecError.exit_code,
            (
                "hafen: a.b.c.d.e: write SERVICE, STACK.SERVICE, STACK.SERVICE.SLOT or an "
                "allocation as `hafen ps` has"
            ),
        ),
        (
            ["--host", "http://x", "ls"],
            SpecError.exit_code,
            "hafen: --host http://x: write unix:/path/of/api.sock or https://HOST:8470",
        ),
        (
            ["--host", "https://x", "--tls-dir", "/nowhere", "ls"],
            2,
            "hafen: tls.ca: /nowhere/ca.crt: No such file or directory",
        ),
        (
            ["--host", "unix:/nowhere/api.sock", "ls"],
            UnavailableError.exit_code,
            (
                "hafen: nothing answers at /nowhere/api.sock: is `hafen serve` running on this "
                "host? --host and --lab name another one"
            ),
        ),
    ],
)
async def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    tmp_path: Path, words: list[str], code: int, line: str
) -> None:
    async with cluster(tmp_path) as (rig, _):
        assert await hafen(rig, *words) == (code, "", line + "\n")


async def test_a_removal_waits_until_nothing_is_left(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await shop_runs(rig)
        process = await start(rig, "rm", "-y", "shop")
        assert process.stderr is not None
        line = await process.stderr.readline()
        await rig.put(keys.observed(NODE_1), Report(node=NODE_1, capacity=Resources()))
        await rig.put(keys.desired(NODE_1), Manifest(node=NODE_1, generation=2))
        out, _ = await process.communicate()

    assert line == b"web: 0 of 0 ready, 1 old\n"
    assert (process.returncode, out) == (0, b"shop is gone\n")


async def test_events_are_lines_with_their_time(tmp_path: Path) -> None:
    event = Event(kind="node_lost", subject="node-2", reason="silent for 2.5 s", at_s=86400.5)
    async with cluster(tmp_path) as (rig, _):
        await rig.put(keys.event("1"), event)
        ended = await hafen(rig, "events")

    assert ended == (
        0,
        "1970-01-02 00:00:00.500  node_lost       node-2: silent for 2.5 s\n",
        "",
    )


async def test_a_remark_about_a_node_is_on_standard_error(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await shop_runs(rig)
        ended = await hafen(rig, "logs", "web")

    assert ended == (
        0,
        "",
        "hafen: shop.web.1.a: node-1 cannot be asked: its settings have no [tls]\n",
    )


async def test_an_interrupted_follower_ends_with_one_line(tmp_path: Path) -> None:
    event = Event(kind="k", subject="s", reason="r", at_s=1.0)
    async with cluster(tmp_path) as (rig, _):
        await rig.put(keys.event("1"), event)
        process = await start(rig, "events", "-f")
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

    assert (process.returncode, err) == (130, b"hafen: interrupted\n")


async def test_a_reader_that_stops_reading_ends_a_listing_quietly(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        reading, writing = os.pipe()
        os.close(reading)
        process = await start(rig, "ls", stdout=writing)
        os.close(writing)
        _, err = await process.communicate()

    assert (process.returncode, err) == (141, b"")


async def test_a_terminal_gets_colours_and_a_pipe_does_not(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await shop_runs(rig)
        ours, theirs = pty.openpty()
        process = await start(rig, "ps", stdout=theirs)
        os.close(theirs)
        await process.communicate()
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        _, plain, _ = await hafen(rig, "ps")

    assert "\x1b[" in shown
    assert "\x1b[" not in plain
    assert "healthy" in shown


async def test_a_deploy_at_a_terminal_shows_its_progress_live(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, _):
        await shop_runs(rig, is_routed=True)
        ours, theirs = pty.openpty()
        process = await start(rig, "deploy", stderr=theirs)
        os.close(theirs)
        out, _ = await process.communicate()
        shown = os.read(ours, 65536).decode()
        os.close(ours)

    assert (process.returncode, out) == (0, b"shop: 1 of 1 replicas ready on 1 node\n")
    assert "web: 1 of 1 ready" in shown


async def test_a_deploy_outlives_a_restart_of_the_scheduler(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, _):
        await rig.join("node-1")
        process = await start(rig, "deploy")
        assert process.stderr is not None
        await process.stderr.readline()
    async with cluster(tmp_path, etcd=rig.server) as (again, _):
        await again.run_replica("node-1", service(), is_routed=True)
        out, _err = await process.communicate()

    assert (process.returncode, out) == (0, b"shop: 1 of 1 replicas ready on 1 node\n")
