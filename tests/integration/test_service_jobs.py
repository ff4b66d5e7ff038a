"""What ends, what comes after it, and what is on every node, on three real hosts."""

import json
from collections.abc import Iterator

import pytest

from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

IMAGE = "image: hafen.local/whoami:1"
# The database on one host, its migrations on another, and on all of them what needs both.
CHAIN = f"""
services:
  db:
    {IMAGE}
    stop_grace_period: 1s
    healthcheck:
      test: ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/health"]
      interval: 1s
      start_interval: 200ms
    deploy: {{placement: {{constraints: ["node.hostname == node-1"]}}}}
  migrate:
    {IMAGE}
    command: [sh, -c, "echo migrated"]
    depends_on: {{db: {{condition: service_healthy}}}}
    deploy: {{mode: replicated-job, replicas: 2, placement: {{constraints: ["node.id == node-2"]}}}}
  seed:
    {IMAGE}
    command: [sh, -c, "sleep 1; echo sown"]
    depends_on: {{migrate: {{condition: service_completed_successfully}}}}
  web:
    {IMAGE}
    stop_grace_period: 1s
    depends_on: {{seed: {{condition: service_completed_successfully}}}}
    deploy: {{mode: global}}
"""
BAD = f"""
services:
  bad:
    {IMAGE}
    command: [sh, -c, "echo no luck; exit 4"]
    deploy: {{mode: replicated-job, restart_policy: {{max_attempts: 1, delay: 0s}}}}
"""
ENDING = f"""
services:
  once:
    {IMAGE}
    command: [sh, -c, "echo did it"]
    restart: "no"
  twice:
    {IMAGE}
    command: [sh, -c, "echo tried; exit 5"]
    restart: on-failure:2
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab("jobs", tmp_path_factory.mktemp("jobs")) as up:
        done = up.deploy("chain", CHAIN)
        assert done.returncode == 0, done.stderr
        yield up


def states(cluster: Cluster, stack: str) -> list[tuple[str, str]]:
    return sorted((each["service"], each["state"]) for each in cluster.allocations(stack))


def ids(cluster: Cluster, stack: str) -> list[tuple[str, int]]:
    return sorted((each["id"], each["restarts"]) for each in cluster.allocations(stack))


def test_each_begins_after_what_it_depends_on_and_all_ends_well(cluster: Cluster) -> None:
    assert states(cluster, "chain") == [
        ("db", "running"),
        *[("migrate", "complete")] * 2,
        ("seed", "complete"),
        *[("web", "running")] * 3,
    ]
    # Events are told after what they tell of.
    happened = ["db", "migrate", "migrate", "seed", "web", "web", "web"]
    until_sync(lambda: placed(cluster) == happened, 30)
    until_sync(lambda: cluster.run("logs", "chain.migrate").stdout.count("migrated") == 2, 30)
    plan = cluster.run("plan", "-f", cluster.compose(CHAIN), "--name", "chain", ok=False)
    assert plan.returncode == 0, plan.stdout


def placed(cluster: Cluster) -> list[str]:
    """Return the services whose slots were given a node, in order."""
    events = [json.loads(line) for line in cluster.run("events", "--json").stdout.splitlines()]
    return [each["subject"].split(".")[1] for each in events if each["kind"] == "placed"]


def test_a_job_that_fails_says_why_and_its_log_is_kept(cluster: Cluster) -> None:
    done = cluster.deploy("bad", BAD)
    assert done.returncode == 6
    assert "exited with code 4" in done.stderr
    (one,) = cluster.allocations("bad")
    assert (one["state"], one["exit_code"]) == ("failed", 4)
    until_sync(lambda: "no luck" in cluster.run("logs", "bad").stdout, 30)
    assert "exited with code 4" in cluster.run("why", "bad.bad").stdout


def test_a_command_that_runs_once_ends_with_its_own_code(cluster: Cluster) -> None:
    done = cluster.run("run", "chain.db", "--", "sh", "-c", "echo hello; exit 3", ok=False)
    assert (done.returncode, "hello" in done.stdout) == (3, True), done.stderr
    until_sync(lambda: "-run-" not in cluster.run("ls").stdout, 30)


def test_what_has_ended_is_not_begun_again(cluster: Cluster) -> None:
    done = cluster.deploy("ending", ENDING)
    assert done.returncode == 6, done.stderr
    until_sync(lambda: states(cluster, "ending") == [("once", "complete"), ("twice", "failed")], 30)
    before = ids(cluster, "ending")
    for one in cluster.allocations("ending"):
        renew_agent(cluster, one["node"])
    assert ids(cluster, "ending") == before
    # An agent that has only just begun tells no logs yet.
    until_sync(lambda: _said(cluster) == {"did it": 1, "tried": 3}, 30)
    assert ids(cluster, "ending") == before


def _said(cluster: Cluster) -> dict[str, int]:
    said = cluster.run("logs", "ending", ok=False).stdout
    return {word: said.count(word) for word in ("did it", "tried")}


def renew_agent(cluster: Cluster, host: str) -> None:
    cluster.kill_agent(host)


def test_a_host_that_is_back_has_what_is_on_every_node(cluster: Cluster) -> None:
    cluster.lab("kill", "node-3")
    try:
        until_sync(lambda: len(homes(cluster)) == 2, 60)
    finally:
        cluster.lab("boot", "node-3")
    until_sync(lambda: homes(cluster) == ["node-1", "node-2", "node-3"], 60)
    # What had ended before is through, wherever it had run.
    through = [*[("migrate", "complete")] * 2, ("seed", "complete")]
    until_sync(lambda: jobs(cluster) == through, 60)


def jobs(cluster: Cluster) -> list[tuple[str, str]]:
    return [each for each in states(cluster, "chain") if each[0] in {"migrate", "seed"}]


def homes(cluster: Cluster) -> list[str]:
    return sorted(each["node"] for each in cluster.ready("chain") if each["service"] == "web")
