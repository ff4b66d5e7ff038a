"""Every rule of `hafen doctor`: what it says, and that it says nothing where all is well."""

import msgspec
import pytest

from scheduler.api.doctor import Facts, HostFacts, diagnose
from scheduler.api.measures import Measures
from scheduler.world import World
from shared.api import EtcdMemberView, Finding, Level
from shared.model import Manifest, NodeName, Session
from tests.unit.scheduler.api.build import node, spec, stack, world

NODES = (node(1), node(2), node(3))
MEMBERS = tuple(
    EtcdMemberView(endpoint=f"10.0.0.{n}:2379", version="3.5.33", leader=n == 1) for n in (1, 2, 3)
)
WELL = Facts(world=world(*NODES), members=MEMBERS, profile="lan")


def said(**changes: object) -> list[tuple[Level, str, str]]:
    found: tuple[Finding, ...] = diagnose(msgspec.structs.replace(WELL, **changes)).findings
    return [(one.level, one.where, one.what) for one in found]


def member(number: int, **changes: object) -> EtcdMemberView:
    return msgspec.structs.replace(MEMBERS[number - 1], **changes)


def test_where_all_is_well_one_line_says_so() -> None:
    assert said() == [(Level.OK, "cluster", "nothing found that is wrong")]


@pytest.mark.parametrize(("silent", "level"), [(1, Level.WARN), (2, Level.FAIL), (3, Level.FAIL)])
def test_a_silent_member_is_bad_once_there_is_no_majority(silent: int, level: Level) -> None:
    members = tuple(member(n, problem="does not answer" if n <= silent else "") for n in (1, 2, 3))
    assert said(members=members) == [
        (level, f"etcd 10.0.0.{n}:2379", "does not answer") for n in range(1, silent + 1)
    ]


@pytest.mark.parametrize(
    ("count", "what"),
    [
        (1, ["1 of its members: the loss of one stops every change"]),
        (2, ["2 of its members: the loss of one stops every change"]),
        (3, ["nothing found that is wrong"]),
        (4, ["4 members bear the loss of no more than 3 do"]),
        (5, ["nothing found that is wrong"]),
    ],
)
def test_how_many_members_there_should_be(count: int, what: list[str]) -> None:
    found = said(members=tuple(member(1) for _ in range(count)))
    assert [sentence for _, _, sentence in found] == what


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("3.4.23", "upgrade to 3.4.38 or newer"),
        ("3.4.31", "upgrade to 3.4.38 or newer"),
        ("3.4.38", ""),
        ("3.5.1", "upgrade to 3.5.13 or newer"),
        ("3.5.12-rc.1", "upgrade to 3.5.13 or newer"),
        ("3.5.13", ""),
        ("3.6.0", ""),
        ("", ""),
    ],
)
def test_versions_with_known_holes(version: str, advice: str) -> None:
    members = (member(1, version=version), *MEMBERS[1:])
    (found,) = diagnose(msgspec.structs.replace(WELL, members=members)).findings
    assert found.advice == advice
    assert found.level is (Level.WARN if advice else Level.OK)


def test_settings_that_differ_from_host_to_host_and_only_those_are_named() -> None:
    ours = {"pool": "198.19.0.0/16", "vips": "198.20.0.0/16"}
    sessions = (
        Session(node=NodeName("node-1"), boot_id="b", version="1", common=ours),
        Session(node=NodeName("node-2"), boot_id="b", version="1", profile="wan"),
        Session(node=NodeName("node-3"), boot_id="b", version="1", common={**ours, "vips": ""}),
    )
    nodes = (
        msgspec.structs.replace(one, session=session)
        for one, session in zip(NODES, sessions, strict=True)
    )
    assert said(world=world(*nodes), common=ours) == [
        (Level.FAIL, "node node-2", "its profile is wan, that of this scheduler is lan"),
        (Level.FAIL, "node node-3", "its vips is empty, that of this scheduler is 198.20.0.0/16"),
    ]


def test_nobody_leads() -> None:
    without = msgspec.structs.replace(WELL.world, leader=None)
    assert said(world=without) == [(Level.FAIL, "scheduler", "nobody leads: nothing is placed")]


def test_two_nodes_cannot_confirm_a_loss() -> None:
    ((level, where, what),) = said(world=world(*NODES[:2]))
    assert (level, where) == (Level.WARN, "cluster")
    assert what.startswith("2 nodes: no two watchers can agree")


