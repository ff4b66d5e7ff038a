"""The main job and the bad weather around it, on three real hosts, as a person sees it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.client import ApiClient
from deploy.lab.ground import leftovers
from deploy.lab.plan import Paths
from shared.api import StackUpload
from shared.model import Joined, ServiceName, ServiceSpec, StackName, Workload
from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

HOSTS = ("node-1", "node-2", "node-3")
WEB = """
services:
  web:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    ports:
      - {target: 80, published: %d, app_protocol: http}
    deploy: {replicas: %d}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab("itest", tmp_path_factory.mktemp("compose")) as up:
        yield up
    assert leftovers("itest") == []


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> str:
    """A service with three replicas and one with a single one; returns the first's name."""
    for name, port, replicas in (("web", 8080, 3), ("lone", 8081, 1)):
        done = cluster.deploy(name, WEB % (port, replicas))
        assert done.returncode == 0, done.stderr
    return "web"


def test_a_deployed_service_answers_through_every_host(cluster: Cluster, web: str) -> None:
    cluster.until_ready(web, 3)
    assert {each["node"] for each in cluster.ready(web)} == set(HOSTS)
    for host in HOSTS:
        assert "web" in cluster.fetch(host, 8080)
        assert cluster.fetch(host, 8081)


def test_a_deploy_of_the_same_file_changes_nothing(cluster: Cluster, web: str) -> None:
    cluster.until_ready(web, 3)
    before = cluster.allocations(web)
    assert cluster.deploy("web", WEB % (8080, 3)).returncode == 0
    cluster.until_listed(web, before)


def test_logs_come_from_every_host_in_a_pipe(cluster: Cluster, web: str) -> None:
    cluster.until_ready(web, 3)
    homes = {each["node"] for each in cluster.ready(web)}
    until_sync(lambda: _logging(cluster) == homes, 30)


def _logging(cluster: Cluster) -> set[str]:
    """Return the hosts that lines of the service's log are from."""
    lines = cluster.run("logs", "web.web").stdout.splitlines()
    return {line.partition(" | ")[0].split()[1] for line in lines}


def test_a_killed_agent_comes_back_and_restarts_nothing(cluster: Cluster, web: str) -> None:
    """A busy machine may not start it within a lease and the grace: then another one is killed."""
    until_sync(lambda: is_back_in_time(cluster, web), 120)


def is_back_in_time(cluster: Cluster, web: str) -> bool:
    """Kill an agent; unless its node is given up meanwhile, nothing may change: say so."""
    cluster.until_ready(web, 3)
    before = cluster.allocations(web)
    home = str(before[0]["node"])
    losses, containers = losses_of(cluster, home), cluster.pids(home, "httpd")
    cluster.kill_agent(home)
    try:
        cluster.until_listed(web, before)
    except AssertionError:
        until_sync(lambda: losses_of(cluster, home) > losses, 30)
        return False
    assert cluster.pids(home, "httpd") == containers
    return True


def losses_of(cluster: Cluster, node: str) -> int:
    """Return how often a node was given up, as the events tell."""
    events = [json.loads(line) for line in cluster.run("events", "--json").stdout.splitlines()]
    kinds = {"node_unreachable", "node_lost"}
    return sum(each["kind"] in kinds and each["subject"] == node for each in events)


def test_a_container_that_dies_is_started_again_in_place(cluster: Cluster, web: str) -> None:
    cluster.until_ready(web, 3)
    before = {each["id"]: each.get("restarts", 0) for each in cluster.allocations(web)}
    victim = cluster.ready(web)[0]
    # The container's first process, found by its address: it is in its network namespace.
    script = (
        "for p in $(pgrep -x httpd); do"
        f" nsenter -t $p -n ip -4 addr | grep -q 'inet {victim['address']}/' && kill -9 $p; done"
    )
    cluster.inside(victim["node"], "sh", "-c", script, ok=False)
    until_sync(
        lambda: any(
            each["id"] == victim["id"] and each.get("restarts", 0) > before[victim["id"]]
            for each in cluster.ready(web)
        ),
        30,
    )
    assert {each["id"] for each in cluster.allocations(web)} == set(before)


