"""The moments of a failover, found in what was written to etcd meanwhile.

Pure. All times are the wall clock of the one machine that a lab runs on.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from deploy.lab.tally import Outcome
from shared import codec, keys
from shared.errors import HafenError
from shared.model import (
    AllocId,
    Event,
    Health,
    Leader,
    Manifest,
    Record,
    Report,
    Routes,
    ServiceName,
    StackName,
    Want,
)
from shared.states import AllocState


class Seen(Record, frozen=True, kw_only=True):
    """A change of a key. `value` None: it was deleted, or its lease ended."""

    at_s: float
    key: str
    revision: int
    value: str | None


class Moments(Record, frozen=True, kw_only=True):
    """Seconds from the fault; None: it did not happen, or nobody wrote it down.

    Attributes:
        detected: the first trace of the fault: a suspicion, an event, a session's end.
        confirmed: a second peer suspects the node too, or the leader calls it unreachable or lost.
        decided: the new manifest was written.
        started: the new container's first line.
        reported: its node's agent says that it is ready.
        routed: the leader's routes lead to it.
        answering: the longest stretch without an answered request.
        slowest: the longest that a GET waited for its answer.
        takeover: another scheduler leads.
    """

    detected: float | None = None
    confirmed: float | None = None
    decided: float | None = None
    started: float | None = None
    reported: float | None = None
    routed: float | None = None
    answering: float | None = None
    slowest: float | None = None
    takeover: float | None = None


class Case(Record, frozen=True, kw_only=True):
    """One fault: what broke, when, and which service was watched."""

    victim: str
    stack: StackName
    service: ServiceName
    at_s: float

    @property
    def prefix(self) -> str:
        """Return how the ids of the service's allocations begin."""
        return f"{self.stack}.{self.service}."


_CALLED_SILENT = frozenset({"node_suspect", "node_unreachable", "node_lost"})
_CONFIRMED = frozenset({"node_unreachable", "node_lost"})


def moments(case: Case, seen: Sequence[Seen], starts: Iterable[tuple[AllocId, float]]) -> Moments:
    """Return when what happened; the load's part is left out.

    Args:
        case: the fault.
        seen: all changes since the lab came up, in order.
        starts: allocation and wall clock of the first line of every container of the service.
    """
    after = [each for each in seen if each.at_s >= case.at_s]
    new, decided_s = _decided(case, seen)
    ready_s = min((each.at_s for each in after if _reports(each, new)), default=None)
    routed_s = min((each.at_s for each in after if _routes(each, new)), default=None)
    # Restarted in its place, the container keeps its id, and no manifest changes.
    first = [at_s for id_, at_s in starts if new in {None, id_} and at_s >= case.at_s]
    started_s = min(first, default=None)
    found = {
        "detected": _detected(case, after),
        "confirmed": _confirmed(case, after),
        "decided": decided_s,
        "started": started_s,
        "reported": ready_s,
        "routed": routed_s,
        "takeover": _takeover(case, after),
    }
    return Moments(**{k: None if v is None else v - case.at_s for k, v in found.items()})


def _detected(case: Case, after: Sequence[Seen]) -> float | None:
    suspects = f"{keys.SUSPECTS}{case.victim}/"
    alive = f"{keys.NODES}{case.victim}/alive"
    times = [each.at_s for each in after if each.key.startswith(suspects) and each.value]
    times += [each.at_s for each in after if each.key == alive and each.value is None]
    times += [event.at_s for event in _events(case, after) if event.kind in _CALLED_SILENT]
    return min(times, default=None)


def _confirmed(case: Case, after: Sequence[Seen]) -> float | None:
    times = sorted(suspicions(case, after).values())[1:2]
    times += [event.at_s for event in _events(case, after) if event.kind in _CONFIRMED]
    return min(times, default=None)


def suspicions(case: Case, seen: Sequence[Seen]) -> dict[str, float]:
    """Return the wall clock of every peer's first suspicion of the victim after the fault."""
    peers: dict[str, float] = {}
    for each in seen:
        folder, _, peer = each.key.rpartition("/")
        ours = f"{folder}/" == f"{keys.SUSPECTS}{case.victim}/" and each.value is not None
        if ours and each.at_s >= case.at_s:
            peers.setdefault(peer, each.at_s)
    return peers


def _events(case: Case, after: Sequence[Seen]) -> list[Event]:
    found = [
        codec.decode(Event, each.value.encode(), each.key)
        for each in after
        if each.value and each.key.startswith(keys.EVENTS)
    ]
    return [each for each in found if each.subject == case.victim and each.at_s >= case.at_s]


def _decided(case: Case, seen: Sequence[Seen]) -> tuple[AllocId | None, float | None]:
    """Return the first allocation that was told to run after the fault, and when."""
    running: set[AllocId] = set()
    for each in seen:
        if not (each.value and each.key.startswith(keys.DESIRED)):
            continue
        manifest = codec.decode(Manifest, each.value.encode(), each.key)
        for assignment in manifest.assignments:
            ours = assignment.id.startswith(case.prefix) and assignment.want is Want.RUN
            if not ours or assignment.id in running:
                continue
            if each.at_s >= case.at_s:
                return assignment.id, each.at_s
            running.add(assignment.id)
    return None, None


def _reports(seen: Seen, new: AllocId | None) -> bool:
    if new is None or not seen.value or not seen.key.startswith(keys.OBSERVED):
        return False
    report = codec.decode(Report, seen.value.encode(), seen.key)
    return any(
        each.id == new and each.state is AllocState.RUNNING and each.health is Health.HEALTHY
        for each in report.allocations
    )


def _routes(seen: Seen, new: AllocId | None) -> bool:
    if new is None or not seen.value or not seen.key.startswith(keys.ROUTES):
        return False
    routes = codec.decode(Routes, seen.value.encode(), seen.key)
    return any(end.allocation == new for each in routes.services for end in each.endpoints)


def _takeover(case: Case, after: Sequence[Seen]) -> float | None:
    for each in after:
        if each.key == keys.LEADER and each.value:
            leader = codec.decode(Leader, each.value.encode(), each.key)
            if leader.node != case.victim:
                return each.at_s
    return None


def silence_s(outcomes: Sequence[Outcome], fault_s: float) -> float | None:
    """Return the longest stretch without an answer that ended after the fault.

    Args:
        outcomes: of one load run, in the order they ended.
        fault_s: seconds since the load began.

    Returns:
        Counted from the fault where the stretch began before; None: nothing was answered after it,
        or the last thing heard was a failure.
    """
    gets = [each for each in outcomes if each.idempotent]
    answered = [each.ended_s for each in gets if not each.failure]
    if not answered or answered[-1] <= fault_s or gets[-1].failure:
        return None
    before = max((at_s for at_s in answered if at_s <= fault_s), default=fault_s)
    times = [max(before, fault_s), *(at_s for at_s in answered if at_s > fault_s)]
    return max(later - earlier for earlier, later in pairwise(times))


def slowest_s(outcomes: Sequence[Outcome], fault_s: float) -> float:
    """Return the longest that a GET waited which ended after the fault."""
    return max(
        (
            each.ended_s - each.due_s
            for each in outcomes
            if each.idempotent and each.ended_s > fault_s
        ),
        default=0.0,
    )


def decode_line(line: bytes) -> Seen:
    """Return a line of the observer's.

    Raises:
        HafenError: it is none.
    """
    try:
        return codec.decode(Seen, line, "the observer")
    except HafenError as error:
        raise HafenError(f"the observer wrote {line[:100]!r}: {error}") from error
