"""The demo as a person runs it: its result, and that nothing is left, also when interrupted."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deploy.lab.ground import leftovers
from deploy.lab.lab import Lab

pytestmark = [pytest.mark.real, pytest.mark.alone]

# Not the name that a demo has by itself: one that somebody watches meanwhile is none of ours.
NAME = f"t{os.getpid() % 100000}-d"
DEMO = (sys.executable, "-c", "from deploy.cli.main import main; main()", "lab", "demo")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Take the demo's lab down even when a test, or the demo itself, fails."""
    yield
    if leftovers(NAME):
        asyncio.run(Lab(NAME).down())


# A demo takes about a minute, more beside other tests.
@pytest.mark.timeout(600)
def test_a_host_dies_and_versions_come_and_no_request_fails(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"

    ended = subprocess.run(
        [*DEMO, "--name", NAME, "--json", str(file)], check=False, capture_output=True, text=True
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = msgspec.json.decode(file.read_bytes())
    assert result.keys() == {
        "node_killed",
        "requests_sent",
        "requests_failed",
        "requests_on_holder",
        "latency_ms_max",
        "services",
        "detected_s",
        "decided_s",
        "answering_s",
        "address_claimed_s",
        "updates",
    }
    assert result["node_killed"] in {"node-1", "node-2", "node-3"}
    assert result["requests_sent"] >= 15 * 200
    assert result["requests_failed"] == 0
    # All requests go to that address: none is answered before somebody has it again.
    assert 0 < result["address_claimed_s"] < result["answering_s"]
    replicas = {name: service["replicas"] for name, service in result["services"].items()}
    assert replicas == {"single": 1, "web": 3}
    assert all(service["failover_s"] > 0 for service in result["services"].values())
    assert 0 < result["detected_s"] <= result["decided_s"] < result["answering_s"]
    good, bad = result["updates"]
    assert (good["version"], good["exit_code"], good["ready"]) == ("2", 0, {"2": 3})
    assert (bad["version"], bad["exit_code"], bad["ready"]) == ("crash", 7, {"2": 3})
    assert [each["requests_failed"] for each in (good, bad)] == [0, 0]
    assert all(each["requests_sent"] >= 3 * 200 for each in (good, bad))
    timeline = [line.split() for line in ended.stdout.splitlines()[:5]]
    words = ["vanished", "suspected", "confirmed", "re-placed", "answering"]
    assert [line[2] for line in timeline] == words
    assert leftovers(NAME) == []


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("switching", signal.SIGINT),
        ("waiting for the cluster", signal.SIGTERM),
        ("is dead", signal.SIGHUP),
        ("WHOAMI_TAG=2", signal.SIGINT),
    ],
)
def test_interrupted_it_takes_everything_down(phase: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*DEMO, "--name", NAME], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stderr is not None
        told = []
        for line in demo.stderr:
            told.append(line)
            if phase in line:
                demo.send_signal(number)
                break
        told += demo.stderr.readlines()

    assert demo.returncode == 130, "".join(told)
    assert told[-1] == "interrupted; everything is taken down\n"
    assert leftovers(NAME) == []
