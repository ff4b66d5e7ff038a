"""Cases of test_gateway.py in which somebody removes files of an HAProxy that goes on running."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from node_agent.gateway.haproxy import HaproxyGateway
from tests.contract.gateway_rig import (
    PORT,
    SHOP,
    A,
    B,
    client,
    endpoint,
    load,
    replica,
    served,
)
from tests.stopping import kill
from tests.waiting import until

FILES: Final = ("admin.sock", "master.sock", "metrics.sock", "haproxy.cfg")


async def a_file_of_haproxy_s_that_is_removed_is_back(gateway: HaproxyGateway) -> None:
    """No request fails, and none is left to a process that nobody can speak to."""
    async with replica(A), replica(B), client(keep_alive=False) as gets:
        await gateway.apply(served(endpoint(A)))
        async with load(gets):
            for number, name in enumerate(FILES):
                (gateway.run_dir / "haproxy" / name).unlink()
                to, revision = (A, B)[(number + 1) % 2], number + 2
                status = await gateway.apply(served(endpoint(to), revision=revision))
                assert (status.acked, status.problems) == ({SHOP: revision}, ()), name
                there = {path.name for path in (gateway.run_dir / "haproxy").iterdir()}
                assert there.issuperset(FILES), name
                await until(lambda: listening() == 1, 10)
                before = len(gets.answers)
                await until(lambda before=before: len(gets.answers) > before + 20, 10)  # type: ignore[misc]
                assert set(gets.answers[before + 5 :]) == {to}, name
    assert gets.failures == [], gets.failures[:5]


async def a_haproxy_that_lost_a_file_before_the_agent_began_is_replaced(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), replica(B), client(keep_alive=False) as gets:
        await gateway.apply(served(endpoint(A)))
        gateway.haproxy.admin_socket.unlink()
        again = HaproxyGateway(gateway.run_dir)
        status = await again.apply(served(endpoint(B), revision=2))
        assert (status.acked, status.problems) == ({SHOP: 2}, ())
        await until(lambda: listening() == 1, 10)
        for _ in range(10):
            await gets.get()
    assert (set(gets.answers), gets.failures) == ({B}, [])


async def a_namesake_of_another_network_is_left_alone(gateway: HaproxyGateway) -> None:
    """Hosts of a lab have the same paths as the machine, which sees their processes."""
    await gateway.apply(served(endpoint(A)))
    own = gateway.haproxy.left()
    assert is_taken_for_its_own(gateway)
    assert not is_taken_for_its_own(gateway, "unshare", "--net", "--")
    assert gateway.haproxy.left() == own != ()


async def one_that_does_not_start_is_said_while_it_is_waited_for(
    gateway: HaproxyGateway,
) -> None:
    await gateway.apply(served(endpoint(A)))
    assert trouble_of(gateway) == ""
    found = os.environ["PATH"]
    await kill(gateway.haproxy.left())
    stub(gateway.run_dir, "case $1 in -c) exit 0;; esac; exit 1")
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(gateway.apply(served(endpoint(A))))
        await until(lambda: trouble_of(gateway) == "HAProxy does not run", 10)
        assert not starting.done()
        starting.cancel()
    stub(gateway.run_dir, "echo no such library; exit 1")
    await gateway.apply(served(endpoint(A)))
    assert trouble_of(gateway) == "HAProxy refuses the configuration: no such library"
    os.environ["PATH"] = found
    await gateway.apply(served(endpoint(A)))
    assert trouble_of(gateway) == ""


def trouble_of(gateway: HaproxyGateway) -> str | None:
    """Return what it says now; a type checker would think that it stays so."""
    return gateway.trouble


def stub(folder: Path, script: str) -> None:
    """Let another program be HAProxy from now on."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "haproxy").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "haproxy").chmod(0o755)
    if not os.environ["PATH"].startswith(str(programs)):
        os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"


def is_taken_for_its_own(gateway: HaproxyGateway, *before: str) -> bool:
    """Say whether a shell with HAProxy's words is, when a command becomes it."""
    words = ("-S", f"{gateway.run_dir}/haproxy/master.sock,mode,600")
    argv = [*before, "sh", "-c", "echo; read _", "sh", *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as namesake:
        assert namesake.stdout is not None
        namesake.stdout.readline()
        found = namesake.pid in gateway.haproxy.left()
        namesake.communicate(b"\n")
    return found


def listening() -> int:
    """Return how many sockets of IPv4 listen on the published port."""
    argv = ["ss", "-4Hltn", "sport", "=", f":{PORT}"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True)
    return len(shown.stdout.splitlines())


LOST_CASES: Final[tuple[Callable[[HaproxyGateway], Awaitable[None]], ...]] = (
    a_file_of_haproxy_s_that_is_removed_is_back,
    a_haproxy_that_lost_a_file_before_the_agent_began_is_replaced,
    a_namesake_of_another_network_is_left_alone,
    one_that_does_not_start_is_said_while_it_is_waited_for,
)
