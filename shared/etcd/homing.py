"""When to come back to the member of etcd on our own host.

Pure. What is there only now may be gone in a moment, and each way costs every stream a new
beginning: so it must have answered whatever it was asked for some time.
"""

from typing import Final

# How often our own member is asked while another one is in use.
ASK_S: Final = 1.0
# Two answers further apart than this say nothing of the time between: we stood still.
GAP_S_MAX: Final = 3 * ASK_S


class Homing:
    """What our own member was asked since it was left."""

    def __init__(self, home_s: float) -> None:
        """Prepare; `home_s` is how long it must have answered."""
        self._home_s = home_s
        self._since_s: float | None = None  # None: it has not answered yet, or not the last time
        self._last_s = 0.0

    def begin_anew(self) -> None:
        """Count no answer so far: it was left, or is in use."""
        self._since_s = None

    def told(self, now_s: float, *, is_answer: bool) -> bool:
        """Note what became of a question; return whether to come home."""
        if not is_answer:
            self.begin_anew()
            return False
        if self._since_s is None or now_s - self._last_s > GAP_S_MAX:
            self._since_s = now_s
        self._last_s = now_s
        return now_s - self._since_s >= self._home_s
