"""What lab hosts run: etcd that survives a power loss, `hafen serve` that says what is wrong."""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.lab.lab import PROGRAM, Lab
from tests.waiting import until

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
IDLE = ("sleep", "600")
CONFIG = "/etc/hafen/hafen.toml"
ETCD_ALONE = (sys.executable, str(Path(__file__).parent / "supervised.py"), "etcd", CONFIG)
ETCDCTL = (
    *("env", "ETCDCTL_API=3", "etcdctl", "--command-timeout=1s", "--endpoints=127.0.0.1:2379"),
    *("--cacert=/etc/hafen/ca.crt", "--cert=/etc/hafen/node.crt", "--key=/etc/hafen/node.key"),
)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab(f"t{os.getpid() % 100000}-h")
    yield made
    await made.down()


async def run(lab: Lab, where: str, *argv: str) -> tuple[int | None, str]:
    process = await lab.run_in(where, argv, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def succeeds(lab: Lab, where: str, *argv: str) -> bool:
    code, _ = await run(lab, where, *argv)
    return code == 0


async def prints(lab: Lab, where: str, wanted: str, *argv: str) -> bool:
    return await run(lab, where, *argv) == (0, wanted)


async def until_succeeds(lab: Lab, where: str, *argv: str) -> None:
    """Run a program again and again until it ends well."""
    await until(lambda: succeeds(lab, where, *argv), 20, poll_s=0.02)


async def test_etcd_loses_a_host_and_has_it_back_with_its_data(lab: Lab) -> None:
    await lab.up(3, program=ETCD_ALONE)
    await until_succeeds(lab, "node-1", *ETCDCTL, "put", "a", "1")

    await lab.kill("node-1")
    await until_succeeds(lab, "node-2", *ETCDCTL, "put", "a", "2")
    await lab.boot("node-1")

    await until_succeeds(lab, "node-1", *ETCDCTL, "put", "b", "3")
    get = ("get", "--print-value-only", "a")
    await until(lambda: prints(lab, "node-1", "2\n", *ETCDCTL, *get), 20)
    without_certificate = [word for word in ETCDCTL if not word.startswith(("--cert", "--key"))]
    assert not await succeeds(lab, "node-1", *without_certificate, "get", "a")


async def test_etcd_alone_is_started_again_when_it_dies(lab: Lab) -> None:
    await lab.up(1, program=ETCD_ALONE)
    await until_succeeds(lab, "node-1", *ETCDCTL, "put", "a", "1")
    _, before = await run(lab, "node-1", "pgrep", "-x", "etcd")

    await run(lab, "node-1", "pkill", "-KILL", "-x", "etcd")

    await until_succeeds(lab, "node-1", *ETCDCTL, "get", "a")
    _, after = await run(lab, "node-1", "pgrep", "-x", "etcd")
    assert before != after


async def test_a_host_that_cannot_run_hafen_is_told_everything_at_once(lab: Lab) -> None:
    await lab.up(1, program=IDLE)
    disk, etc = lab.paths.disk("node-1"), lab.paths.etc("node-1")
    (disk / "etcd").mkdir()
    (disk / "etcd" / "holiday.jpg").touch()
    (etc / "node.key").chmod(0o644)
    listen = (
        "import socket, sys; server = socket.create_server(('0.0.0.0', 8471)); "
        "print(1, flush=True); sys.stdin.read()"
    )
    holder = await lab.run_in("node-1", [sys.executable, "-c", listen], stdin=PIPE, stdout=PIPE)
    assert holder.stdout is not None
    await holder.stdout.readline()

    # /usr/bin has env and the interpreter's libraries, not nft and ip.
    code, said = await run(lab, "node-1", "env", "PATH=/usr/bin", *PROGRAM)

    holder.kill()
    await holder.wait()
    lines = said.splitlines()
    assert code == 4
    assert lines[0] == "hafen: haproxy is not installed: apt-get install haproxy"
    assert lines[1] == "nft is not installed: apt-get install nftables"
    assert "/etc/hafen/node.key can be read by others: chmod 600 /etc/hafen/node.key" in lines
    assert "/var/lib/hafen/etcd is for etcd's data but holds holiday.jpg: move it away" in lines
    assert lines[-1].startswith("port 8471 for the node agent is taken by python")


async def test_a_wrong_setting_is_named_with_its_file(lab: Lab) -> None:
    await lab.up(1, program=IDLE)
    config = lab.paths.etc("node-1") / "hafen.toml"
    config.write_text(config.read_text().replace("scheduler = true", "schedular = true"))

    code, said = await run(lab, "node-1", *PROGRAM)

    assert code == 2
    assert said == ("hafen: /etc/hafen/hafen.toml: Object contains unknown field `schedular`\n")


UP_FROM_COPY = """
import asyncio, sys
from deploy.lab.lab import Lab

async def main():
    lab = Lab(sys.argv[1])
    await lab.up(1, program=("sleep", "600"))
    code = "import deploy.host.supervise as s; print(s.__file__)"
    sys.exit(await lab.exec("node-1", [sys.executable, "-c", code]))

asyncio.run(main())
"""


async def test_hosts_run_the_code_of_a_checkout_under_tmp(lab: Lab, tmp_path: Path) -> None:
    assert tmp_path.is_relative_to("/tmp"), "hosts have a /tmp of their own"
    for package in ("deploy", "shared"):
        shutil.copytree(ROOT / package, tmp_path / package)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UP_FROM_COPY, lab.name),
        cwd=tmp_path,
        stdin=DEVNULL,
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    out, _ = await process.communicate()

    assert process.returncode == 0
    assert out.decode() == f"{tmp_path}/deploy/host/supervise.py\n"
