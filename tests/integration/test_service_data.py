"""Volumes, configs and secrets on three real hosts, over updates, crashes and a lost host."""

import base64
from collections.abc import Iterator

import pytest

from tests.integration.cluster import Cluster, lab
from tests.waiting import until_sync

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PORT = 8090
HOSTS = ("node-1", "node-2", "node-3")
PLAIN = "hunter2-never-in-the-open"
PAGE = "/www/index.html"
DATA = """
services:
  db:
    image: hafen.local/whoami:{tag}
    stop_grace_period: 2s
    command:
      - sh
      - -c
      - |
        echo begin $$VERSION >>/data/log
        trap 'echo end >>/data/log; exit 0' TERM
        {{ cat /data/log; ls -ln /etc/app.conf /run/secrets/pw; cat /etc/app.conf /run/secrets/pw
          echo; stat -f -c 'scratch %T %b' /scratch; ls /bound; }} >/www/index.html
        echo $$(date) >/bound/seen
        httpd -f -p 80 -h /www & wait
    ports: [{{target: 80, published: 8090, app_protocol: http}}]
    volumes:
      - data:/data
      - /tmp/hafen-bound:/bound
      - {{type: tmpfs, target: /scratch, tmpfs: {{size: 1m}}}}
    configs: [{{source: conf, target: /etc/app.conf, uid: "65534", gid: "65534", mode: 0440}}]
    secrets: [{{source: pw, target: pw, uid: "65534", mode: 0400}}]
    deploy: {{update_config: {{monitor: 0s}}}}
volumes: {{data: {{}}}}
configs: {{conf: {{content: "colour: blue"}}}}
secrets: {{pw: {{file: ./pw}}}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab("data", tmp_path_factory.mktemp("data"), tags=("1", "2")) as up:
        (up.folder / "pw").write_text(PLAIN)
        done = up.deploy("data", DATA.format(tag="1"))
        assert done.returncode == 0, done.stderr
        yield up


def page(cluster: Cluster) -> list[str]:
    return cluster.fetch("node-1", PORT).splitlines()


def log(cluster: Cluster) -> list[str]:
    return [line for line in page(cluster) if line.startswith(("begin", "end"))]


def home(cluster: Cluster) -> str:
    (one,) = cluster.allocations("data")
    return str(one["node"])


def etcd(cluster: Cluster, verb: str) -> None:
    for host in HOSTS[1:]:
        cluster.lab(verb, host, "etcd")


def test_files_are_there_with_owner_and_mode(cluster: Cluster) -> None:
    found = page(cluster)
    assert "colour: blue" + PLAIN in found
    rows = [line.split() for line in found if line.startswith("-r")]
    assert {row[-1]: (row[0], *row[2:4]) for row in rows} == {
        "/etc/app.conf": ("-r--r-----", "65534", "65534"),
        "/run/secrets/pw": ("-r--------", "65534", "0"),
    }
    assert "scratch tmpfs 256" in found
    assert cluster.inside(home(cluster), "cat", "/tmp/hafen-bound/seen")


def test_a_secret_is_nowhere_in_the_open(cluster: Cluster) -> None:
    inner = [base64.b64encode(f"{pad}{PLAIN}".encode())[4:-4].decode() for pad in ("", "a", "bb")]
    words = [part for text in (PLAIN, *inner) for part in ("-e", text)]
    (one,) = cluster.allocations("data")
    for host in HOSTS:
        # What etcd has ever been told is in its files.
        where = ["/var/lib/hafen", "/run/hafen", "/etc/hafen"]
        hits = cluster.inside(host, "grep", "-rlF", *words, *where, ok=False).split()
        # Its own tmpfs, and the page that the container itself has made of it.
        own = f"/run/hafen/secrets/{one['id']}/"
        assert any(hit.startswith(own) for hit in hits) == (host == one["node"])
        assert [hit for hit in hits if not hit.startswith(own) and not hit.endswith(PAGE)] == []
        assert PLAIN not in cluster.console(host).read_text(errors="replace")
        assert PLAIN not in cluster.inside(host, "ps", "axww", "-o", "args")
    assert PLAIN not in cluster.run("history", "data", "--show", "1").stdout


def test_an_update_keeps_the_data_and_never_runs_two(cluster: Cluster) -> None:
    with cluster.requests("node-2", PORT) as answers:
        done = cluster.deploy("data", DATA.format(tag="2"))
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in answers
    assert log(cluster) == ["begin", "end", "begin 2"]


def test_an_agent_that_is_killed_leaves_the_data_alone(cluster: Cluster) -> None:
    host, before = home(cluster), log(cluster)
    cluster.kill_agent(host)
    cluster.until_ready("data", 1)
    assert log(cluster) == before


def test_another_secret_is_an_update(cluster: Cluster) -> None:
    (before,) = cluster.allocations("data")
    (cluster.folder / "pw").write_text(f"{PLAIN}-too")
    # Its agent may only just be back: a node without one takes nothing.
    until_sync(lambda: cluster.deploy("data", DATA.format(tag="2")).returncode == 0, 30)
    (after,) = cluster.allocations("data")
    assert before["id"] != after["id"]
    assert f"colour: blue{PLAIN}-too" in page(cluster)


def test_a_container_that_dies_without_etcd_has_its_secrets_again(cluster: Cluster) -> None:
    host, before = home(cluster), log(cluster)
    etcd(cluster, "pause")
    try:
        for pid in cluster.pids(host, "httpd"):
            script = f"kill -9 $(ps -o ppid= -p {pid}) {pid}"
            cluster.inside(host, "sh", "-c", script, ok=False)
        until_sync(lambda: len(log(cluster)) > len(before), 30)
        assert f"colour: blue{PLAIN}-too" in page(cluster)
    finally:
        etcd(cluster, "resume")
    until_sync(lambda: len(log(cluster)) > len(before), 30)


def test_while_its_host_is_lost_it_waits_and_finds_its_data(cluster: Cluster) -> None:
    host, before = home(cluster), log(cluster)
    cluster.lab("kill", host)
    try:
        until_sync(lambda: f"{host}: has the data of its volume" in why(cluster), 60)
    finally:
        cluster.lab("boot", host)
    # One answer has to have both: what was there, and the new beginning after it.
    until_sync(lambda: has_gone_on(log(cluster), before), 90)


def has_gone_on(found: list[str], before: list[str]) -> bool:
    return len(found) > len(before) and found[: len(before)] == before


def why(cluster: Cluster) -> str:
    return cluster.run("why", "data.db", ok=False).stdout
