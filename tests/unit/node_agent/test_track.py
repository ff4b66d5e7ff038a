"""What is remembered of a container, and what survives an agent or a host."""

from pathlib import Path

from node_agent.health import ProbeState
from node_agent.journal import Journal
from node_agent.restart import QUICK_EXITS_MAX, Exits, StartAt, next_start
from node_agent.runtime import EXIT_UNKNOWN, Container, Phase
from node_agent.track import Track, Tracks, adopted, follow
from shared.model import AllocId, Health, Manifest, NodeName, RestartPolicy
from tests.build import assignment, container

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


def test_a_journal_full_of_garbage_is_kept_aside_and_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_bytes(b"\x00garbage")
    assert Journal(tmp_path).read(now=0.0).manifest is None
    assert (tmp_path / "agent.json.bad").read_bytes() == b"\x00garbage"


def test_a_journal_is_for_its_owner_only(tmp_path: Path) -> None:
    Journal(tmp_path).write(None, {})
    assert (tmp_path / "agent.json").stat().st_mode & 0o777 == 0o600
