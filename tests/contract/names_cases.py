"""What test_names.py runs, one case a process: it must own its network namespace."""

import asyncio
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode

from node_agent.names.server import CLIENTS_OF_ONE_MAX
from node_agent.names.snapshot import SNAPSHOT, SOCKET
from node_agent.names.telling import Teller
from node_agent.network import namespaces
from node_agent.oci.naming import resolv_conf
from node_agent.process import running
from tests.build_names import OWN, question, snapshot
from tests.contract.names_rig import (
    MANY,
    SECOND,
    STRANGER,
    UPSTREAM,
    A,
    B,
    Rig,
    cluster,
    ended,
    upstream,
)
from tests.stopping import kill, stop
from tests.waiting import until

ROOT: Final = Path(__file__).parents[2]


async def containers_are_answered(rig: Rig) -> None:
    status = await rig.keeper.apply(cluster("198.19.1.10", "198.19.1.11"))
    assert status.problems == ()
    assert await rig.addresses("vip") == ["198.19.254.1"]
    assert await rig.addresses("web.shop") == ["198.19.1.10", "198.19.1.11"]
    assert await rig.addresses("back", of=B) == ["198.19.3.1"]
    assert await rig.addresses("back") == []
    assert (await rig.ask("web", of=STRANGER)).rcode() == dns.rcode.REFUSED
    assert (await rig.ask("web", tcp=True)).answer
    pointer = await rig.ask("10.1.19.198.in-addr.arpa", "PTR")
    assert str(pointer.answer[0][0]) == "shop.web.1.a.hafen.internal."
    figures = (await rig.keeper.metrics()).splitlines()
    assert 'hafen_names_questions_total{kind="stranger"} 1' in figures
    assert 'hafen_names_questions_total{kind="local"} 6' in figures


async def many_replicas_are_told_by_tcp(rig: Rig) -> None:
    await rig.keeper.apply(cluster())
    query = dns.message.make_query("many", "A", use_edns=0, payload=1232)
    found, by_tcp = await rig.inside(
        lambda: dns.query.udp_with_fallback(query, OWN, timeout=5, source=A)
    )
    assert by_tcp
    assert len(found.answer[0]) == MANY


async def the_c_library_asks_it(rig: Rig) -> None:
    """The resolvers of glibc and of busybox, with the file that containers are given."""
    await rig.keeper.apply(cluster("198.19.1.10"))
    file = rig.folder / "of_container"
    file.write_text(resolv_conf("search example\n", (OWN,)))

    def run(*argv: str) -> str:
        shell = f'mount --bind {file} /etc/resolv.conf && exec "$@"'
        whole = ["unshare", "--mount", "sh", "-c", shell, "sh", *argv]
        return subprocess.run(whole, capture_output=True, text=True, timeout=30, check=False).stdout

    found = await rig.inside(lambda: run("getent", "-s", "hosts:dns", "ahostsv4", "web"))
    assert found.split()[0] == "198.19.1.10"
    found = await rig.inside(lambda: run("getent", "-s", "hosts:dns", "ahostsv4", "many"))
    assert len({line.split()[0] for line in found.splitlines()}) == MANY
    found = await rig.inside(lambda: run("getent", "-s", "hosts:dns", "hosts", "198.19.1.10"))
    assert found.split()[1] == "shop.web.1.a.hafen.internal"
    assert await rig.inside(lambda: run("getent", "-s", "hosts:dns", "ahostsv4", "back")) == ""
    # busybox's nslookup adds what is searched to every name without a dot.
    found = await rig.inside(lambda: run("busybox", "nslookup", "vip.shop"))
    assert "198.19.254.1" in found, found


async def what_changes_is_seen_at_once(rig: Rig) -> None:
    await rig.keeper.apply(cluster("198.19.1.10", "198.19.1.11"))
    for web in (("198.19.1.11",), ("198.19.1.12", "198.19.1.11"), ()):
        await rig.keeper.apply(cluster(*web))
        assert await rig.addresses("web") == sorted(web)


