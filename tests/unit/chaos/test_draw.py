"""What chaos draws: the same for the same seed, always possible, and everything in the end."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.programs import Program
from tests.chaos.draw import KINDS, SECONDS_MAX, SECONDS_MIN, Fault, draw

NODES = ("node-1", "node-2", "node-3", "node-4", "node-5")


@given(st.integers(0, 10**9), st.integers(3, 5))
def test_a_seed_says_all_and_no_host_breaks_twice(seed: int, count: int) -> None:
    nodes = NODES[:count]
    faults = draw(seed, nodes)

    assert faults == draw(seed, nodes)
    assert 1 <= len(faults) <= 2
    assert len({fault.node for fault in faults}) == len(faults)
    for fault in faults:
        assert (fault.kind == "all-in-one") is (fault.node == "")
        assert fault.node in {*nodes, ""}
        assert SECONDS_MIN <= fault.seconds <= SECONDS_MAX
        assert (fault.program is not None) is (fault.kind in {"stop", "crash"})
        assert ((fault.way is None) ^ (fault.sender is None)) is (fault.kind == "one-way")
        assert fault.sender is None or fault.sender in set(nodes) - {fault.node}


def test_two_hundred_runs_break_everything_that_can_break() -> None:
    faults = [fault for seed in range(1, 201) for fault in draw(seed, NODES[:3])]

    assert {fault.kind for fault in faults} == set(KINDS)
    stopped = {fault.program for fault in faults if fault.kind == "stop"}
    assert stopped == {Program.AGENT, Program.SCHEDULER, Program.ETCD}
    ways = {(fault.way, fault.sender is None) for fault in faults if fault.kind == "one-way"}
    assert len(ways) == 3


def test_a_fault_is_one_line_for_a_person() -> None:
    fault = Fault(kind="stop", node="node-2", program=Program.AGENT, after_s=0.5, seconds=2.25)

    assert fault.text() == "stop node-2 agent at 0.50 s for 2.25 s"
