"""Hosts that are emptied under load, and hosts that are gone for good, on real hosts."""

from collections.abc import Iterator

import pytest

from deploy.lab.ground import leftovers
from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(600)]

NAME = "itest-nodes"
SHOP = """
services:
  web:
    image: hafen.local/whoami:1
    stop_grace_period: 2s
    deploy: {replicas: 2}
    ports:
      - {target: 80, published: 8080, app_protocol: http}
  db:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    x-hafen: {exclusive: true}
    ports:
      - {target: 80, published: 8081, app_protocol: http}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab(NAME, tmp_path_factory.mktemp("compose"), nodes=4) as up:
        # What the machine is too busy to start at once is tried again: that is not the matter here.
        done = up.deploy("shop", SHOP, "--detach")
        assert done.returncode == 0, done.stderr
        yield up
    assert leftovers(NAME) == []


def homes(cluster: Cluster, service: str) -> list[str]:
    return [each["node"] for each in cluster.ready("shop") if each["service"] == service]


def states(cluster: Cluster) -> dict[str, str]:
    return {each["name"]: each["state"] for each in cluster.json("node", "ls")["nodes"]}


def test_a_drain_under_load_loses_no_request_and_leaves_the_host_empty(cluster: Cluster) -> None:
    cluster.until_ready("shop", 3)
    drained = homes(cluster, "web")[0]
    other = next(name for name in states(cluster) if name not in homes(cluster, "web"))
    with (
        cluster.requests(other, 8080) as asked_elsewhere,
        cluster.requests(drained, 8080) as asked_there,
    ):
        done = cluster.run("node", "drain", drained)
    assert f"{drained} is drained" in done.stdout
    assert len(asked_elsewhere) > 1
    assert "FAILED" not in asked_elsewhere
    assert "FAILED" not in asked_there
    assert cluster.pids(drained, "httpd -f") == []
    assert drained not in homes(cluster, "web")
    assert states(cluster)[drained] == "draining"
    cluster.run("node", "uncordon", drained)


def test_exclusive_work_moves_from_a_drained_host_and_never_runs_twice(cluster: Cluster) -> None:
    cluster.until_ready("shop", 3)
    (before,) = homes(cluster, "db")
    cluster.run("node", "drain", before)
    until_sync(lambda: homes(cluster, "db") not in ([], [before]), 30)
    cluster.until_ready("shop", 3)
    (after,) = homes(cluster, "db")
    cluster.until_fetched(after, 8081)
    cluster.run("node", "uncordon", before)


def test_a_host_that_is_gone_is_removed_and_counts_no_more(cluster: Cluster) -> None:
    cluster.until_ready("shop", 3)
    refused = cluster.run("node", "rm", "-y", "node-4", ok=False)
    assert refused.returncode == 2
    assert "it has a session" in refused.stderr
    cluster.lab("kill", "node-4")
    until_sync(lambda: states(cluster)["node-4"] == "lost", 60)
    cluster.run("node", "rm", "-y", "node-4")
    until_sync(lambda: sorted(states(cluster)) == ["node-1", "node-2", "node-3"], 30)
    cluster.until_ready("shop", 3)
    (home,) = homes(cluster, "db")
    cluster.lab("kill", home)
    try:
        # Two of three are a majority; two of four are none, and it would never run again.
        until_sync(lambda: homes(cluster, "db") not in ([], [home]), 60)
    finally:
        cluster.lab("boot", home)
    until_sync(lambda: states(cluster)[home] == "ready", 60)
    # A host that was removed comes back as a new node, with nothing of what it ran.
    cluster.lab("boot", "node-4")
    until_sync(lambda: states(cluster).get("node-4") == "ready", 60)
    until_sync(lambda: cluster.pids("node-4", "httpd -f") == [], 30)
    cluster.until_ready("shop", 3)
