"""`hafen net doctor` on three real hosts: break one thing at a time and read what it says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

WEB = """
services:
  web:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    ports: ["8080:80"]
    deploy: {mode: global}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab("netdoc", tmp_path_factory.mktemp("netdoc")) as up:
        done = up.deploy("shop", WEB)
        assert done.returncode == 0, done.stderr
        yield up


def subnet(cluster: Cluster, host: str) -> str:
    (line,) = cluster.inside(host, "ip", "-4", "-o", "addr", "show", "hafen0").splitlines()
    return line.split()[3].rpartition(".")[0] + ".0/24"


def address(cluster: Cluster, host: str) -> str:
    (line,) = cluster.inside(host, "ip", "-4", "-o", "addr", "show", "eth0").splitlines()
    return line.split()[3].partition("/")[0]


def doctor(cluster: Cluster) -> dict[str, Any]:
    done = cluster.run("net", "doctor", "--json", ok=False)
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert bool(found["findings"]) == bool(done.returncode)
    return found


def said(cluster: Cluster) -> list[tuple[str, str]]:
    return [(one["where"], one["what"]) for one in doctor(cluster)["findings"]]


def until_said(cluster: Cluster, *findings: tuple[str, str]) -> None:
    """Wait until these are all findings: a busy machine may not answer the probes of one look."""
    until_sync(lambda: said(cluster) == list(findings), 60)


def until_one_begins(cluster: Cluster, where: str, begins: str) -> None:
    """Wait until there is one finding, and it begins like this."""

    def is_said() -> bool:
        found = [(at, what.startswith(begins)) for at, what in said(cluster)]
        return found == [(where, True)]

    until_sync(is_said, 60)


@contextmanager
def broken_again_and_again(cluster: Cluster, host: str, command: str) -> Iterator[None]:
    """Break something as fast as hafen mends it."""
    loop = f"while [ -e /run/broken ]; do {command}; sleep 0.05; done"
    cluster.inside(host, "touch", "/run/broken")
    cluster.inside(host, "sh", "-c", f"({loop}) >/dev/null 2>&1 </dev/null &")
    try:
        yield
    finally:
        cluster.inside(host, "rm", "-f", "/run/broken")
        until_said(cluster)


@contextmanager
def filtered(cluster: Cluster, host: str, script: str) -> Iterator[None]:
    cluster.inside(host, "sh", "-c", f"printf '{script}' | nft -f -")
    try:
        yield
    finally:
        cluster.inside(host, "nft", "delete", "table", "ip", "filter")


def all_is_well(found: dict[str, Any]) -> bool:
    cells = [cell["lost"] for cell in found["cells"]]
    return not found["findings"] and cells == [[]] * 9 and found["probes"] > 50


def test_a_cluster_that_is_well_has_no_findings(cluster: Cluster) -> None:
    # Hosts that have only just come may still be on their way.
    until_sync(lambda: all_is_well(doctor(cluster)), 60)
    until_sync(lambda: tells_that_all_is_well(cluster), 60)


def tells_that_all_is_well(cluster: Cluster) -> bool:
    done = cluster.run("net", "doctor", ok=False)
    words = ("Nothing found that is wrong.", "3 nodes, 3 pairs, both ways")
    return done.returncode == 0 and all(each in done.stdout for each in words)


def test_a_route_that_is_missing(cluster: Cluster) -> None:
    there = subnet(cluster, "node-3")
    with broken_again_and_again(cluster, "node-2", f"ip route del {there}"):
        until_sync(lambda: there not in cluster.inside("node-2", "ip", "route"), 10)
        # A look may also come between hafen's mending and the next breaking.
        until_said(cluster, ("node-2 -> node-3", f"route to {there} is missing on node-2"))


