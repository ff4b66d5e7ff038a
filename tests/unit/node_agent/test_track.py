"""What is remembered of a container, and what survives an agent or a host."""

from pathlib import Path

import msgspec
import pytest

from node_agent.health import ProbeState
from node_agent.journal import Journal
from node_agent.restart import QUICK_EXITS_MAX, Exits, StartAt, next_start
from node_agent.runtime import EXIT_UNKNOWN, Container, Phase
from node_agent.track import Track, Tracks, adopted, ask_to_end, follow
from shared.model import (
    AllocId,
    Assignment,
    Health,
    Manifest,
    NodeName,
    RestartCondition,
    RestartPolicy,
)
from tests.build import assignment, container, workload

A = AllocId("shop.web.1.a")
ASKED = {A: assignment(A)}
HEALTHY = Track(counted=0, started_at=1.0, probed=ProbeState(health=Health.HEALTHY))


def test_a_new_start_is_probed_afresh_and_an_old_one_keeps_its_health() -> None:
    assert follow({A: HEALTHY}, [container(A, started=1)], ASKED, 9.0) == {A: HEALTHY}
    after = follow({A: HEALTHY}, [container(A, started=2)], ASKED, 9.0)[A]
    assert (after.counted, after.started_at, after.probed) == (1, 9.0, ProbeState())


def test_an_end_is_counted_once() -> None:
    once = follow({A: HEALTHY}, [container(A, Phase.EXITED)], ASKED, 3.0)
    assert once[A].exits.count == 1
    assert follow(once, [container(A, Phase.EXITED)], ASKED, 4.0) == once


def test_an_end_by_a_reboot_is_followed_by_a_start_at_once() -> None:
    rebooted = adopted(HEALTHY, 0.5)
    lost = Container(
        assignment=assignment(A), phase=Phase.EXITED, started=1, exit_code=EXIT_UNKNOWN
    )
    after = follow({A: rebooted}, [lost], ASKED, 1.5)[A]
    assert next_start(after.exits, RestartPolicy()) == StartAt(1.5)


def test_one_that_ends_before_anybody_sees_it_run_is_given_up_all_the_same() -> None:
    tracks: Tracks = {}
    for start in range(1, 99):
        ended = container(A, Phase.EXITED, started=start)
        tracks = follow(tracks, [ended], ASKED, float(start))
        if tracks[A].failed:
            break
    assert tracks[A].exits.count == QUICK_EXITS_MAX


def test_what_is_gone_is_forgotten() -> None:
    assert follow({A: HEALTHY}, [], {}, 3.0) == {}


def test_after_a_reboot_no_time_lies_in_the_future() -> None:
    late = Track(started_at=5000.0, exits=Exits(last_at=4000.0))
    early = adopted(late, 10.0)
    assert (early.started_at, early.exits.last_at) == (10.0, 10.0)


def test_a_journal_gives_back_what_was_written(tmp_path: Path) -> None:
    manifest = Manifest(node=NodeName("node-1"), generation=3, assignments=(assignment(A),))
    Journal(tmp_path).write(manifest, {A: HEALTHY})
    page = Journal(tmp_path).read(now=100.0)
    assert (page.manifest, page.tracks) == (manifest, {A: HEALTHY})


def test_a_journal_has_the_newest_of_each_track(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for track in (HEALTHY, HEALTHY, ask_to_end(HEALTHY, "it is to stand by"), HEALTHY):
        journal.write(None, {A: track})
        assert Journal(tmp_path).read(now=100.0).tracks == {A: track}
    journal.write(None, {})
    assert Journal(tmp_path).read(now=100.0).tracks == {}


def test_a_journal_full_of_garbage_is_kept_aside_and_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_bytes(b"\x00garbage")
    assert Journal(tmp_path).read(now=0.0).manifest is None
    assert (tmp_path / "agent.json.bad").read_bytes() == b"\x00garbage"


def test_a_journal_is_for_its_owner_only(tmp_path: Path) -> None:
    Journal(tmp_path).write(None, {})
    assert (tmp_path / "agent.json").stat().st_mode & 0o777 == 0o600


def job(condition: RestartCondition) -> dict[AllocId, Assignment]:
    policy = RestartPolicy(condition=condition)
    return {A: assignment(A, msgspec.structs.replace(workload(), restart=policy))}


def ended(exit_code: int) -> Container:
    exited = container(A, Phase.EXITED)
    return msgspec.structs.replace(exited, exit_code=exit_code)


@pytest.mark.parametrize("condition", [RestartCondition.ON_FAILURE, RestartCondition.NONE])
def test_an_end_with_code_0_completes_what_is_not_to_run_for_ever(
    condition: RestartCondition,
) -> None:
    after = follow({A: HEALTHY}, [ended(0)], job(condition), 3.0)[A]
    assert (after.is_complete, after.failed, after.exit_code) == (True, "", 0)
    assert not follow({A: HEALTHY}, [ended(0)], ASKED, 3.0)[A].is_complete


def test_an_end_with_another_code_fails_or_is_tried_again() -> None:
    failed = follow({A: HEALTHY}, [ended(3)], job(RestartCondition.NONE), 3.0)[A]
    assert failed.failed == "it exited with code 3; its restart policy is none"
    again = follow({A: HEALTHY}, [ended(3)], job(RestartCondition.ON_FAILURE), 3.0)[A]
    assert (again.failed, again.is_complete) == ("", False)


@pytest.mark.parametrize("condition", [RestartCondition.ON_FAILURE, RestartCondition.NONE])
def test_an_end_that_we_asked_for_is_no_success(condition: RestartCondition) -> None:
    asked = ask_to_end(HEALTHY, "another node has its claim")
    after = follow({A: asked}, [ended(0)], job(condition), 3.0)[A]
    assert not after.is_complete
    assert after.exits.last_reason == "another node has its claim"
    ill = msgspec.structs.replace(HEALTHY, probed=ProbeState(health=Health.UNHEALTHY, failures=3))
    assert not follow({A: ill}, [ended(0)], job(condition), 3.0)[A].is_complete


def test_a_start_after_one_that_we_ended_is_judged_by_itself() -> None:
    asked = ask_to_end(HEALTHY, "it is to stand by")
    wanted = job(RestartCondition.ON_FAILURE)
    tracks = follow({A: asked}, [ended(0)], wanted, 3.0)
    tracks = follow(tracks, [container(A, started=2)], wanted, 4.0)
    second = msgspec.structs.replace(ended(0), started=2)
    assert follow(tracks, [second], wanted, 5.0)[A].is_complete


def test_complete_is_complete_after_a_reboot_too(tmp_path: Path) -> None:
    tracks = follow({A: HEALTHY}, [ended(0)], job(RestartCondition.NONE), 3.0)
    Journal(tmp_path).write(None, tracks)
    assert Journal(tmp_path).read(now=1.0).tracks[A].is_complete
