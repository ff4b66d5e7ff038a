"""What people and programs read."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import render
from deploy.render import Column, Table
from deploy.render_node import node_table
from shared.api import (
    AllocationList,
    AllocationView,
    ClusterView,
    EtcdMemberView,
    LogEntry,
    NodeView,
    ServiceView,
    VolumeView,
)
from shared.model import (
    AllocId,
    Event,
    Health,
    NodeName,
    Resources,
    Revision,
    ServiceName,
    StackName,
)
from shared.states import AllocState

SHOP, WEB = StackName("shop"), ServiceName("web")


def service(*, ready: int = 0, updated: int = 0, waiting: tuple[str, ...] = ()) -> ServiceView:
    return ServiceView(
        stack=SHOP,
        service=WEB,
        image="nginx:1",
        replicas=3,
        ready=ready,
        updated=updated,
        ports=("8080->80/http",),
        waiting=waiting,
    )


ALLOCATION = AllocationView(
    id=AllocId("shop.web.1.a"),
    stack=SHOP,
    service=WEB,
    slot=1,
    node=NodeName("node-1"),
    image="nginx:1",
    state=AllocState.RUNNING,
    health=Health.HEALTHY,
    address="10.90.1.2",
    restarts=2,
    since_s=1000.0,
)
NODE = NodeView(
    name=NodeName("node-1"),
    state="ready",
    address="192.0.2.1",
    capacity=Resources(cpu_millis=4000, memory_bytes=2**31),
    reserved=Resources(cpu_millis=250, memory_bytes=3 * 2**26),
    allocations=3,
    leader=True,
    problems=("port 80 taken",),
    labels={"a": "b"},
)


def test_a_plain_table_is_aligned_and_has_no_trailing_blanks() -> None:
    table = Table(
        (Column("NAME"), Column("READY", is_number=True), Column("X")), (("a", "10/10", ""),)
    )

    assert render.plain(table) == ["NAME  READY  X", "a     10/10"]


@given(st.lists(st.tuples(st.text("ab ", max_size=5), st.text("01", max_size=5)), max_size=5))
def test_every_row_of_a_plain_table_keeps_its_cells_in_their_columns(
    rows: list[tuple[str, str]],
) -> None:
    table = Table((Column("TEXT"), Column("N", is_number=True)), tuple(rows))

    lines = render.plain(table)

    width = max(4, *(len(left) for left, _ in rows)) if rows else 4
    assert len(lines) == len(rows) + 1
    for line, (left, right) in zip(lines[1:], rows, strict=True):
        assert line[:width].rstrip() == left.rstrip()
        assert line[width:].strip() == right


def test_allocations_are_shown_with_their_age_and_health() -> None:
    assert render.plain(render.allocation_table([ALLOCATION], 1200.0)) == [
        "ALLOCATION    NODE    IMAGE    STATE    AGE  RESTARTS  ADDRESS    NOTES",
        "shop.web.1.a  node-1  nginx:1  healthy   3m         2  10.90.1.2",
    ]


def test_nodes_are_shown_with_what_is_reserved_of_what_they_have() -> None:
    assert render.plain(node_table([NODE])) == [
        "NODE    STATE  ADDRESS      CPUS         MEMORY  REPLICAS  LABELS  NOTES",
        "node-1  ready  192.0.2.1  0.25/4  192 MiB/2 GiB         3  a=b     leader; port 80 taken",
    ]


def test_services_are_shown_with_what_is_in_their_way() -> None:
    assert render.plain(
        render.service_table([service(ready=1, waiting=("no room", "no cpu"))])
    ) == [
        "STACK  SERVICE  IMAGE    READY  PORTS          NOTES",
        "shop   web      nginx:1    1/3  8080->80/http  no room; no cpu",
    ]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"standby": 2, "prepared": 1}, "standby 1/2"),
        ({"exclusive": True}, "exclusive: nobody holds its claim"),
        (
            {"exclusive": True, "holder": NodeName("node-2"), "epoch": 7},
            "exclusive: node-2 holds its claim, epoch 7",
        ),
        ({"standby": 1, "waiting": ("no room",)}, "standby 0/1; no room"),
    ],
)
def test_what_a_service_has_besides_replicas(changes: dict[str, object], note: str) -> None:
    one = msgspec.structs.replace(service(), **changes)

    assert render.service_table([one]).rows[0][-1] == note


@pytest.mark.parametrize(
    ("state", "address", "shown"),
    [
        (AllocState.PENDING, "", "standby pending"),
        (AllocState.PREPARING, "", "standby preparing"),
        (AllocState.PREPARING, "10.90.1.2", "standby"),
        (AllocState.FAILED, "", "standby failed"),
        (AllocState.LOST, "10.90.1.2", "lost"),
    ],
)
def test_a_standby_is_shown_as_one(state: AllocState, address: str, shown: str) -> None:
    one = msgspec.structs.replace(ALLOCATION, standby=True, state=state, address=address)

    assert render.state_of(one) == shown


def test_the_notes_of_an_exclusive_allocation_begin_with_its_epoch() -> None:
    one = msgspec.structs.replace(ALLOCATION, epoch=7, reason="it waits")

    assert render.allocation_table([one], 1200.0).rows[0][-1] == "epoch 7; it waits"


def test_a_node_says_why_it_is_not_simply_well() -> None:
    one = msgspec.structs.replace(NODE, state="lost", reason="its lease ended 3.0 s ago")

    notes = node_table([one]).rows[0][-1]

    assert notes == "leader; its lease ended 3.0 s ago; port 80 taken"


def test_what_does_not_work_is_a_list() -> None:
    assert render.outage_lines(["no change", "no leader"]) == [
        "Not working now:",
        "- no change",
        "- no leader",
    ]


def test_the_cluster_at_a_glance_says_when_etcd_is_away() -> None:
    view = ClusterView(
        etcd_reachable=False,
        leader=NodeName(""),
        revision=Revision(3),
        nodes=(NODE,),
        stacks=1,
        replicas_wanted=3,
        replicas_ready=2,
        members=(
            EtcdMemberView(endpoint="a:2379", problem="does not answer", answers=False),
            EtcdMemberView(endpoint="b:2379", version="3.5.33"),
        ),
        age_s=12.3,
        leaderless_s=3.4,
    )

    etcd = (
        "NOT REACHABLE; 1 of 2 members answer; a:2379: does not answer; "
        "what follows is as of 12 s ago"
    )
    assert render.status_lines(view) == [
        f"etcd      {etcd}",
        "leader    nobody leads since 3 s",
        "nodes     1 of 1 ready",
        "stacks    1",
        "replicas  2 of 3 ready",
    ]


def test_json_has_every_field_even_one_that_has_its_default() -> None:
    tree = json.loads(render.as_json(AllocationList(allocations=(ALLOCATION,))))

    assert tree == {
        "allocations": [
            {
                "id": "shop.web.1.a",
                "stack": "shop",
                "service": "web",
                "slot": 1,
                "node": "node-1",
                "image": "nginx:1",
                "state": "running",
                "health": "healthy",
                "draining": False,
                "standby": False,
                "epoch": 0,
                "address": "10.90.1.2",
                "reason": "",
                "restarts": 2,
                "since_s": 1000.0,
                "exit_code": None,
            }
        ]
    }


@pytest.mark.parametrize(
    ("since_s", "text"),
    [(0.0, "-"), (1000.0, "0s"), (970.5, "29s"), (900.0, "1m"), (1.0, "16m"), (1500.0, "0s")],
)
def test_an_age_is_one_number_and_one_letter(since_s: float, text: str) -> None:
    assert render.age(since_s, 1000.0) == text


def test_an_age_counts_hours_and_days() -> None:
    assert [render.age(1.0, 1.0 + hours * 3600) for hours in (1, 23, 24, 240)] == [
        "1h",
        "23h",
        "1d",
        "10d",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (64 * 2**20, "64 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**40, "1 TiB"),
        (2**50, "1 PiB"),
    ],
)
def test_a_size_is_readable(count: int, text: str) -> None:
    assert render.size(count) == text


@pytest.mark.parametrize(
    ("millis", "text"), [(0, "0"), (2000, "2"), (250, "0.25"), (1005, "1.005"), (10000, "10")]
)
def test_processors_are_shown_without_needless_digits(millis: int, text: str) -> None:
    assert render.cpus(millis) == text


def test_a_removal_that_takes_too_long_says_what_is_left() -> None:
    assert render.remaining_message("shop", 1.5, ["web"]) == (
        "shop is not gone after 1.5 s; still there: web\n"
        "The removal is stored and hafen keeps at it; `hafen ps shop` shows what is left."
    )


def test_an_event_is_a_line_with_its_time() -> None:
    event = Event(kind="node_lost", subject="node-2", reason="silent for 2.5 s", at_s=86400.5)

    assert render.event_line(event) == (
        "1970-01-02 00:00:00.500  node_lost       node-2: silent for 2.5 s"
    )


def test_a_line_of_a_log_says_whose_it_is() -> None:
    entry = LogEntry(
        allocation=AllocId("shop.web.1.a"),
        node=NodeName("node-1"),
        at="-",
        stream="stdout",
        text="hi",
    )

    assert render.log_line(entry) == "web.1 node-1 | hi"


def test_volumes_say_where_their_data_is_and_who_uses_it() -> None:
    shown = render.volume_table(
        [
            VolumeView(
                name="shop_data",
                stack=SHOP,
                node=NodeName("node-1"),
                used_by=("shop.db", "shop.web"),
            ),
            VolumeView(
                name="shop_old",
                stack=SHOP,
                node=NodeName("node-2"),
                is_leaving=True,
                problem="node-2 is lost",
            ),
            VolumeView(
                name="stray", stack=StackName(""), node=NodeName("node-3"), problem="no record"
            ),
        ]
    )
    assert render.plain(shown) == [
        "VOLUME     NODE    STACK  USED BY            NOTES",
        "shop_data  node-1  shop   shop.db, shop.web",
        "shop_old   node-2  shop   -                  leaving; node-2 is lost",
        "stray      node-3  -      -                  no record",
    ]