def test_a_kernel_that_does_not_forward(cluster: Cluster) -> None:
    forward = "/proc/sys/net/ipv4/ip_forward"
    with broken_again_and_again(cluster, "node-3", f"echo 0 > {forward}"):
        until_sync(lambda: cluster.inside("node-3", "cat", forward).strip() == "0", 10)
        until_one_begins(cluster, "node-3", "ip_forward is 0")


def test_packets_that_are_too_large(cluster: Cluster) -> None:
    from_3 = f"{{ {address(cluster, 'node-3')}, {subnet(cluster, 'node-3')} }}"
    rule = f"ip saddr {from_3} ip length gt 1400 drop"
    head = "type filter hook prerouting priority -300;"
    script = f"table ip filter {{\\nchain narrow {{\\n{head}\\n{rule}\\n}}\\n}}\\n"
    with filtered(cluster, "node-2", script):
        lost = "packets above 1400 bytes are lost between hosts, and nobody says so"
        until_said(cluster, ("node-2 <-> node-3", lost))


def test_a_firewall_that_drops_what_is_forwarded(cluster: Cluster) -> None:
    head = "type filter hook forward priority 0; policy drop;"
    with filtered(
        cluster, "node-2", f"table ip filter {{\\nchain FORWARD {{\\n{head}\\n}}\\n}}\\n"
    ):
        until_sync(lambda: is_forward_chain(said(cluster)), 60)


def is_forward_chain(found: list[tuple[str, str]]) -> bool:
    """Say whether the one finding is node-2's policy."""
    rule = "policy drop in chain FORWARD in table ip filter"
    return [(where, rule in what) for where, what in found] == [("node-2", True)]


def test_a_port_that_a_firewall_keeps(cluster: Cluster) -> None:
    head = "type filter hook input priority 0;"
    rule = f"ip saddr {address(cluster, 'node-3')} udp dport 8472 drop"
    with filtered(
        cluster, "node-2", f"table ip filter {{\\nchain in {{\\n{head}\\n{rule}\\n}}\\n}}\\n"
    ):
        silent = "port 8472/udp does not answer, though ICMP does"
        until_said(cluster, ("node-3 -> node-2", silent))


def test_one_way_only(cluster: Cluster) -> None:
    head = "type filter hook prerouting priority -300;"
    rule = f"ip saddr {address(cluster, 'node-3')} ip protocol icmp drop"
    with filtered(
        cluster, "node-2", f"table ip filter {{\\nchain deaf {{\\n{head}\\n{rule}\\n}}\\n}}\\n"
    ):
        deaf = "one way only: what node-3 sends does not reach node-2; the other way works"
        until_sync(lambda: said(cluster)[:1] == [("node-3 -> node-2", deaf)], 60)


def test_a_host_that_is_cut_off_is_one_finding(cluster: Cluster) -> None:
    cluster.lab("cut", "node-3")
    try:
        silent = "neither its agent nor its kernel answers node-1, node-2"
        until_one_begins(cluster, "node-3", silent)
    finally:
        cluster.lab("heal", "node-3")
    until_said(cluster)


def addresses(cluster: Cluster) -> set[str]:
    """Return the addresses of the one service on the one network."""
    (network,) = cluster.json("net", "show")["networks"]
    (member,) = network["members"]
    assert member["service"] == "shop.web"
    return set(member["addresses"].values())


def test_who_may_talk_to_whom(cluster: Cluster) -> None:
    # A host that was cut off may only just have its container again.
    until_sync(lambda: len(addresses(cluster)) == 3, 60)
    shown = cluster.run("net", "show").stdout
    assert "(all that name no network)" in shown or "shop_default" in shown
    assert "8080/tcp on every node -> shop.web at 80" in shown
    assert 'label="8080/tcp"' in cluster.run("net", "show", "web", "--dot").stdout
    missing = cluster.run("net", "show", "nobody", ok=False)
    assert (missing.returncode, missing.stderr) == (
        3,
        "hafen: there is no service nobody; there are: shop.web\n",
    )
