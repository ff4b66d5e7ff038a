"""Coming back to our own host's member: only after it has answered everything for some time."""

from hypothesis import given
from hypothesis import strategies as st

from shared.etcd.homing import ASK_S, GAP_S_MAX, Homing

HOME_S = 3 * ASK_S
# What became of a question, None for being left meanwhile; and the time since the one before.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([True, True, True, True, False, None]),
        st.sampled_from([ASK_S, ASK_S, ASK_S, 0.5 * ASK_S, 2 * ASK_S, 10 * GAP_S_MAX]),
    ),
    max_size=40,
)


@given(STEPS)
def test_we_come_home_just_when_all_was_answered_for_as_long(
    steps: list[tuple[bool | None, float]],
) -> None:
    homing, now_s = Homing(HOME_S), 1000.0
    answers: list[float] = []  # since it was left, did not answer, or nobody was awake to ask
    for what, after_s in steps:
        now_s += after_s
        if what is None:
            answers = []
            homing.begin_anew()
            continue
        answers = [*answers, now_s] if what and after_s <= GAP_S_MAX else [now_s] if what else []
        comes = homing.told(now_s, is_answer=what)

        assert comes == (bool(answers) and answers[-1] - answers[0] >= HOME_S)


def test_one_answer_is_none_however_long_ago_it_was() -> None:
    homing = Homing(HOME_S)

    assert not homing.told(0.0, is_answer=True)
    assert not homing.told(HOME_S + GAP_S_MAX, is_answer=True)
