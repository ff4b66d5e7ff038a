"""Claims: what may run, what is taken and let go, whatever the store and the manifest say."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.claims import (
    Around,
    Decision,
    Newest,
    Right,
    Seen,
    SessionNow,
    Write,
    absent,
    decide,
    key_of,
)
from shared.model import AllocId, Assignment, Claim, NodeName, Revision, Want
from shared.timing import LAN
from tests.build import assignment, workload

ME, OTHER, NOBODY = NodeName("node-1"), NodeName("node-2"), NodeName("")
EXCLUSIVE = msgspec.structs.replace(workload(), exclusive=True)
SESSION = SessionNow(lease=7, revision=Revision(40))
QUIET = Around(now=1000.0, session=SESSION, trusted_from=0.0)


def exclusive(suffix: str = "a", *, epoch: int = 50, want: Want = Want.RUN) -> Assignment:
    made = assignment(f"shop.db.1.{suffix}", EXCLUSIVE, want=want)
    return msgspec.structs.replace(made, epoch=epoch)


A, B = exclusive("a"), exclusive("b", epoch=60)
KEY = key_of(A)


def seen(node: NodeName, who: Assignment = A, *, lease: int = 7) -> dict[str, Seen]:
    claim = Claim(node=node, allocation=who.id, epoch=who.epoch)
    return {KEY: Seen(claim, Revision(90), lease if node else 0)}


def judge(
    *wanted: Assignment,
    claims: dict[str, Seen] | None = None,
    running: tuple[Assignment, ...] = (),
    around: Around = QUIET,
) -> Decision:
    runs = {each.id: KEY for each in running}
    known = claims if claims is not None else {}
    quiet_for_long = msgspec.structs.replace(
        around, absent_since=around.absent_since or {KEY: around.now - 100}
    )
    return decide(ME, wanted, runs, known, quiet_for_long, LAN)


def right(decision: Decision, who: Assignment = A) -> Right:
    return decision.verdicts[who.id].right


def take(who: Assignment, expected: int) -> Write:
    claim = Claim(node=ME, allocation=who.id, epoch=who.epoch)
    return Write(KEY, claim, Revision(expected), Newest())


def test_a_claim_that_nobody_has_is_taken_before_anything_runs() -> None:
    decision = judge(A)
    assert decision.writes == (take(A, 0),)
    assert right(decision) is Right.WAIT


def test_what_has_its_claim_under_our_session_may_run() -> None:
    decision = judge(A, claims=seen(ME))
    assert (decision.writes, right(decision)) == ((), Right.HELD)


def test_a_claim_of_another_node_is_waited_for_and_what_runs_is_stopped() -> None:
    decision = judge(A, claims=seen(OTHER, lease=9), running=(A,))
    assert decision.writes == ()
    assert right(decision) is Right.DENIED
    assert "node-2" in decision.verdicts[A.id].reason


def test_a_claim_that_was_let_go_is_taken_at_once_even_when_nothing_can_be_trusted() -> None:
    around = Around(now=1000.0, session=SESSION, trusted_from=None, held_off_until=2000.0)
    assert judge(B, claims=seen(NOBODY), around=around).writes == (take(B, 90),)


def test_an_older_epoch_than_the_one_that_has_run_never_runs_again() -> None:
    decision = judge(A, claims=seen(NOBODY, B))
    assert decision.writes == ()
    assert "epoch 50 is past" in decision.verdicts[A.id].reason


def test_an_older_epoch_is_past_also_when_the_claim_of_the_newer_ended_with_its_session() -> None:
    newest = {KEY: Newest(B.epoch, Revision(30))}
    decision = judge(A, around=msgspec.structs.replace(QUIET, newest=newest))
    assert decision.writes == ()
    assert "epoch 50 is past: 60 has run" in decision.verdicts[A.id].reason


def test_a_claim_of_ours_goes_to_no_heir_that_is_older() -> None:
    (write,) = judge(A, claims=seen(ME, B)).writes
    assert write.is_release
    assert write.claim.epoch == B.epoch


def test_a_claim_from_our_session_before_is_renewed_before_it_counts() -> None:
    decision = judge(A, claims=seen(ME, lease=3), running=(A,))
    assert decision.writes == (take(A, 90),)
    assert right(decision) is Right.WAIT


def test_what_runs_keeps_the_claim_until_it_has_ended_then_its_successor_gets_it() -> None:
    before = judge(B, claims=seen(ME), running=(A,))
    assert (before.writes, right(before, B)) == ((), Right.WAIT)
    assert judge(B, claims=seen(ME)).writes == (take(B, 90),)


def test_a_claim_is_let_go_when_nothing_here_needs_it() -> None:
    (write,) = judge(claims=seen(ME)).writes
    assert write.is_release
    assert write.claim.epoch == A.epoch
    assert judge(claims=seen(ME), running=(A,)).writes == ()


def test_a_standby_needs_no_claim_and_gets_none() -> None:
    assert judge(exclusive(want=Want.STANDBY)) == Decision((), {})


def test_an_absent_claim_is_not_taken_before_its_margin_is_over() -> None:
    since = {KEY: 999.95}
    decision = judge(A, around=msgspec.structs.replace(QUIET, absent_since=since))
    assert decision.writes == ()
    assert decision.wake_in_s is not None
    assert 0 < decision.wake_in_s <= LAN.claim_margin_s


def test_an_absent_claim_is_not_taken_while_half_of_the_nodes_are_silent() -> None:
    around = msgspec.structs.replace(QUIET, trusted_from=None)
    assert judge(A, around=around).writes == ()


def test_an_absent_claim_is_not_taken_while_we_have_promised_not_to() -> None:
    around = msgspec.structs.replace(QUIET, held_off_until=1001.0)
    decision = judge(A, around=around)
    assert (decision.writes, decision.wake_in_s) == ((), 1.0)


def test_what_still_runs_takes_its_absent_claim_again_at_once() -> None:
    around = Around(now=1000.0, session=SESSION, held_off_until=2000.0)
    assert judge(A, running=(A,), around=around).writes == (take(A, 0),)


def test_without_a_session_nothing_starts_but_by_failsafe() -> None:
    alone = Around(now=1000.0)
    assert right(judge(A, claims=seen(ME), around=alone)) is Right.WAIT
    agreed = msgspec.structs.replace(alone, is_failsafe=True)
    assert right(judge(A, claims=seen(ME), around=agreed)) is Right.HELD


def test_absence_is_counted_from_when_it_was_first_seen() -> None:
    first = absent({}, [A], set(), 10.0)
    assert absent(first, [A], set(), 20.0) == {KEY: 10.0}
    assert absent(first, [A], {KEY}, 20.0) == {}


NODES = st.sampled_from((ME, OTHER, NOBODY))
ASSIGNMENTS = st.lists(
    st.builds(
        exclusive,
        st.sampled_from("abc"),
        epoch=st.integers(1, 5),
        want=st.sampled_from(tuple(Want)),
    ),
    max_size=3,
    unique_by=lambda each: each.id,
)
CLAIMS: st.SearchStrategy[dict[str, Seen]] = st.one_of(
    st.just({}),
    st.builds(
        lambda node, suffix, epoch, lease: seen(node, exclusive(suffix, epoch=epoch), lease=lease),
        NODES,
        st.sampled_from("abc"),
        st.integers(1, 5),
        st.sampled_from((3, 7)),
    ),
)
AROUND = st.builds(
    Around,
    now=st.just(1000.0),
    session=st.sampled_from((None, SESSION)),
    trusted_from=st.sampled_from((None, 0.0, 1001.0)),
    held_off_until=st.sampled_from((0.0, 1001.0)),
    is_failsafe=st.booleans(),
    newest=st.dictionaries(st.just(KEY), st.builds(Newest, st.integers(1, 5), st.just(30))),
)


@given(ASSIGNMENTS, st.sets(st.sampled_from("abc")), CLAIMS, AROUND)
def test_whatever_is_known_only_the_holder_of_a_valid_claim_may_run(
    wanted: list[Assignment], runs: set[str], claims: dict[str, Seen], around: Around
) -> None:
    running = {AllocId(f"shop.db.1.{suffix}"): KEY for suffix in runs}
    decision = decide(ME, wanted, running, claims, around, LAN)
    held = [id_ for id_, verdict in decision.verdicts.items() if verdict.right is Right.HELD]
    assert len(held) <= 1
    for id_ in held:
        claim = claims[KEY]
        assert (claim.claim.node, claim.claim.allocation) == (ME, id_)
        assert around.is_failsafe or (around.session and around.session.lease == claim.lease)
    if around.session is None or (claims and claims[KEY].claim.node == OTHER):
        assert decision.writes == ()
    for write in decision.writes:
        assert write.claim.node in {ME, NOBODY}
        assert write.expected == (claims[KEY].revision if claims else 0)
        if write.newest is None:
            assert write.is_release
            assert not running
        else:
            assert write.newest == around.newest.get(KEY, Newest())
            is_renewal = bool(claims) and write.claim == claims[KEY].claim
            assert write.claim.epoch >= write.newest.epoch or is_renewal
