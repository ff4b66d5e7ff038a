"""Watch responses into batches: whole revisions, in order, none twice, however etcd cuts them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shared.etcd.assembly import Assembly
from shared.etcd.proto import etcd_pb2 as pb
from shared.model import Revision
from shared.store import Batch

AFTER = Revision(10)


def event(revision: int, key: str) -> pb.Event:
    return pb.Event(kv=pb.KeyValue(key=key.encode(), mod_revision=revision, create_revision=1))


def response(*events: pb.Event, fragment: bool = False, header: int = 10**6) -> pb.WatchResponse:
    return pb.WatchResponse(
        header=pb.ResponseHeader(revision=header), events=events, fragment=fragment
    )


def progress(revision: int, watch_id: int = 0) -> pb.WatchResponse:
    return pb.WatchResponse(header=pb.ResponseHeader(revision=revision), watch_id=watch_id)


def taken(assembly: Assembly, *responses: pb.WatchResponse) -> list[Batch]:
    found = [assembly.take(each) for each in responses]
    return [batch for batch in found if batch is not None]


@st.composite
def sent(draw: st.DrawFn) -> tuple[list[list[pb.Event]], list[pb.WatchResponse]]:
    """Draw revisions of events, and responses that hold them: whole or in fragments."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    revisions = [
        [event(AFTER + 1 + number, f"{number}-{each}") for each in range(size)]
        for number, size in enumerate(sizes)
    ]
    groups: list[list[list[pb.Event]]] = []
    for revision in revisions:
        is_together = draw(st.booleans())
        if groups and is_together:
            groups[-1].append(revision)
        else:
            groups.append([revision])
    responses: list[pb.WatchResponse] = []
    for group in groups:
        events = list(itertools.chain.from_iterable(group))
        cuts = sorted(draw(st.sets(st.integers(1, max(len(events) - 1, 1)), max_size=3)))
        parts = [events[a:b] for a, b in itertools.pairwise([0, *cuts, len(events)]) if a < b]
        responses += [response(*part, fragment=True) for part in parts[:-1]]
        responses.append(response(*parts[-1]))
    return revisions, responses


@given(sent())
def test_every_event_comes_once_in_order_in_batches_of_whole_revisions(
    case: tuple[list[list[pb.Event]], list[pb.WatchResponse]],
) -> None:
    revisions, responses = case
    assembly = Assembly(AFTER)
    batches = taken(assembly, *responses)

    keys = [change.key for batch in batches for change in batch.changes]
    assert keys == [each.kv.key.decode() for revision in revisions for each in revision]
    whole = {revision[-1].kv.mod_revision: len(revision) for revision in revisions}
    for before, batch in itertools.pairwise([Batch((), AFTER), *batches]):
        inside = range(before.revision + 1, batch.revision + 1)
        assert len(batch.changes) == sum(whole[number] for number in inside)
    assert assembly.after == AFTER + len(revisions)


@given(sent(), st.data())
def test_a_stream_that_breaks_anywhere_loses_nothing_and_repeats_nothing(
    case: tuple[list[list[pb.Event]], list[pb.WatchResponse]], data: st.DataObject
) -> None:
    """The next stream sends everything after the resume point again, whole."""
    revisions, responses = case
    assembly = Assembly(AFTER)
    batches = taken(assembly, *responses[: data.draw(st.integers(0, len(responses)))])
    assembly.begin()
    rest = [e for revision in revisions for e in revision if e.kv.mod_revision > assembly.after]
    batches += taken(assembly, *([response(*rest)] if rest else []))

    keys = [change.key for batch in batches for change in batch.changes]
    assert keys == [each.kv.key.decode() for revision in revisions for each in revision]


def test_the_header_of_events_does_not_move_the_resume_point() -> None:
    assembly = Assembly(AFTER)

    assert taken(assembly, response(event(11, "a"), header=99))[0].revision == 11
    assert assembly.after == 11


def test_events_at_or_below_the_resume_point_are_dropped() -> None:
    assembly = Assembly(AFTER)

    assert taken(assembly, response(event(9, "a"), event(10, "b"))) == []
    assert len(taken(assembly, response(event(10, "b"), event(11, "c")))[0].changes) == 1


def test_unasked_progress_is_an_empty_batch_and_moves_the_resume_point() -> None:
    assembly = Assembly(AFTER)

    assert taken(assembly, progress(15)) == [Batch((), Revision(15))]
    assert taken(assembly, progress(15), progress(14)) == []
    assert assembly.after == 15


def test_an_answer_to_a_question_moves_nothing_for_it_may_overtake_events() -> None:
    assembly = Assembly(AFTER)

    assert taken(assembly, progress(15, watch_id=-1)) == []
    assert taken(assembly, pb.WatchResponse(created=True, header=progress(15).header)) == []
    assert assembly.after == AFTER


def test_progress_between_fragments_moves_nothing() -> None:
    assembly = Assembly(AFTER)
    part, rest = response(event(11, "a"), fragment=True), response(event(11, "b"))

    assert [len(batch.changes) for batch in taken(assembly, part, progress(15), rest)] == [2]
    assert assembly.after == 11