def test_after_the_leader_is_killed_changes_are_carried_out_and_nothing_moves(
    cluster: Cluster, web: str
) -> None:
    cluster.until_ready(web, 3)
    before = cluster.allocations(web)
    until_sync(lambda: _leader(cluster) != "", 30)
    leader = _leader(cluster)
    (scheduler,) = cluster.pids(leader, "-m scheduler")
    cluster.inside(leader, "kill", "-9", str(scheduler))
    assert cluster.deploy("after", WEB % (9002, 1)).returncode == 0
    cluster.until_listed(web, before)
    cluster.run("rm", "after", "-y")


def _leader(cluster: Cluster) -> str:
    return str(cluster.json("status")["leader"])


def test_an_image_that_does_not_exist_is_named(cluster: Cluster) -> None:
    done = cluster.deploy("bad", "services: {web: {image: 'localhost:5000/nothing:1'}}")
    assert done.returncode == 6
    assert "localhost:5000/nothing:1" in done.stderr
    cluster.run("rm", "bad", "-y")


def test_a_container_that_exits_at_once_is_named_with_its_exit_code(cluster: Cluster) -> None:
    done = cluster.deploy(
        "bad", "services: {web: {image: 'hafen.local/whoami:1', command: [sh, -c, 'exit 7']}}"
    )
    assert done.returncode == 6
    assert "code 7" in done.stderr
    cluster.run("rm", "bad", "-y")


def test_a_port_of_another_stack_is_refused(cluster: Cluster, web: str) -> None:
    done = cluster.deploy("thief", WEB % (8080, 1))
    assert done.returncode == 2
    assert "8080" in done.stderr
    assert web in done.stderr
    assert "thief" not in cluster.run("ls").stdout


def test_a_port_that_another_program_holds_is_a_problem_of_that_node(cluster: Cluster) -> None:
    script = "setsid busybox nc -l -p 9099 </dev/null >/dev/null 2>&1 & echo $!"
    pid = cluster.inside("node-3", "sh", "-c", script).strip()
    try:
        until_sync(lambda: ":9099" in cluster.inside("node-3", "ss", "-Hltn"), 10)
        cluster.deploy("busy", WEB % (9099, 1), "--detach")
        until_sync(
            lambda: any(
                "9099" in problem
                for node in cluster.json("node", "ls")["nodes"]
                for problem in node.get("problems", [])
            ),
            30,
        )
        cluster.until_fetched("node-1", 9099)
    finally:
        cluster.inside("node-3", "kill", pid, ok=False)
        cluster.run("rm", "busy", "-y")


def test_a_removed_stack_leaves_nothing_on_any_host(cluster: Cluster) -> None:
    assert cluster.deploy("gone", WEB % (9000, 2)).returncode == 0
    cluster.run("rm", "gone", "-y")
    assert cluster.allocations("gone") == []
    for host in HOSTS:
        assert "gone" not in cluster.inside(host, "ls", "/var/lib/hafen/containers", ok=False)
        until_sync(lambda at=host: cluster.fetch(at, 9000) == "", 30)  # type: ignore[misc]


def test_a_host_that_was_cut_off_ends_its_surplus_when_it_is_healed(
    cluster: Cluster, web: str
) -> None:
    cluster.until_ready(web, 3)
    cluster.until_ready("lone", 1)
    (home,) = {each["node"] for each in cluster.ready("lone")}
    cluster.lab("cut", home)
    try:
        # Healed before it is lost, it would keep its work, and the newer copy would go.
        until_sync(lambda: _state(cluster, home) == "lost", 30)
        until_sync(lambda: any(each["node"] != home for each in cluster.ready("lone")), 30)
    finally:
        cluster.lab("heal", home)
    until_sync(lambda: "lone." not in cluster.inside(home, "ls", "/var/lib/hafen/containers"), 30)
    # The host that was cut off shows what it saw last until it has caught up.
    until_sync(lambda: _homes(cluster, "lone") not in ([], [home]), 30)
    cluster.until_ready("lone", 1)
    cluster.until_ready(web, 3)


