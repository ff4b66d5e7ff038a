"""Floating addresses on real hosts: their holder vanishes, is cut off, frozen; requests go on."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.lab.ground import leftovers
from deploy.lab.tally import Outcome
from shared import codec
from shared.timing import LAN
from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

NAME: Final = "itest-vip"
ROOT: Final = Path(__file__).parents[2]
HOSTS: Final = ("node-1", "node-2", "node-3")
VIP: Final = "198.18.0.50"
MORE: Final = ("198.18.0.52", "198.18.0.53")
FILE: Final = """
services:
  web:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    deploy: {replicas: 3}
    ports:
      - {target: 80, published: 8080, app_protocol: http}
"""
# Ends HAProxy, is quicker than its next start, and keeps its port until nobody speaks to it.
THIEF: Final = """
import os, signal, socket, subprocess, sys
port = int(sys.argv[1])
found = subprocess.run(["pgrep", "-x", "haproxy"], capture_output=True, text=True).stdout
for pid in found.split():
    os.kill(int(pid), signal.SIGKILL)
taken = socket.socket()
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
while taken.getsockname()[1] != port:
    try:
        taken.bind(("0.0.0.0", port))
    except OSError:
        pass
taken.listen()
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab(NAME, tmp_path_factory.mktemp("compose")) as up:
        done = up.deploy("shop", FILE)
        assert done.returncode == 0, done.stderr
        up.run("vip", "add", VIP)
        until_sync(lambda: holder(up) != "", 20)
        yield up
    assert leftovers(NAME) == []


def view(cluster: Cluster) -> dict[str, Any]:
    (found,) = cluster.json("vip", "ls")["addresses"]
    assert isinstance(found, dict)
    return found


def holder(cluster: Cluster) -> str:
    """Return who is said to have the address."""
    return str(view(cluster).get("holder", ""))


def holders(cluster: Cluster) -> dict[str, str]:
    """Return who is said to have each address."""
    found = cluster.json("vip", "ls")["addresses"]
    return {str(each["address"]): str(each.get("holder", "")) for each in found}


def answering(cluster: Cluster, vip: str = VIP) -> list[str]:
    """Return the hosts whose kernels have an address."""
    argv = ("ip", "-o", "addr", "show", "dev", "eth0")
    return [h for h in HOSTS if f"{vip}/" in cluster.inside(h, *argv, ok=False)]


def settled(cluster: Cluster) -> str:
    """Wait until the host that is said to have the address is the one that answers; return it."""
    until_sync(lambda: answering(cluster) == [holder(cluster)], 20)
    return holder(cluster)


def is_reached(cluster: Cluster) -> bool:
    """Say whether the client gets an answer from the address."""
    url = f"http://{VIP}:8080/"
    return cluster.inside("client", "busybox", "wget", "-qO-", url, ok=False) != ""


def is_moved(cluster: Cluster, host: str) -> bool:
    """Ask for a move; say whether it was accepted: who was broken is mistrusted at first."""
    return cluster.run("vip", "move", VIP, host, ok=False).returncode == 0


