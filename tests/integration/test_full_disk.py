"""A host whose disk is full: its agent lives, what runs runs on, what ends goes elsewhere."""

from collections.abc import Iterator

import pytest

from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

# A disk that takes etcd's log and an image, and is filled at once.
DISK_MIB = "512"
# Of four hosts the one without an etcd member. A member whose disk is full ends; whenever it begins
# again it gives back, for some milliseconds, the 60 MB that it keeps for its log: time enough to
# start the container where it is.
HOME = "node-4"
OTHERS = ("node-1", "node-2")
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
    deploy: {placement: {constraints: ["node.labels.moves == yes"]}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    options = ("--disk-mib", DISK_MIB, "--label", f"{HOME}:moves=yes")
    with lab("disk-full", tmp_path_factory.mktemp("full"), nodes=4, options=options) as up:
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
    assert home == HOME
    kept = where(cluster, "kept")
    agents = cluster.pids(HOME, "-m node_agent( |$)")
    assert len(agents) == 1

    cluster.lab("fill", HOME)
    try:
        for other in OTHERS:
            cluster.run("node", "label", other, "moves=yes")
        (first,) = cluster.pids(HOME, f"conmon.*{gone}")
        cluster.inside(HOME, "sh", "-c", f"kill -9 $(pgrep -P {first})")
        until_sync(lambda: set(where(cluster, "moves").values()) & {*OTHERS} != set(), 90)
        assert cluster.pids(HOME, "-m node_agent( |$)") == agents
        assert kept.items() <= where(cluster, "kept").items()
        # Events are told after what they tell of.
        until_sync(lambda: "No space left on device" in cluster.run("events").stdout, 30)
    finally:
        cluster.lab("free", HOME)
