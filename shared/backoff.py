"""How long to wait before trying again.

Pure. Full jitter, so that a hundred agents do not come back together after an etcd election.
"""

from typing import Final, Protocol

BASE_S: Final = 0.1
# Longer than an etcd election (about 1.5 s), short enough that a person does not wait for it.
LIMIT_S: Final = 5.0
# 0.1 * 2**10 is past the limit already; without a cap 2.0**1024 would overflow after hours of
# outage.
_EXPONENT_MAX: Final = 10


class Rng(Protocol):
    """The part of random.Random that deciding code may be handed."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...


def backoff_s(attempt: int, rng: Rng, *, base_s: float = BASE_S, limit_s: float = LIMIT_S) -> float:
    """Return seconds to wait before attempt number `attempt` (1 is the first retry)."""
    ceiling = min(base_s * 2.0 ** min(max(attempt - 1, 0), _EXPONENT_MAX), limit_s)
    return ceiling * (0.5 + rng.random() / 2)
