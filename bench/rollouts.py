"""What rollouts cost, judged from what was recorded; and the figures as they go to bench/out.

Pure. All times are the wall clock of the one machine that a lab runs on.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from bench.results import Spread, spread
from bench.seen import Seen
from deploy.lab.sockets import Life, counts
from deploy.lab.tally import Outcome
from shared import codec, keys
from shared.model import EndpointState, Record, Routes, StackName

OLD, NEW = "1", "2"


class Case(Record, frozen=True, kw_only=True):
    """What is deployed over a whole service of version OLD.

    Attributes:
        tag: of the echo image, the new version's; empty: an image that exists nowhere.
        is_good: it should come up; else the old version must answer everything.
        fault: what happens in the middle: the leading scheduler is killed, a node loses its power.
        memory: what a replica of the new version reserves.
    """

    name: str
    replicas: int = 6
    tag: str = NEW
    is_good: bool = True
    fault: str = ""
    memory: str = "16M"


CASES = (
    Case(name="six"),
    Case(name="one", replicas=1),
    Case(name="sick", tag="sick", is_good=False),
    Case(name="crash", tag="crash", is_good=False),
    Case(name="missing", tag="", is_good=False),
    Case(name="unplaceable", is_good=False, memory="900G"),
    Case(name="leader", fault="leader"),
    Case(name="node", fault="node"),
)


class Websockets(Record, frozen=True, kw_only=True):
    """What became of all websockets; without defaults, so that the file shows a zero.

    Attributes:
        ended_early: before the drain of their replica began, and not with its host.
        dropped: at all; one on a replica that goes is ended by nature.
    """

    opened: int
    ended_early: int
    dropped: int
    reconnected: int
    refused: int
    echoes: int


class RolloutRun(Record, frozen=True, kw_only=True):
    """One run of one case.

    Attributes:
        answered: requests by the version that answered them.
        versions_after: replicas that take requests, by version, once the command had ended.
        took_s: how long the command ran.
        verdict: its last lines.
        victim: who was killed, or lost its power; empty: nobody.
        unexpected: what was not as the case says, one sentence each.
        failures, early: the first requests that failed, the first websockets that ended early.
    """

    case: str
    number: int
    requests: int
    failed_idempotent: int
    failed_other: int
    errors: Mapping[str, int]
    websockets: Websockets
    worst_latency_s: float
    took_s: float
    exit_code: int
    verdict: tuple[str, ...]
    answered: Mapping[str, int]
    versions_after: Mapping[str, int]
    entry: str = ""
    victim: str = ""
    unexpected: tuple[str, ...] = ()
    failures: tuple[Outcome, ...] = ()
    early: tuple[Life, ...] = ()

    def line(self) -> str:
        """Return it as one line for a person."""
        failed = f"{self.failed_idempotent}+{self.failed_other} of {self.requests} failed"
        ws = self.websockets
        sockets = (
            f"websockets: {ws.opened} opened, {ws.dropped} dropped, {ws.ended_early} early, "
            f"{ws.reconnected} reconnected, {ws.refused} refused"
        )
        told = " / ".join(self.verdict[-2:])
        parts = [
            f"exit {self.exit_code} after {self.took_s:.1f} s, {failed}",
            f"worst {self.worst_latency_s:.2f} s",
            sockets,
            f"then {dict(self.versions_after)}",
            told,
            *(f"{count} {cause}" for cause, count in self.errors.items()),
            *(f"UNEXPECTED {sentence}" for sentence in self.unexpected),
        ]
        return "; ".join(parts)


class Rollouts(Record, frozen=True, kw_only=True):
    """All runs of one case. Exit codes, verdicts and versions are counted."""

    case: str
    runs: int
    requests: int
    failed_idempotent: int
    failed_other: int
    websockets: Websockets
    worst_latency_s: Spread
    took_s: Spread
    exit_codes: Mapping[str, int]
    verdicts: Mapping[str, int]
    versions_after: Mapping[str, int]
    unexpected: tuple[str, ...]


def websockets(lives: Sequence[Life], early: int) -> Websockets:
    """Return what became of all websockets; `early` as `ended_early` counts them."""
    told = counts(lives)
    return Websockets(
        opened=told.opened,
        ended_early=early,
        dropped=told.dropped,
        reconnected=told.reconnected,
        refused=told.refused,
        echoes=told.echoes,
    )


def ended_early(
    lives: Iterable[Life],
    seen: Sequence[Seen],
    stack: StackName,
    *,
    began_s: float,
    dead: str = "",
) -> list[Life]:
    """Return the websockets that ended although their replica still took new requests.

    Args:
        lives: of the websockets.
        seen: what was written to etcd, in order.
        stack: whose routes count.
        began_s: wall clock of the run's second 0.
        dead: the network of the containers of a host that lost its power: they end with it.
    """
    versions = _ready_addresses(seen, stack)
    return [
        life
        for life in lives
        if life.opened_s is not None
        and life.end
        and life.replica in _at(versions, began_s + life.ended_s)
        and not (dead and IPv4Address(life.replica) in IPv4Network(dead))
    ]


def _ready_addresses(seen: Iterable[Seen], stack: StackName) -> list[tuple[float, frozenset[str]]]:
    """Return since when which replicas' addresses took requests, in order."""
    key, found = keys.routes(stack), []
    for each in seen:
        if each.key == key:
            routes = codec.decode(Routes, each.value.encode(), key) if each.value else None
            services = routes.services if routes else ()
            ready = (
                end.address
                for service in services
                for end in service.endpoints
                if end.state is EndpointState.READY
            )
            found.append((each.at_s, frozenset(ready)))
    return found


