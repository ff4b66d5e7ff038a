"""Exclusive work on real hosts: goes on when etcd is lost, ends when only its node is cut off."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from deploy.lab.ground import leftovers
from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(600)]

HOSTS: Final = ("node-1", "node-2", "node-3")
ONCE: Final = """
services:
  db:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    x-hafen: {exclusive: true, standby: 1}
    ports:
      - {target: 80, published: 8080, app_protocol: http}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab("itest-once", tmp_path_factory.mktemp("compose")) as up:
        done = up.deploy("once", ONCE)
        assert done.returncode == 0, done.stderr
        yield up
    assert leftovers("itest-once") == []


def processes(cluster: Cluster) -> dict[str, list[int]]:
    """Return what serves on each host, by the host's own process numbers."""
    return {host: found for host in HOSTS if (found := cluster.pids(host, "httpd -f"))}


def of_all(cluster: Cluster, verb: str) -> None:
    """Pause or resume every member of etcd in one moment.

    One after the other a member may still answer its own host when another host has lost its.
    """
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        list(pool.map(lambda host: cluster.lab(verb, host, "etcd"), HOSTS))


def test_when_etcd_is_lost_for_all_it_goes_on_and_nothing_restarts_when_it_is_back(
    cluster: Cluster,
) -> None:
    until_sync(lambda: len(processes(cluster)) == 1 and cluster.fetch("node-1", 8080) != "", 30)
    before = processes(cluster)
    (home,) = before
    (container,) = cluster.ready("once")
    of_all(cluster, "pause")
    try:
        # Several leases: each was given on the word of all the other nodes.
        until_sync(lambda: _says_failsafe(cluster, home, times=4), 40)
        assert processes(cluster) == before
        assert cluster.fetch("node-2", 8080)
    finally:
        of_all(cluster, "resume")
    until_sync(lambda: [each["id"] for each in cluster.ready("once")] == [container["id"]], 60)
    assert processes(cluster) == before


def test_when_its_node_alone_is_cut_off_it_ends_there_and_runs_elsewhere(cluster: Cluster) -> None:
    until_sync(lambda: len(processes(cluster)) == 1, 30)
    (home,) = processes(cluster)
    cluster.lab("cut", home)
    try:
        until_sync(lambda: home not in processes(cluster) and len(processes(cluster)) == 1, 30)
        living = next(host for host in HOSTS if host != home)
        until_sync(lambda: cluster.fetch(living, 8080) != "", 30)
    finally:
        cluster.lab("heal", home)
    until_sync(lambda: len(cluster.ready("once")) == 1 and len(processes(cluster)) == 1, 60)


def _says_failsafe(cluster: Cluster, host: str, *, times: int) -> bool:
    console = cluster.console(host).read_text(errors="replace")
    return console.count('"event": "failsafe"') >= times
