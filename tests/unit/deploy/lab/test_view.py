"""What the demo shows, on a terminal and in a log."""

import io

import msgspec
from rich.console import Console

from deploy.lab.moments import Moment
from deploy.lab.story import ServiceOutcome
from deploy.lab.tally import LoadReport, Outcome, Tally
from deploy.lab.view import Picture, changes, ready_replicas, render, result_lines, timeline_lines
from shared.api import AllocationView, NodeView
from shared.model import AllocId, Health, NodeName, ServiceName, StackName
from shared.states import AllocState


def node(name: str, state: str = "ready", *, leader: bool = False) -> NodeView:
    return NodeView(name=NodeName(name), state=state, address="198.18.0.1", leader=leader)


def allocation(
    slot: int,
    on: str,
    state: AllocState = AllocState.RUNNING,
    health: Health = Health.HEALTHY,
    *,
    draining: bool = False,
) -> AllocationView:
    return AllocationView(
        id=AllocId(f"whoami.web.{slot}.a"),
        stack=StackName("whoami"),
        service=ServiceName("web"),
        slot=slot,
        node=NodeName(on),
        image="hafen.local/whoami:1",
        state=state,
        health=health,
        draining=draining,
    )


def load(*, at_s: float, failed: int = 0) -> LoadReport:
    tally = Tally(["web"], began_at_s=0.0)
    for number in range(10):
        tally.sent(number, "web", due_s=0.0, now_s=0.0)
    for number in range(8):
        status = 503 if number < failed else 200
        tally.ended(number, Outcome(target="web", due_s=0.0, ended_s=0.02, status=status))
    return tally.report(at_s, final=False)


BEFORE = Picture(
    phase="load is running",
    nodes=(node("node-1", leader=True), node("node-2")),
    allocations=(allocation(1, "node-1"), allocation(2, "node-2")),
    load=load(at_s=1.0),
)


def shown(picture: Picture) -> list[str]:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(render(picture))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


def test_a_terminal_shows_hosts_with_their_replicas_and_the_load() -> None:
    assert shown(BEFORE) == [
        "  0.0 s  load is running",
        "HOST              STATE   REPLICAS",
        "node-1 (leader)   ready   web.1 healthy",
        "node-2            ready   web.2 healthy",
        "SERVICE   SENT   ANSWERED   FAILED   HELD   P50 MS   P99 MS   MAX MS",
        "web         10          8        0      2     20.0     20.0       20",
    ]


def test_what_is_not_known_yet_is_not_shown() -> None:
    assert shown(Picture(phase="switching 3 hosts on")) == ["  0.0 s  switching 3 hosts on"]


def test_before_the_cluster_notices_the_picture_says_only_that_the_power_is_cut() -> None:
    cut = msgspec.structs.replace(BEFORE, victim=NodeName("node-2"))
    lost = msgspec.structs.replace(cut, nodes=(node("node-1"), node("node-2", "lost")))

    assert shown(cut)[3] == "node-2            power cut   web.2 off"
    assert changes(BEFORE, cut) == ["host node-2: power cut", "web.2 on node-2: off"]
    assert changes(cut, lost) == ["host node-2: power cut, lost"]


def test_a_log_gets_a_line_for_each_change_and_none_without() -> None:
    after = msgspec.structs.replace(
        BEFORE,
        phase="waiting",
        note="node-1 is not ready",
        allocations=(
            allocation(1, "node-1", draining=True),
            allocation(3, "node-1", AllocState.PREPARING, Health.STARTING),
        ),
    )

    assert changes(BEFORE, BEFORE) == []
    assert changes(BEFORE, after) == [
        "waiting",
        "node-1 is not ready",
        "web.1 on node-1: draining",
        "web.3 on node-1: preparing",
        "web.2 on node-2: gone",
    ]


def test_a_log_gets_the_load_now_and_then_and_at_once_when_a_request_fails() -> None:
    def with_load(report: LoadReport) -> Picture:
        return msgspec.structs.replace(BEFORE, load=report)

    line = "load web: sent 10, failed {}, held 2, p99 20 ms, max 20 ms"
    assert changes(BEFORE, with_load(load(at_s=1.5))) == []
    assert changes(BEFORE, with_load(load(at_s=2.0))) == [line.format(0)]
    assert changes(BEFORE, with_load(load(at_s=1.5, failed=1))) == [line.format(1)]


def test_only_replicas_that_take_requests_are_ready() -> None:
    good = [allocation(1, "node-1"), allocation(2, "node-2")]
    others = [
        allocation(3, "node-1", draining=True),
        allocation(4, "node-1", AllocState.PREPARING),
        allocation(5, "node-1", health=Health.STARTING),
    ]

    assert ready_replicas([*good, *others]) == {"web": 2}
    assert ready_replicas(others) == {}


def test_the_end_is_told_in_aligned_lines() -> None:
    moments = [
        Moment(what="vanished", after_s=0.0, detail="node-2 lost its power"),
        Moment(what="lost", after_s=None, detail="no event"),
    ]
    outcome = ServiceOutcome(
        service=ServiceName("single"),
        replicas=1,
        ready=0,
        sent=2000,
        failed=3,
        latency_ms_max=2912.0,
        failover_s=None,
        errors={},
    )
    web = msgspec.structs.replace(outcome, service=ServiceName("web"), failover_s=0.021)

    assert timeline_lines(moments) == [
        "    +0.00 s  vanished   node-2 lost its power",
        "        -    lost       no event",
    ]
    assert result_lines([outcome, web]) == [
        "  SERVICE  REPLICAS  SENT  FAILED  WORST LATENCY  FAILOVER",
        "  single        0/1  2000       3         2.91 s     never",
        "  web           0/1  2000       3         2.91 s    0.02 s",
    ]
