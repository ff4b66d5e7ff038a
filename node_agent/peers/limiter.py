"""How often something may be done: so many times a second, and as many at once after a pause.

Pure. A bucket of tokens that fills with time.
"""


class Limiter:
    """Says yes at most `per_s` times a second in the long run."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._tokens, self._at_s = per_s, per_s, 0.0

    def allows(self, now: float) -> bool:
        """Say whether it may be done at `now`, and count it if so."""
        tokens = self._tokens
        if now > self._at_s:
            tokens = min(tokens + (now - self._at_s) * self._per_s, self._per_s)
        is_allowed = tokens >= 1
        self._tokens, self._at_s = tokens - is_allowed, now
        return is_allowed
