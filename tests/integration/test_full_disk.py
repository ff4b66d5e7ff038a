"""A host whose disk is full: its agent lives, what runs runs on, what ends goes elsewhere."""

from collections.abc import Iterator

import pytest

from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# A disk that takes etcd's log and an image, and is filled at once.
DISK_MIB = "512"
SERVICES = """
services:
  kept:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    deploy: {mode: global}
  moves:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    environment: {LONG: "%s"}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    options = ("--disk-mib", DISK_MIB)
    with lab("disk-full", tmp_path_factory.mktemp("full"), options=options) as up:
        yield up


def where(cluster: Cluster, service: str) -> dict[str, str]:
    """Return the nodes of a service's ready allocations by id."""
    ready = cluster.ready("full")
    return {each["id"]: each["node"] for each in ready if each["service"] == service}


def test_a_container_that_ends_on_a_full_disk_is_replaced_and_nothing_else_ends(
    cluster: Cluster,
) -> None:
    # Its record takes more blocks than the end of the one before gives back.
    done = cluster.deploy("full", SERVICES % ("x" * 20_000))
    assert done.returncode == 0, done.stderr
    ((gone, home),) = where(cluster, "moves").items()
    kept = where(cluster, "kept")
    agents = cluster.pids(home, "-m node_agent( |$)")
    assert len(agents) == 1

    cluster.lab("fill", home)
    try:
        (first,) = cluster.pids(home, f"conmon.*{gone}")
        cluster.inside(home, "sh", "-c", f"kill -9 $(pgrep -P {first})")
        until_sync(lambda: set(where(cluster, "moves").values()) - {home, ""} != set(), 90)
        assert cluster.pids(home, "-m node_agent( |$)") == agents
        assert kept.items() <= where(cluster, "kept").items()
        assert "No space left on device" in cluster.run("events").stdout
    finally:
        cluster.lab("free", home)
