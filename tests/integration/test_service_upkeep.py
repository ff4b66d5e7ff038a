"""What runs by the clock, what is removed, what is brought without a registry: on real hosts."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.lab.images import build_whoami
from deploy.lab.plan import Paths
from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

HOSTS = ("node-1", "node-2", "node-3")
# Every minute is the shortest that a schedule can say. It is deployed first and looked at last, so
# that its minute passes while the other tests run.
TICK = """
services:
  tick:
    image: hafen.local/whoami:1
    command: [sh, -c, "echo ticked"]
    deploy: {mode: replicated-job}
    x-hafen: {cron: "* * * * *"}
"""
KEPT = """
services:
  db:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    command: [sh, -c, "echo precious >/data/file; httpd -f -p 80 -h /www"]
    volumes: ["data:/data"]
volumes: {data: {}}
"""
PUSHED = """
services:
  web:
    image: hafen.local/whoami:7
    stop_grace_period: 1s
    pull_policy: never
    ports: ["8091:80"]
    deploy: {mode: global}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab("upkeep", tmp_path_factory.mktemp("upkeep")) as up:
        done = up.deploy("clock", TICK)
        assert done.returncode == 0, done.stderr
        yield up


def volumes(cluster: Cluster) -> list[tuple[str, str]]:
    return [(each["name"], each["node"]) for each in cluster.json("volume", "ls")["volumes"]]


def folders(cluster: Cluster) -> list[str]:
    """Return what lies in the folders for volumes of all hosts' disks."""
    found: list[str] = []
    for host in HOSTS:
        place = Paths(cluster.name).disk(host) / "volumes"
        found += [str(path) for path in place.rglob("*") if path.name != ".leaving"]
    return found


def test_a_volume_is_removed_with_its_data_once_nobody_uses_it(cluster: Cluster) -> None:
    done = cluster.deploy("kept", KEPT)
    assert done.returncode == 0, done.stderr
    until_sync(lambda: any(path.endswith("/data/file") for path in folders(cluster)), 30)
    ((name, _home),) = volumes(cluster)

    refused = cluster.run("volume", "rm", "-y", name, ok=False)
    assert refused.returncode == 2, refused.stderr
    assert "kept.db" in refused.stderr
    assert any(path.endswith("/data/file") for path in folders(cluster))

    cluster.run("rm", "-y", "kept")
    assert volumes(cluster) != []  # a stack that goes leaves its data
    cluster.run("volume", "rm", "-y", name)
    until_sync(lambda: volumes(cluster) == [] == folders(cluster), 30)
    missing = cluster.run("volume", "rm", "-y", name, ok=False)
    assert missing.returncode == 3, missing.stderr


def test_an_image_that_is_pushed_runs_on_every_host_without_a_registry(cluster: Cluster) -> None:
    archive = cluster.folder / "whoami-7.tar"
    build_whoami(archive, "7")
    pushed = cluster.run("image", "push", str(archive))
    assert "hafen.local/whoami:7" in pushed.stdout + pushed.stderr
    done = cluster.deploy("pushed", PUSHED)
    assert done.returncode == 0, done.stderr
    cluster.until_ready("pushed", 3)
    # Again changes nothing: what runs is the same.
    before = [each["id"] for each in cluster.allocations("pushed")]
    cluster.run("image", "push", str(archive))
    assert [each["id"] for each in cluster.allocations("pushed")] == before


@contextmanager
def on_disk(cluster: Cluster, host: str, archive: Path) -> Iterator[str]:
    """Put a file where the host has it, too, and return its path there."""
    place = Paths(cluster.name).disk(host) / archive.name
    place.write_bytes(archive.read_bytes())
    try:
        yield f"/var/lib/hafen/{archive.name}"
    finally:
        place.unlink()


def test_an_image_that_is_loaded_on_a_host_runs_there(cluster: Cluster) -> None:
    archive = cluster.folder / "whoami-8.tar"
    build_whoami(archive, "8")
    hafen = (sys.executable, "-c", "from deploy.cli.main import main; main()")
    with on_disk(cluster, "node-2", archive) as path:
        said = cluster.inside("node-2", *hafen, "image", "load", path)
    assert said.strip() == "hafen.local/whoami:8"
    text = PUSHED.replace("whoami:7", "whoami:8").replace("8091", "8092")
    where = 'placement: {constraints: ["node.hostname == node-2"]}'
    text = text.replace("mode: global", where)
    done = cluster.deploy("loaded", text)
    assert done.returncode == 0, done.stderr
    assert [each["node"] for each in cluster.ready("loaded")] == ["node-2"]


def test_a_job_runs_when_its_minute_comes(cluster: Cluster) -> None:
    def complete() -> list[str]:
        found = cluster.allocations("clock")
        return [each["id"] for each in found if each["state"] == "complete"]

    until_sync(lambda: bool(complete()), 90, poll_s=1.0)
    until_sync(lambda: "ticked" in cluster.run("logs", "clock.tick").stdout, 30)
    # Events are told after what they tell of.
    until_sync(lambda: bool(placed_at(cluster)), 30)
    (deployed,) = cluster.json("history", "clock")["generations"]
    # None for the minute in which it was deployed: the first moment is the next minute's beginning.
    assert min(placed_at(cluster)) // 60 > deployed["at_s"] // 60


def placed_at(cluster: Cluster) -> list[float]:
    """Return when the scheduled job was given a node."""
    events = [json.loads(line) for line in cluster.run("events", "--json").stdout.splitlines()]
    return [
        float(each["at_s"])
        for each in events
        if each["kind"] == "placed" and each["subject"].startswith("clock.")
    ]
