"""etcd's watch responses put together into batches of whole revisions, none twice.

No I/O. The header of a response with events tells nothing about where to resume: while etcd catches
a watch up, it already names the newest revision. Only the events themselves, and the progress that
etcd reports unasked, say how far we are.
"""

from shared.etcd.convert import from_event
from shared.etcd.proto import etcd_pb2 as pb
from shared.model import Revision
from shared.store import Batch

# The answer to a progress request; before etcd 3.4.25 and 3.5.8 it could overtake events.
_ASKED_FOR = -1


class Assembly:
    """What was delivered up to revision `after`, and the fragments of what comes next."""

    def __init__(self, after: Revision) -> None:
        self.after = after
        self._events: list[pb.Event] = []

    def begin(self) -> None:
        """Forget fragments of a stream that ended: the next one sends them again."""
        self._events = []

    def take(self, response: pb.WatchResponse) -> Batch | None:
        """Return the batch that is complete with this response, if there is one."""
        if response.events:
            return self._with_events(response)
        if response.created or response.canceled or response.watch_id == _ASKED_FOR:
            return None
        if self._events or response.header.revision <= self.after:
            return None
        self.after = Revision(response.header.revision)
        return Batch((), self.after)

    def _with_events(self, response: pb.WatchResponse) -> Batch | None:
        # etcd 3.4.23 may send an event twice.
        self._events += [event for event in response.events if event.kv.mod_revision > self.after]
        if response.fragment or not self._events:
            return None
        events, self._events = self._events, []
        self.after = Revision(events[-1].kv.mod_revision)
        return Batch(tuple(from_event(event) for event in events), self.after)
