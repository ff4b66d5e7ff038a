"""What a pass of the leader wants written.

Whole documents, each with the revision it was decided at.

Pure.
"""

import msgspec

from shared.model import Event, Record, Revision


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One document to write, or to delete when `record` is None.

    `decided_at` is the mod_revision that it was decided at; 0: it must not exist yet.
    """

    key: str
    record: Record | None
    decided_at: Revision
    reasons: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Conditional writes, and the sentences that go into the cluster's story once they are done.

    `wake_in_s` is when to decide again even if nothing changes.
    """

    writes: tuple[Write, ...] = ()
    events: tuple[Event, ...] = ()
    wake_in_s: float = 30.0