async def one_that_was_told_something_else_meanwhile_is_told_all_of_it(rig: Rig) -> None:
    await rig.keeper.apply(cluster("198.19.1.10"))
    await rig.new_keeper().apply(snapshot())
    assert (await rig.ask("web")).rcode() == dns.rcode.REFUSED
    await rig.keeper.apply(cluster("198.19.1.11"))
    assert await rig.addresses("web") == ["198.19.1.11"]


async def the_rest_is_asked_of_others(rig: Rig) -> None:
    await rig.keeper.apply(cluster())
    async with upstream() as other:
        for name in ("good.example", "lost.example", "late.example", "forged.example"):
            assert await rig.addresses(name) == ["192.0.2.1"], name
        assert await rig.addresses("cut.example") == ["192.0.2.7", "192.0.2.8"]
        assert await rig.addresses("flooded.example") == ["192.0.2.7", "192.0.2.8"]
        # Its name is a pointer into their message: what only copies bytes would lead anywhere.
        mail = await rig.ask("good.example", "MX")
        assert mail.answer[0][0].to_text() == "10 mail.good.example."
        assert (await rig.ask("broken.example")).rcode() == dns.rcode.SERVFAIL
        assert (await rig.ask("absent.example")).rcode() == dns.rcode.NXDOMAIN
        before = dict(other.asked)
        for name in ("good.example", "GOOD.example", "absent.example"):
            found = await rig.ask(name)
            assert found.question[0].name.to_text() == f"{name}."
            assert all(each.ttl <= 60 for each in found.answer)
        assert dict(other.asked) == before, "what is known is not asked again"
        for name in ("web", "nosuch", "nosuch.hafen.internal", "9.9.19.198.in-addr.arpa"):
            await rig.ask(name)
        assert (await rig.ask("good.example", of=STRANGER)).rcode() == dns.rcode.REFUSED
        assert dict(other.asked) == before, "what is ours is never asked of others"


async def another_server_is_asked_when_one_fails_and_the_file_is_read_again(rig: Rig) -> None:
    await rig.keeper.apply(cluster())
    assert (await rig.ask("good.example")).rcode() == dns.rcode.SERVFAIL
    rig.resolv_conf.write_text(f"nameserver {UPSTREAM}\nnameserver {OWN}\nnameserver {SECOND}\n")
    async with upstream(SECOND) as other:

        async def is_answered() -> bool:
            return await rig.addresses("good.example") == ["192.0.2.1"]

        await until(is_answered, 10)
        assert other.asked["good"] == 1


async def the_services_own_servers_are_asked(rig: Rig) -> None:
    await rig.keeper.apply(cluster(dns=(SECOND,)))
    async with upstream(SECOND) as own, upstream() as nodes:
        assert await rig.addresses("good.example") == ["192.0.2.1"]
        assert (own.asked["good"], nodes.asked["good"]) == (1, 0)


async def one_container_cannot_keep_the_others_from_asking(rig: Rig) -> None:
    await rig.keeper.apply(cluster())
    async with upstream():
        flood = await rig.inside(lambda: sending(A))
        with flood:
            for number in range(200):
                flood.send(question(f"held.{number}.example"))
            refused = dns.message.from_wire(await received(flood))
            assert refused.rcode() == dns.rcode.SERVFAIL
            assert await rig.addresses("good.example", of=B) == ["192.0.2.1"]
            assert await rig.addresses("vip") == ["198.19.254.1"]


def sending(source: str) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.setblocking(False)
    found.bind((source, 0))
    found.connect((OWN, 53))
    return found


