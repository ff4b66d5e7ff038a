"""A cluster whose hosts wrap containers' packets: names, addresses and gateways across hosts."""

import json
import shlex
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from deploy.lab.ground import leftovers
from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

NAME: Final = "itest-vxlan"
PORT: Final = 8080
FILE: Final = f"""
services:
  web:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    ports:
      - {{target: 80, published: {PORT}, app_protocol: http}}
    deploy:
      replicas: 2
      placement: {{constraints: ["node.labels.asks != yes"]}}
  asker:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    deploy:
      placement: {{constraints: ["node.labels.asks == yes"]}}
"""
# Only on the host that has been away.
FAR: Final = """
services:
  web:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    ports:
      - {target: 80, published: 8081, app_protocol: http}
    deploy:
      placement: {constraints: ["node.hostname == %s"]}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    options = ("--network", "vxlan", "--label", "node-1:asks=yes")
    with lab(NAME, tmp_path_factory.mktemp("vxlan"), options=options) as up:
        done = up.deploy("shop", FILE)
        assert done.returncode == 0, done.stderr
        yield up
    assert leftovers(NAME) == []


def wrapped(cluster: Cluster, host: str) -> int:
    """Return how many packets a host has sent through the tunnel."""
    (link,) = json.loads(cluster.inside(host, "ip", "-s", "-j", "link", "show", "hafen.vx"))
    sent = link["stats64"]["tx"]["packets"]
    assert isinstance(sent, int)
    return sent


def ask(cluster: Cluster, name: str) -> str:
    """GET / of a name or an address as the asker's container does, which is alone on node-1."""
    code = f"import urllib.request as u; print(u.urlopen('http://{name}/', timeout=5).read())"
    enter = 'mount --bind "$1" /etc/resolv.conf && exec nsenter --net="$2" "$3" -c "$4"'
    resolvers = "/var/lib/hafen/containers/shop.asker.*/resolv.conf"
    inside = f"set -- {resolvers} /run/hafen/netns/* {sys.executable} {shlex.quote(code)}"
    script = f'{inside}; exec unshare --mount sh -c {shlex.quote(enter)} sh "$@"'
    return cluster.inside("node-1", "sh", "-c", script)


def replicas(cluster: Cluster) -> dict[str, str]:
    """Return the hosts of the web service's ready replicas, by id."""
    ready = cluster.ready("shop")
    return {str(each["id"]): str(each["node"]) for each in ready if each["service"] == "web"}


def test_names_and_virtual_addresses_lead_to_containers_of_other_hosts(cluster: Cluster) -> None:
    before = wrapped(cluster, "node-1")

    assert "web" in ask(cluster, "web")
    (web,) = [
        each for each in cluster.json("net", "show")["services"] if each["service"] == "shop.web"
    ]
    assert "web" in ask(cluster, web["vip"])
    assert wrapped(cluster, "node-1") > before


def test_tcp_alone_that_is_lost_in_the_tunnel_is_laid_to_checksums(cluster: Cluster) -> None:
    until_sync(lambda: doctor(cluster) == [], 60)
    until_sync(lambda: is_spread(cluster), 60)
    near, far = sorted(replicas(cluster).values())
    pair = "{ 198.19.2.0/24, 198.19.3.0/24 }"
    rule = f"ip saddr {pair} ip daddr {pair} ip protocol tcp drop"
    chain = f"type filter hook prerouting priority -300; {rule};"
    table = f"table ip filter {{ chain spoilt {{ {chain} }}; }}"
    cluster.inside(near, "nft", table)
    try:
        until_sync(lambda: is_laid_to_checksums(doctor(cluster), near, far), 60)
    finally:
        cluster.inside(near, "nft", "delete", "table", "ip", "filter")


def is_spread(cluster: Cluster) -> bool:
    """Say whether the replicas are on two hosts; else let them be placed anew.

    On a busy machine one host may have been given up for a moment, and all went to the other.
    """
    if len(set(replicas(cluster).values())) == 2:
        return True
    cluster.run("restart", "shop.web", ok=False)
    return False


def is_laid_to_checksums(findings: list[dict[str, str]], near: str, far: str) -> bool:
    """Say whether that is the one finding; a busy machine may have others for a moment."""
    return len(findings) == 1 and (
        findings[0]["where"] == f"{near} <-> {far}"
        and "a network card likely fills in wrong checksums" in findings[0]["what"]
        and f"`ethtool -K hafen.vx tx off` on {near}, {far}" in findings[0]["advice"]
    )


def doctor(cluster: Cluster) -> list[dict[str, str]]:
    done = cluster.run("net", "doctor", "--json", ok=False)
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return found


def test_a_published_port_leads_to_containers_of_other_hosts(cluster: Cluster) -> None:
    before = wrapped(cluster, "node-1")

    # node-1 has no replica of it.
    assert "web" in cluster.fetch("node-1", PORT)
    assert wrapped(cluster, "node-1") > before


def test_a_host_that_vanishes_and_comes_back_costs_no_request_and_is_reached_again(
    cluster: Cluster,
) -> None:
    with cluster.requests("node-1", PORT) as answers:
        # A busy machine may have moved both to one host.
        victim = next(iter(replicas(cluster).values()))
        cluster.lab("kill", victim)
        until_sync(lambda: is_replaced(cluster, victim), 60)
        cluster.lab("boot", victim)
        until_sync(lambda: is_whole(cluster), 60)
        assert cluster.deploy("far", FAR % victim).returncode == 0
        cluster.until_ready("far", 1)
    assert "FAILED" not in answers
    assert len(answers) > 20
    # From a gateway whose host never went to a container of the one that did, and back.
    cluster.until_fetched("node-1", PORT + 1, "web")
    cluster.until_fetched(victim, PORT, "web")


def is_replaced(cluster: Cluster, victim: str) -> bool:
    hosts = replicas(cluster).values()
    return len(hosts) == 2 and victim not in hosts


def is_whole(cluster: Cluster) -> bool:
    nodes = cluster.json("node", "ls")["nodes"]
    return [each["state"] for each in nodes] == ["ready"] * 3