def _state(cluster: Cluster, node: str) -> str:
    states = {each["name"]: each["state"] for each in cluster.json("node", "ls")["nodes"]}
    return str(states[node])


def _homes(cluster: Cluster, stack: str) -> list[str]:
    return [each["node"] for each in cluster.allocations(stack)]


def test_a_host_that_lost_power_is_replaced_and_rejoins_with_its_disk(
    cluster: Cluster, web: str
) -> None:
    cluster.until_ready(web, 3)
    cluster.until_ready("lone", 1)
    (home,) = {each["node"] for each in cluster.ready("lone")}
    cluster.lab("kill", home)
    try:
        until_sync(lambda: any(each["node"] != home for each in cluster.ready("lone")), 30)
        living = next(host for host in HOSTS if host != home)
        cluster.until_fetched(living, 8081)
    finally:
        cluster.lab("boot", home)
    until_sync(
        lambda: all(node["state"] == "ready" for node in cluster.json("node", "ls")["nodes"]), 60
    )
    cluster.until_ready("lone", 1)
    cluster.until_ready(web, 3)


def test_without_a_quorum_the_work_goes_on_and_the_command_line_says_what_is_lost(
    cluster: Cluster, web: str
) -> None:
    cluster.until_ready(web, 3)
    # Hosts that were lost in the tests before need not have a replica again.
    left = str(cluster.ready(web)[0]["node"])
    killed = [host for host in HOSTS if host != left]
    for host in killed:
        cluster.lab("kill", host)
    try:
        until_sync(
            lambda: "NOT REACHABLE" in _status(cluster) or "unreachable" in _status(cluster), 30
        )
        refused = cluster.deploy("later", WEB % (9001, 1))
        assert refused.returncode == 5
        assert "etcd" in refused.stderr
        assert cluster.pids(left, "httpd")
        assert cluster.fetch(left, 8080)
        cluster.kill_agent(left)
        assert cluster.fetch(left, 8080)
    finally:
        for host in killed:
            cluster.lab("boot", host, ok=False)
    cluster.until_ready(web, 3, within_s=90)


def _status(cluster: Cluster) -> str:
    done = cluster.run("status", ok=False)
    return done.stdout + done.stderr


def taken_of(found: dict[str, Any]) -> dict[str, int]:
    """Return how many addresses of each pool are used, from what `network ls` says."""
    return {each["node"] or "services": each["used"] for each in found["pools"]}


def test_a_network_has_its_users_and_every_container_an_address_that_is_counted(
    cluster: Cluster,
) -> None:
    create = ("network", "create", "--internal", "--subnet", "198.18.64.0/24", "edge")
    # Most of etcd may only just be back.
    until_sync(lambda: cluster.run(*create, ok=False).returncode == 0, 30)
    held = Workload(image="hafen.local/whoami:1", networks=(Joined(network="edge"),))
    spec = ServiceSpec(name=ServiceName("api"), workload=held, replicas=2)

    async def deploy() -> None:
        async with ApiClient.unix(Paths(cluster.name).api_socket("node-1")) as client:
            await client.deploy(StackName("net"), StackUpload(services=(spec,)))

    virtual = taken_of(cluster.json("network", "ls"))["services"]
    asyncio.run(deploy())
    cluster.until_ready("net", 2)
    # Its virtual address is in its routes, which are written once it has replicas.
    until_sync(lambda: taken_of(cluster.json("network", "ls"))["services"] == virtual + 1, 30)
    found = cluster.json("network", "ls")
    (edge,) = [each for each in found["networks"] if each["name"] == "edge"]
    assert (edge["used_by"], edge["containers"]) == (["net.api"], 2)
    taken = taken_of(found)
    assert all(taken[each["node"]] for each in cluster.allocations("net"))
    refused = cluster.run("network", "rm", "-y", "edge", ok=False)
    assert (refused.returncode, "is used by net.api" in refused.stderr) == (2, True)
    cluster.run("rm", "net", "-y")
    until_sync(lambda: cluster.run("network", "rm", "-y", "edge", ok=False).returncode == 0, 30)
