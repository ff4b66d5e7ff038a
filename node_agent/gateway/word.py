"""What a node says of its gateway: not what is so this moment, but what has been so for a while.

Pure.
"""

from typing import Final

import msgspec

# A HAProxy that died is up within a second, a reload of a thousand services takes half of one; one
# that is asked a question has five to answer before it is in trouble at all.
FAILS_AFTER_S: Final = 3.0
# Longer than FAILS_AFTER_S by far: what comes and goes is not relied on.
SERVES_AFTER_S: Final = 10.0
# Who stood still for so long has seen nothing of the time between.
_STOOD_STILL_S: Final = 2.5


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what is said of it.

    Attributes:
        said: the trouble that is said; empty: it serves; None: nothing was ever said.
        found: the trouble that was found last.
        text_since: since when it was found in these words.
        kind_since: since when there was some, or none.
        at: when that was looked at last.
    """

    said: str | None = None
    found: str = ""
    text_since: float = 0.0
    kind_since: float = 0.0
    at: float = 0.0


def heard(before: Heard, found: str, now: float) -> Heard:
    """Return what is to be said once `found` was found.

    Args:
        before: what this returned the last time.
        found: the trouble; empty: there is none.
        now: our monotonic clock.
    """
    if before.said is None:
        # Whoever begins has nothing to lose by a word, and what is known is all there is.
        return Heard(said=found, found=found, text_since=now, kind_since=now, at=now)
    is_gap = now - before.at > _STOOD_STILL_S
    is_same_kind = bool(found) == bool(before.found) and not is_gap
    after = Heard(
        said=before.said,
        found=found,
        text_since=before.text_since if found == before.found and not is_gap else now,
        kind_since=before.kind_since if is_same_kind else now,
        at=now,
    )
    if bool(found) == bool(before.said):
        is_due = now - after.text_since >= FAILS_AFTER_S
    else:
        is_due = now - after.kind_since >= (FAILS_AFTER_S if found else SERVES_AFTER_S)
    return msgspec.structs.replace(after, said=found) if is_due else after
