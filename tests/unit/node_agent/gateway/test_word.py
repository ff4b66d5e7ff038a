"""What a node says of its gateway lags behind what is so, by as much as it should."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from node_agent.gateway.word import FAILS_AFTER_S, SERVES_AFTER_S, Heard, heard

TROUBLES = ("", "port 443 is taken", "HAProxy does not run")
LOOKS = st.lists(st.tuples(st.floats(0.1, 6.0), st.sampled_from(TROUBLES)), max_size=60)


def said_of(looks: Iterable[tuple[float, str]], before: Heard) -> list[tuple[float, str, Heard]]:
    """Return when each look was, what was found and what was said of it."""
    now, found = before.at, []
    for pause_s, trouble in looks:
        now += pause_s
        before = heard(before, trouble, now)
        found.append((now, trouble, before))
    return found


def every_second(*troubles: str) -> list[str | None]:
    looks = [(1.0, trouble) for trouble in troubles]
    return [one.said for _, _, one in said_of(looks, Heard(said=""))]


@given(LOOKS, st.sampled_from(TROUBLES))
def test_a_word_changes_only_after_it_was_otherwise_for_long_enough(
    looks: list[tuple[float, str]], first: str
) -> None:
    seen = said_of(looks, Heard(said=first, found=first))
    before = first
    for number, (now, found, after) in enumerate(seen):
        if after.said == before:
            continue
        assert after.said == found
        long_s = FAILS_AFTER_S if found else SERVES_AFTER_S
        same = [at for at, what, _ in seen[: number + 1] if bool(what) != bool(found)]
        assert now - max(same, default=0.0) >= long_s
        before = found


@given(LOOKS, st.sampled_from(TROUBLES), st.sampled_from(TROUBLES))
def test_what_stays_is_said(looks: list[tuple[float, str]], first: str, last: str) -> None:
    steady = [(1.0, last)] * (int(SERVES_AFTER_S) + 2)
    assert said_of([*looks, *steady], Heard(said=first))[-1][2].said == last


def test_what_begins_is_said_at_once_and_a_haproxy_that_is_mended_never() -> None:
    assert heard(Heard(), "port 443 is taken", 5.0).said == "port 443 is taken"
    assert heard(Heard(), "", 5.0).said == ""
    assert set(every_second("", "gone", "gone", "", "gone", "gone", "")) == {""}


def test_trouble_is_said_after_three_seconds_and_its_end_after_ten() -> None:
    assert every_second(*["gone"] * 4) == ["", "", "", "gone"]
    assert every_second(*["gone"] * 4, *[""] * 11)[-2:] == ["gone", ""]
    assert every_second(*["gone"] * 4, *[""] * 9, "gone", *[""] * 9)[-1] == "gone"


def test_other_words_for_one_trouble_take_its_place_once_they_stay() -> None:
    gone = ["gone"] * 4
    assert every_second(*gone, "taken", "gone", "taken", "gone")[-1] == "gone"
    assert every_second(*gone, *["taken"] * 4)[-1] == "taken"
    assert every_second("gone", "taken", "gone", "taken")[-1] == "taken", "some trouble there was"


def test_who_stood_still_begins_to_count_anew() -> None:
    looks = [(1.0, "gone"), (60.0, "gone"), (1.0, "gone")]
    assert said_of(looks, Heard(said=""))[-1][2].said == ""