@contextmanager
def load(folder: Path) -> Iterator[list[Outcome]]:
    """Send requests to the address for twelve seconds; afterwards the list has how each ended."""
    file = folder / "requests"
    argv = [
        "-m",
        "deploy.lab.load",
        "--url",
        f"http://{VIP}:8080/",
        "--rate",
        "50",
        "--seconds",
        "12",
    ]
    where = ["lab", "exec", "--name", NAME, "client", "--", sys.executable]
    hafen = [sys.executable, "-c", "from deploy.cli.main import main; main()", *where, *argv]
    outcomes: list[Outcome] = []
    with subprocess.Popen(
        [*hafen, "--requests", str(file), "--fresh-every", "2"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "it has begun"
        try:
            yield outcomes
        finally:
            process.communicate(timeout=60)
    outcomes += [codec.decode(Outcome, line, "request") for line in file.read_bytes().splitlines()]


def test_when_its_holder_vanishes_another_answers(cluster: Cluster, tmp_path: Path) -> None:
    before = settled(cluster)
    with load(tmp_path) as outcomes:
        cluster.lab("kill", before)
        until_sync(lambda: holder(cluster) not in {"", before}, 20)
        until_sync(lambda: is_reached(cluster), 20)
    cluster.lab("boot", before)
    failed = [one for one in outcomes if one.failure]
    # What is on a connection to a host that vanished goes with it; nothing else may fail.
    assert [one for one in failed if one.opened_s is None] == []
    assert sum(one.status == HTTPStatus.OK for one in outcomes) > len(failed)
    until_sync(lambda: len(cluster.ready("shop")) == 3, 60)
    assert holder(cluster) != before, "who comes back takes nothing"


def test_a_holder_that_is_cut_off_drops_it(cluster: Cluster) -> None:
    before = settled(cluster)
    cluster.lab("cut", before)
    try:
        until_sync(lambda: len(answering(cluster)) == 1 and before not in answering(cluster), 20)
    finally:
        cluster.lab("heal", before)
    assert settled(cluster) != before


def test_a_frozen_agent_s_address_moves(cluster: Cluster) -> None:
    before = settled(cluster)
    cluster.lab("pause", before, "agent")
    try:
        until_sync(lambda: len(answering(cluster)) == 1 and before not in answering(cluster), 30)
    finally:
        cluster.lab("resume", before, "agent")
    settled(cluster)


@contextmanager
def theft(cluster: Cluster, host: str, port: int) -> Iterator[None]:
    """Let another program of a host have a port that its gateway had."""
    words = ["lab", "exec", "--name", cluster.name, host, "--", sys.executable, "-c", THIEF]
    hafen = [sys.executable, "-c", "from deploy.cli.main import main; main()", *words]
    with subprocess.Popen(
        [*hafen, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield
        finally:
            process.communicate(timeout=30)


def test_a_host_whose_gateway_lost_a_port_hands_it_on(cluster: Cluster) -> None:
    before = settled(cluster)
    with theft(cluster, before, 8080):
        until_sync(lambda: holder(cluster) not in {"", before}, 30)
        settled(cluster)
        until_sync(lambda: is_reached(cluster), 20)
        until_sync(lambda: is_without(view(cluster), before), 20)
        refused = cluster.run("vip", "move", VIP, before, ok=False)
        assert f"{before}'s gateway does not serve: port 8080 of shop.web is" in refused.stderr
    # It is believed again once it has served for a while.
    until_sync(lambda: is_moved(cluster, before), 60)
    until_sync(lambda: answering(cluster) == [before] == [holder(cluster)], 20)
    until_sync(lambda: is_reached(cluster), 20)


def is_without(shown: dict[str, Any], host: str) -> bool:
    """Say whether the address is well, and the host may not have it."""
    return host not in shown["eligible"] and not shown.get("problem", "")


def test_it_goes_where_it_is_moved_and_is_back_when_somebody_removes_it(cluster: Cluster) -> None:
    before = settled(cluster)
    other = next(host for host in HOSTS if host != before)
    until_sync(lambda: is_moved(cluster, other), 60)
    until_sync(lambda: answering(cluster) == [other] == [holder(cluster)], 20)
    cluster.inside(other, "ip", "addr", "del", f"{VIP}/32", "dev", "eth0")
    until_sync(lambda: answering(cluster) == [other], 20)


def test_after_a_failure_they_are_levelled_and_the_one_that_was_sent_stays(
    cluster: Cluster,
) -> None:
    for vip in MORE:
        cluster.run("vip", "add", vip)
    until_sync(lambda: sorted(holders(cluster).values()) == list(HOSTS), 60)
    # Its connections are the youngest there: it would be the one to go, had nobody sent it.
    sent_to, gone = (holders(cluster)[vip] for vip in MORE)
    until_sync(lambda: is_moved(cluster, sent_to), 60)
    until_sync(lambda: holders(cluster)[VIP] == sent_to, 20)
    cluster.lab("kill", gone)
    until_sync(lambda: {"", gone}.isdisjoint(holders(cluster).values()), 30)
    cluster.lab("boot", gone)
    until_sync(lambda: sorted(holders(cluster).values()) == list(HOSTS), LAN.level_s + 90)
    assert holders(cluster)[VIP] == sent_to
    until_sync(lambda: answering(cluster) == [sent_to], 20)
    said = holders(cluster)
    until_sync(lambda: all(answering(cluster, vip) == [said[vip]] for vip in MORE), 20)
    for vip in MORE:
        cluster.run("vip", "rm", "-y", vip)


def test_what_cannot_be_one_is_refused_and_one_that_is_removed_is_dropped(
    cluster: Cluster,
) -> None:
    refused = cluster.run("vip", "add", "198.18.0.2", ok=False)
    assert (refused.returncode, refused.stderr) == (
        2,
        "hafen: 198.18.0.2 is node-2's own address: choose one that no host has\n",
    )
    cluster.inside("client", "ip", "addr", "add", "198.18.0.51/32", "dev", "eth0")
    cluster.run("vip", "add", "198.18.0.51")
    until_sync(lambda: "a machine has it" in str(cluster.json("vip", "ls")), 20)
    silent = "floating address 198.18.0.51: nobody answers it"
    until_sync(lambda: silent in str(cluster.json("status")), 20)
    cluster.run("vip", "rm", "-y", "198.18.0.51")
    cluster.run("vip", "rm", "-y", VIP)
    until_sync(lambda: answering(cluster) == [] == cluster.json("vip", "ls")["addresses"], 20)
