"""What HAProxy is told and what its answers mean."""

from node_agent.gateway.commands import (
    COMMANDS_PER_LINE,
    ask_busy,
    busy,
    commands,
    complaint,
    draining,
    lines,
    old_workers,
)
from node_agent.gateway.config import Served
from node_agent.gateway.slots import Slot, SlotState, Steps, Table
from shared.model import AllocId, Protocol, PublishedPort, ServiceName, StackName


def served(protocol: Protocol, *slots: Slot) -> Served:
    return Served(
        stack=StackName("shop"),
        service=ServiceName("web"),
        port=PublishedPort(published=8080, target=80, protocol=protocol),
        table=Table(slots=slots),
    )


LED = Slot(number=2, state=SlotState.READY, address="198.19.1.2", allocation=AllocId("a"))
OLD = Slot(number=1, state=SlotState.DRAIN, address="198.19.1.9", allocation=AllocId("b"))


def test_an_http_port_is_told_twice_and_an_address_comes_before_its_state() -> None:
    assert list(commands([served(Protocol.HTTP)], Steps(lead=(LED,), set_state=(OLD,)))) == [
        "set server shop.web.8080/s2 addr 198.19.1.2 port 80",
        "set server shop.web.8080/s2 state ready",
        "set server shop.web.8080:once/s2 addr 198.19.1.2 port 80",
        "set server shop.web.8080:once/s2 state ready",
        "set server shop.web.8080/s1 state drain",
        "set server shop.web.8080:once/s1 state drain",
    ]


def test_a_replica_of_another_generation_keeps_its_own_target() -> None:
    slot = Slot(
        number=1,
        state=SlotState.READY,
        address="198.19.1.2",
        allocation=AllocId("a"),
        targets={8080: 3000},
    )
    (first, _) = commands([served(Protocol.TCP)], Steps(lead=(slot,)))
    assert first == "set server shop.web.8080/s1 addr 198.19.1.2 port 3000"


def test_commands_are_sent_in_lines_that_haproxy_can_read() -> None:
    sent = list(lines(["x"] * (COMMANDS_PER_LINE + 1)))
    assert [len(line.split("; ")) for line in sent] == [COMMANDS_PER_LINE, 1]


def test_a_refusal_is_found_among_good_answers() -> None:
    assert complaint("\nno need to change the addr\n\n") == ""
    assert complaint("\n\nNo such server.\n") == "No such server."


def test_a_draining_replica_with_requests_in_flight_is_busy() -> None:
    slots = draining([served(Protocol.HTTP, OLD, LED)])
    stat = (
        "# pxname,svname,qcur,scur\n"
        "shop.web.8080,s1,0,{first}\n"
        "shop.web.8080,s2,0,9\n"
        "shop.web.8080:once,s1,0,{second}\n"
    )
    assert busy(stat.format(first=0, second=1), slots) == (AllocId("b"),)
    assert busy(stat.format(first=0, second=0), slots) == ()


def test_only_workers_that_a_reload_replaced_are_old() -> None:
    shown = (
        "#<PID>          <type>          <reloads>       <uptime>        <version>\n"
        "10              master          2 [failed: 0]   0d00h00m05s     2.6.12\n"
        "# workers\n"
        "13              worker          0               0d00h00m01s     2.6.12\n"
        "# old workers\n"
        "11              worker          2               0d00h00m05s     2.6.12\n"
        "12              worker          1               0d00h00m03s     2.6.12\n"
        "# programs\n"
    )
    assert old_workers(shown) == (11, 12)


def test_statistics_are_asked_for_by_backend_once_each() -> None:
    slots = draining([served(Protocol.HTTP, OLD, LED)])
    assert list(ask_busy([*slots, *slots])) == [
        "show stat shop.web.8080 4 -1; show stat shop.web.8080:once 4 -1"
    ]
