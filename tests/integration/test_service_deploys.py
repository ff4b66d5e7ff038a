"""Deploys of every kind on three real hosts: good, bad, halted, interrupted, at the same time."""

import signal
from collections.abc import Iterator

import pytest

from deploy.lab.images import CRASH
from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PORT = 8080
WEB = """
services:
  web:
    image: hafen.local/whoami:{tag}
    stop_grace_period: 1s
    ports: [{{target: 80, published: 8080, app_protocol: http}}]
    healthcheck:
      test: ["CMD-SHELL", "{check}"]
      interval: 300ms
      start_interval: 300ms
      retries: 2
    x-hafen: {{update: {{canary: {canary}}}}}
    deploy:
      replicas: 2
      placement: {{constraints: ["{where}"]}}
      update_config: {{monitor: {monitor}}}
      rollback_config: {{monitor: 0s}}
"""
WELL = "wget -q -O /dev/null http://127.0.0.1/health"


def web(
    tag: str = "1",
    *,
    check: str = WELL,
    canary: int = 0,
    monitor: str = "0s",
    where: str = "node.hostname != node-9",
) -> str:
    return WEB.format(tag=tag, check=check, canary=canary, monitor=monitor, where=where)


@pytest.fixture(scope="module")
def lab_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab("deploys", tmp_path_factory.mktemp("deploys"), tags=("1", "2", CRASH)) as up:
        yield up


@pytest.fixture
def cluster(lab_: Cluster) -> Cluster:
    """Whatever the test before left, version 1 runs in two replicas."""
    done = lab_.deploy("web", web())
    assert done.returncode == 0, done.stderr
    return lab_


def plan(cluster: Cluster, text: str) -> int:
    file = cluster.compose(text)
    return cluster.run("plan", "-f", file, "--name", "web", ok=False).returncode


def images(cluster: Cluster) -> list[str]:
    return sorted(each["image"].rpartition(":")[2] for each in cluster.ready("web"))


def ids(cluster: Cluster) -> dict[str, int]:
    return {each["id"]: each["restarts"] for each in cluster.allocations("web")}


def test_what_is_planned_is_what_comes_and_no_request_fails(cluster: Cluster) -> None:
    assert plan(cluster, web("2")) == 1
    assert plan(cluster, web(where="node.labels.moon == full")) == 2
    with cluster.requests("node-2", PORT) as answers:
        done = cluster.deploy("web", web("2"))
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in answers
    assert "version 2" not in answers[0]
    # The last of them may have been asked before the end of the deploy.
    assert "version 2" in cluster.fetch("node-2", PORT)
    assert plan(cluster, web("2")) == 0
    before = ids(cluster)
    assert cluster.deploy("web", web("2")).returncode == 0
    assert ids(cluster) == before
    assert set(before.values()) == {0}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        # It crashes after 3 s, which its node may say much later.
        (web(CRASH, monitor="30s"), "code 1"),
        (web("2", check="false"), "unhealthy"),
        (web("nowhere"), "hafen.local/whoami:nowhere"),
    ],
)
def test_a_bad_version_is_rolled_back_and_nobody_notices(
    cluster: Cluster, bad: str, said: str
) -> None:
    before = ids(cluster)
    with cluster.requests("node-1", PORT) as answers:
        done = cluster.deploy("web", bad)
    assert done.returncode == 7, done.stderr
    assert "was rolled back, what ran before runs again" in done.stderr
    assert said in done.stderr
    assert [each for each in answers if "FAILED" in each or "version" in each] == []
    assert ids(cluster) == before


def test_a_canary_waits_for_a_word(cluster: Cluster) -> None:
    done = cluster.deploy("web", web("2", canary=1))
    assert (done.returncode, "the canary is well" in done.stdout) == (0, True), done.stderr
    assert images(cluster) == ["1", "1", "2"]
    cluster.run("promote", "web")
    assert images(cluster) == ["2", "2"]
    refused = cluster.run("abort", "web", ok=False)
    assert refused.returncode == 2, refused.stderr


def test_of_two_deploys_at_once_one_is_told(cluster: Cluster) -> None:
    # Long enough for the second to come while the first is under way, also on a busy machine.
    files = [cluster.compose(web("2", monitor=f"{seconds}s")) for seconds in (3, 4)]
    both = [cluster.typed("deploy", "-f", file, "--name", "web") for file in files]
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 5], told
    (loser,) = [index for index, process in enumerate(both) if process.returncode]
    assert "was changed again" in told[loser] or "somebody else was faster" in told[loser]


def test_an_interrupted_command_interrupts_no_update(cluster: Cluster) -> None:
    process = cluster.typed("deploy", "-f", cluster.compose(web("2")), "--name", "web")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "goes on without this command" in said
    until_sync(lambda: images(cluster) == ["2", "2"], 30)


def test_what_is_typed_by_service_comes_true(cluster: Cluster) -> None:
    before = ids(cluster)
    cluster.run("scale", "web=3")
    scaled = ids(cluster)
    assert (before.items() <= scaled.items(), len(scaled)) == (True, 3)
    with cluster.requests("node-3", PORT) as answers:
        cluster.run("restart", "web")
    assert "FAILED" not in answers
    assert not scaled.keys() & ids(cluster).keys()
    cluster.run("stop", "web")
    assert ids(cluster) == {}
    cluster.run("start", "web")
    assert images(cluster) == ["1"] * 3
    shown = cluster.json("history", "web")["generations"]
    assert [each["why"] for each in shown[:4]] == [
        "start web",
        "stop web",
        "restart web",
        "scale web=3",
    ]
    cluster.run("rollback", "web", "--to", str(shown[4]["generation"]))
    assert images(cluster) == ["1"] * 2