async def received(one: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(one, 65535)


async def garbage_ends_nothing(rig: Rig) -> None:
    await rig.keeper.apply(cluster())
    pid, rng = rig.pid, random.Random(7)  # noqa: S311 - a test's
    with await rig.inside(lambda: sending(A)) as one:
        for _ in range(2000):
            wire = bytearray(question("web") if rng.random() < 0.5 else rng.randbytes(64))
            wire[rng.randrange(len(wire))] = rng.randrange(256)
            one.send(wire[: rng.randrange(len(wire) + 1)])
    clients = [await rig.inside(connected) for _ in range(CLIENTS_OF_ONE_MAX + 4)]
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(clients[0], b"\xff\xff" + b"x" * 100)
    assert await loop.sock_recv(clients[0], 10) == b""
    assert await loop.sock_recv(clients[-1], 10) == b"", "one too many is hung up on"
    await loop.sock_sendall(clients[1], b"\0\3abc")
    assert await loop.sock_recv(clients[1], 10) == b""
    await loop.sock_sendall(clients[2], b"\0")

    async def is_answered() -> bool:
        try:
            return await rig.addresses("vip") == ["198.19.254.1"]
        except dns.exception.Timeout:
            return False  # What a flood does not leave room for is lost, and asked again.

    await until(is_answered, 30)
    assert await loop.sock_recv(clients[2], 10) == b"", "who is too slow is hung up on"
    for client in clients:
        client.close()
    assert (await rig.ask("vip", tcp=True)).answer
    assert rig.pid == pid


def connected() -> socket.socket:
    found = socket.create_connection((OWN, 53), source_address=(A, 0))
    found.setblocking(False)
    return found


async def it_outlives_the_agent_and_is_nobody(rig: Rig) -> None:
    await rig.keeper.apply(cluster("198.19.1.10"))
    pid = rig.pid
    rig.keeper = rig.new_keeper()
    assert await rig.addresses("web") == ["198.19.1.10"]
    assert (await rig.keeper.apply(cluster("198.19.1.11"))).problems == ()
    assert rig.pid == pid
    assert await rig.addresses("web") == ["198.19.1.11"]
    status = status_of(pid)
    assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
    assert (status["Groups"].split(), status["CapEff"], status["CapPrm"]) == (
        [],
        "0" * 16,
        "0" * 16,
    )
    assert status["NoNewPrivs"] == "1"
    assert os.getsid(pid) != os.getsid(0)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


async def one_that_dies_or_stands_still_is_replaced_and_knows_all(rig: Rig) -> None:
    snapshot = cluster("198.19.1.10")
    await rig.keeper.apply(snapshot)
    for end in (kill, stop):
        pid = rig.pid
        await end((pid,))
        status = await rig.keeper.apply(snapshot)
        assert status.problems == ()
        await ended(pid)
        assert rig.pid != pid
        assert await rig.addresses("web") == ["198.19.1.10"]


async def one_whose_socket_was_removed_is_replaced_and_ends(rig: Rig) -> None:
    await rig.keeper.apply(cluster("198.19.1.10"))
    before = rig.pid
    (rig.folder / "names" / SOCKET).unlink()
    assert (await rig.keeper.apply(cluster("198.19.1.11"))).problems == ()
    await ended(before)
    for _ in range(20):
        assert await rig.addresses("web") == ["198.19.1.11"]


async def an_upgrade_loses_no_question(rig: Rig) -> None:
    """An older copy of the code serves; meanwhile the newer agent comes."""
    before = start_older(rig)
    await until(lambda: namespaces.enter(rig.pin, lambda: is_answered("web")), 20)
    answered: list[bool] = []
    done = asyncio.Event()

    async def ask(name: str) -> None:
        answered.append(await rig.inside(lambda: is_answered(name)))

    async def ask_on() -> None:
        while not done.is_set():
            await ask("web")

    async def ask_others(group: asyncio.TaskGroup) -> None:
        """Ask so that some are always under way to the outside."""
        number = 0
        while not done.is_set():
            number += 1
            group.create_task(ask(f"slow{number}.example"))
            await asyncio.sleep(0.1)

    async with upstream(), asyncio.TaskGroup() as group:
        group.create_task(ask_on())
        group.create_task(ask_others(group))
        await until(lambda: len(answered) > 10, 20)
        status = await rig.keeper.apply(cluster("198.19.1.10"))
        await asyncio.to_thread(before.wait, 60)
        done.set()
    assert status.problems == ()
    assert [each for each in answered if not each] == []
    assert rig.pid != before.pid
    assert await rig.addresses("web") == ["198.19.1.10"]


def start_older(rig: Rig) -> subprocess.Popen[bytes]:
    old = rig.folder / "old"
    for package in ("node_agent", "shared"):
        shutil.copytree(ROOT / package, old / package)
    with (old / "node_agent/names/answer.py").open("a") as file:
        file.write("# of before\n")
    (rig.folder / "names").mkdir()
    (rig.folder / "names" / SNAPSHOT).write_bytes(Teller().of(cluster("198.19.1.10")).wire())
    argv = [sys.executable, "-m", "node_agent.names", "--address", OWN]
    argv += ["--folder", str(rig.folder / "names")]
    return subprocess.Popen(argv, cwd=old, stderr=subprocess.DEVNULL)


def is_answered(name: str) -> bool:
    """Say whether a question is answered at the first try, and not by a failure."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(4)
        one.bind((A, 0))
        one.connect((OWN, 53))
        try:
            one.send(question(name))
            return dns.message.from_wire(one.recv(512)).rcode() == dns.rcode.NOERROR
        except OSError:
            return False


async def a_taken_port_is_a_problem_until_it_is_free(rig: Rig) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 53))
        await rig.keeper.apply(cluster())
        (problem,) = (await rig.keeper.apply(cluster())).problems
        assert problem.startswith(f"names: cannot listen on {OWN}:53 (UDP): Address already in use")

    async def is_well() -> bool:
        return (await rig.keeper.apply(cluster())).problems == ()

    await until(is_well, 10)
    assert await rig.addresses("vip") == ["198.19.254.1"]


async def it_may_begin_before_its_link_is_there(rig: Rig) -> None:
    assert (await rig.keeper.apply(cluster())).problems == ()
    rig.give_address()
    assert await rig.addresses("vip") == ["198.19.254.1"]
    rig.take_address()
    rig.give_address()
    assert await rig.addresses("vip") == ["198.19.254.1"]


async def two_that_begin_at_once_leave_one(rig: Rig) -> None:
    other = rig.new_keeper()
    async with asyncio.TaskGroup() as group:
        for keeper in (rig.keeper, other):
            group.create_task(keeper.apply(cluster("198.19.1.10")))
    await until(lambda: len(running(lambda words: "node_agent.names" in words)) == 1, 10)
    assert (await rig.keeper.apply(cluster("198.19.1.11"))).problems == ()
    for _ in range(20):
        assert await rig.addresses("web") == ["198.19.1.11"]


CASES: Final[dict[str, Callable[[Rig], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        containers_are_answered,
        many_replicas_are_told_by_tcp,
        the_c_library_asks_it,
        what_changes_is_seen_at_once,
        one_that_was_told_something_else_meanwhile_is_told_all_of_it,
        the_rest_is_asked_of_others,
        another_server_is_asked_when_one_fails_and_the_file_is_read_again,
        the_services_own_servers_are_asked,
        one_container_cannot_keep_the_others_from_asking,
        garbage_ends_nothing,
        it_outlives_the_agent_and_is_nobody,
        one_that_dies_or_stands_still_is_replaced_and_knows_all,
        one_whose_socket_was_removed_is_replaced_and_ends,
        an_upgrade_loses_no_question,
        a_taken_port_is_a_problem_until_it_is_free,
        it_may_begin_before_its_link_is_there,
        two_that_begin_at_once_leave_one,
    )
}


def main(name: str, folder: Path) -> None:
    """Run one case; its namespaces, and every process in them, end with this one."""
    rig = Rig(folder)
    rig.set_up(address=name != it_may_begin_before_its_link_is_there.__name__)
    asyncio.run(_awaited(CASES[name](rig)))


async def _awaited(case: Awaitable[None]) -> None:
    await case


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