def test_a_node_that_is_away_and_one_that_complains() -> None:
    away = msgspec.structs.replace(NODES[1], alive=False)
    third = NODES[2]
    assert third.report is not None
    report = msgspec.structs.replace(third.report, problems=("node-1 does not answer ICMP",))
    complains = msgspec.structs.replace(third, report=report)
    assert said(world=world(NODES[0], away, complains)) == [
        (Level.FAIL, "node node-2", "its agent's lease has ended"),
        (Level.WARN, "node node-3", "node-1 does not answer ICMP"),
    ]


def test_a_spare_image_that_is_missing_is_named_until_it_is_there() -> None:
    manifest = Manifest(node=NodeName("node-1"), generation=1, images=("app:1", "db:2"))
    first = NODES[0]
    assert first.report is not None
    report = msgspec.structs.replace(first.report, images=("db:2",))
    seen = msgspec.structs.replace(first, manifest=manifest, report=report)
    ((level, where, what),) = said(world=world(seen, *NODES[1:]))
    assert (level, where) == (Level.WARN, "node node-1")
    assert what.startswith("spare image app:1 is not there yet")


def test_a_record_that_cannot_be_read() -> None:
    broken: World = msgspec.structs.replace(WELL.world, unreadable={"/hafen/v1/x": "no JSON"})
    assert said(world=broken) == [(Level.FAIL, "/hafen/v1/x", "cannot be read: no JSON")]


@pytest.mark.parametrize(
    ("profile", "granted_s", "level"),
    [
        ("lan", None, Level.OK),
        ("lan", 1.0, Level.OK),
        ("lan", 2.0, Level.OK),
        ("lan", 3.0, Level.FAIL),
        ("wan", 3.0, Level.OK),
    ],
)
def test_an_etcd_that_grants_no_short_lease_cannot_carry_the_profile(
    profile: str, granted_s: float | None, level: Level
) -> None:
    ((found, where, _),) = said(profile=profile, granted_s=granted_s)

    assert (found, where) == (level, "etcd" if level is Level.FAIL else "cluster")


@pytest.mark.parametrize(
    ("profile", "measured", "whats"),
    [
        ("lan", Measures(fsync_s=0.008, commit_s=0.016), []),
        ("lan", Measures(fsync_s=0.016), ["its log to disk takes up to 16 ms"]),
        ("lan", Measures(commit_s=0.032), ["its data to disk takes up to 32 ms"]),
        ("wan", Measures(fsync_s=0.016, commit_s=0.064), []),
    ],
)
def test_a_disk_too_slow_for_the_profile(
    profile: str, measured: Measures, whats: list[str]
) -> None:
    found = said(profile=profile, measures={"m1:2379": measured})

    assert [what in sentence for what, (_, _, sentence) in zip(whats, found, strict=False)] == [
        True for _ in whats
    ]
    assert [level for level, _, _ in found] == ([Level.WARN for _ in whats] or [Level.OK])


@pytest.mark.parametrize(
    ("changes", "hours", "level"),
    [(3, 0.0, Level.OK), (4, 0.0, Level.WARN), (4, 2.0, Level.OK), (6, 2.0, Level.WARN)],
)
def test_more_elections_than_a_start_and_one_an_hour(
    changes: int, hours: float, level: Level
) -> None:
    measured = Measures(leader_changes=changes, started_s=1000.0)
    found = said(measures={"m1:2379": measured}, now_s=1000.0 + hours * 3600)

    assert [one for one, _, _ in found] == [level]


@pytest.mark.parametrize(
    ("count", "level"), [(None, Level.OK), (1, Level.WARN), (2, Level.OK), (5, Level.OK)]
)
def test_a_single_scheduler_has_no_successor(count: int | None, level: Level) -> None:
    assert [one for one, _, _ in said(schedulers=count)] == [level]


def test_a_host_without_the_unified_cgroup_hierarchy() -> None:
    ((level, where, _),) = said(host=HostFacts(node=NodeName("node-1"), has_cgroup2=False))

    assert (level, where) == (Level.WARN, "node node-1")


@pytest.mark.parametrize(
    ("exclusive", "has_watchdog", "level"),
    [
        (True, False, Level.WARN),
        (True, True, Level.OK),
        (False, False, Level.OK),
    ],
)
def test_a_missing_watchdog_matters_to_exclusive_services_only(
    *, exclusive: bool, has_watchdog: bool, level: Level
) -> None:
    web = spec()
    workload = msgspec.structs.replace(web.workload, exclusive=exclusive)
    seen = world(*NODES, stacks=[stack(msgspec.structs.replace(web, workload=workload))])
    found = said(world=seen, host=HostFacts(has_watchdog=has_watchdog))

    assert [one for one, _, _ in found] == [level]