def _at(versions: Sequence[tuple[float, frozenset[str]]], at_s: float) -> frozenset[str]:
    before = [ready for since_s, ready in versions if since_s <= at_s]
    return before[-1] if before else frozenset()


def unexpected(
    case: Case,
    *,
    exit_code: int,
    answered: Mapping[str, int],
    after: Mapping[str, int],
) -> tuple[str, ...]:
    """Return what was not as it should be, one sentence each; failed requests are apart."""
    found = []
    if case.is_good:
        if exit_code != 0:
            found.append(f"the command ended with {exit_code}, not 0")
        if set(after) != {NEW} or sum(after.values()) != case.replicas:
            found.append(f"{dict(after)} take requests, not {case.replicas} of version {NEW}")
    else:
        if exit_code == 0:
            found.append("the command ended with 0")
        strangers = sum(count for version, count in answered.items() if version not in {OLD, ""})
        if strangers:
            found.append(f"a bad version answered {strangers} requests")
        if after.get(OLD, 0) < case.replicas:
            found.append(f"{after.get(OLD, 0)} of {case.replicas} of version {OLD} are left")
    return tuple(found)


def failed(outcomes: Iterable[Outcome], *, idempotent: bool) -> list[Outcome]:
    """Return the requests of one kind that failed."""
    return [each for each in outcomes if each.failure and each.idempotent is idempotent]


def figures(case: str, found: Sequence[RolloutRun]) -> Rollouts:
    """Return the figures of all runs of one case."""
    names = Websockets.__struct_fields__
    sums = {name: sum(getattr(run.websockets, name) for run in found) for name in names}
    return Rollouts(
        case=case,
        runs=len(found),
        requests=sum(run.requests for run in found),
        failed_idempotent=sum(run.failed_idempotent for run in found),
        failed_other=sum(run.failed_other for run in found),
        websockets=Websockets(**sums),
        worst_latency_s=spread([run.worst_latency_s for run in found]),
        took_s=spread([run.took_s for run in found]),
        exit_codes=Counter(str(run.exit_code) for run in found),
        verdicts=Counter(" / ".join(run.verdict) for run in found),
        versions_after=Counter(
            ", ".join(
                f"{count} of {version}" for version, count in sorted(run.versions_after.items())
            )
            for run in found
        ),
        unexpected=tuple(sentence for run in found for sentence in run.unexpected),
    )
