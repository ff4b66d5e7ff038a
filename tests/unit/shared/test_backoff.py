"""How long to wait: longer each time, within limits, and never all together."""

import random

from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import BASE_S, LIMIT_S, backoff_s


class Fixed:
    """A random number that is not."""

    def __init__(self, value: float) -> None:
        self._value = value

    def random(self) -> float:
        """Return the same number again."""
        return self._value


attempts = st.integers(min_value=-5, max_value=10**6)


@given(attempts, st.integers())
def test_a_pause_is_never_shorter_than_half_the_base_nor_longer_than_the_limit(
    attempt: int, seed: int
) -> None:
    pause_s = backoff_s(attempt, random.Random(seed))  # noqa: S311 - jitter

    assert BASE_S / 2 <= pause_s <= LIMIT_S


@given(attempts)
def test_a_later_attempt_never_waits_less(attempt: int) -> None:
    assert backoff_s(attempt, Fixed(0.5)) <= backoff_s(attempt + 1, Fixed(0.5))


@given(attempts)
def test_luck_decides_about_half_of_the_pause(attempt: int) -> None:
    assert backoff_s(attempt, Fixed(0.0)) * 2 == backoff_s(attempt, Fixed(1.0))


def test_the_first_retry_waits_the_base_and_each_further_one_twice_as_long() -> None:
    assert [backoff_s(n, Fixed(1.0), base_s=1.0, limit_s=5.0) for n in range(1, 6)] == [
        1.0,
        2.0,
        4.0,
        5.0,
        5.0,
    ]
