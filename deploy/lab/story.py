"""What happened in a demo, told from records: the moments after the power cut, and the verdict.

The updates that follow are told by deploy.lab.updates; the verdict is about both.

Pure. All times are the wall clock of the one machine that a lab runs on; nothing here compares two
machines.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from deploy.lab.moments import Moment
from deploy.lab.tally import Gap, LoadReport, TargetReport, longer
from deploy.lab.updates import Update, UpdateSummary, update_problems, update_summary
from shared.model import Event, NodeName, Record, ServiceName, StackName

# What of the cluster's own events tells a moment. A host whose peers agree is unreachable at once;
# one whose session ended is lost later, which is all there is where peers cannot agree.
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "suspected": ("node_unreachable", "node_lost", "node_suspect"),
    "confirmed": ("node_lost", "node_unreachable"),
    "re-placed": ("activated", "placed"),
}


# The link goes away some milliseconds after the moment that is counted from; until so long after
# it nobody else answers a floating address (Timing.silent_s and takeover_s).
ALONE_S: Final = 0.5


class Scene(Record, frozen=True, kw_only=True):
    """Everything that was recorded of one power cut.

    Attributes:
        victim: the host that vanished.
        alone: the service whose only replica ran there.
        killed_at_s: wall clock when its link went away.
        address: the floating address that the load goes to; the victim answered it.
        holder: who answers it now.
        claimed_at_s: wall clock when that host claimed it.
        replicas: what every service asked for.
        ready: what every service had at the end.
        events: the cluster's own story.
        reports: the load generator's, one target for each service, under its name.
        updates: what came after it, in order.
    """

    stack: StackName
    victim: NodeName
    alone: ServiceName
    killed_at_s: float
    address: str
    holder: NodeName
    claimed_at_s: float
    replicas: Mapping[ServiceName, int]
    ready: Mapping[ServiceName, int]
    events: tuple[Event, ...]
    reports: tuple[LoadReport, ...]
    updates: tuple[Update, ...] = ()


class ServiceOutcome(Record, frozen=True, kw_only=True):
    """How one service came through.

    Attributes:
        failover_s: the longest time after the power cut without a success, counted from the cut if
            it began before; None: it did not answer again.
        latency_ms_max: the longest that one request waited for its answer.
        on_holder: of those that failed, how many were on connections that had been opened before
            the power cut, to the host that vanished: nobody can go on with those.
    """

    service: ServiceName
    replicas: int
    ready: int
    sent: int
    failed: int
    latency_ms_max: float
    failover_s: float | None
    errors: Mapping[str, int]
    on_holder: int = 0


class ServiceSummary(Record, frozen=True, kw_only=True):
    """A service in the demo's JSON."""

    replicas: int
    failover_s: float | None


class Summary(Record, frozen=True, kw_only=True):
    """The demo's JSON. Three moments count from the power cut, of the service that was alone.

    Requests and latency are those of the failover; each update has its own. `requests_on_holder`
    are not among `requests_failed`: they ended with their connections to the host that vanished,
    which answered the floating address. Another claimed that after `address_claimed_s`.
    """

    node_killed: NodeName
    requests_sent: int
    requests_failed: int
    requests_on_holder: int
    latency_ms_max: float
    services: Mapping[ServiceName, ServiceSummary]
    detected_s: float | None
    decided_s: float | None
    answering_s: float | None
    address_claimed_s: float
    updates: tuple[UpdateSummary, ...] = ()


def silence(reports: Sequence[LoadReport], target: str, killed_at_s: float) -> Gap | None:
    """Return the longest stretch after the power cut without a success, in seconds after the cut.

    None: nothing succeeded after the cut, or the last that was heard of the target was a failure.
    """
    if not reports:
        return None
    last = _target(reports[-1], target)
    cut_s = killed_at_s - reports[-1].began_at_s
    if last.last_success_s is None or last.last_success_s <= cut_s:
        return None
    if last.last_failure_s is not None and last.last_failure_s > last.last_success_s:
        return None
    widest: Gap | None = None
    for report in reports:
        gap = _target(report, target).window_gap
        if gap is not None and gap.ended_s > cut_s:
            after = Gap(began_s=max(gap.began_s - cut_s, 0.0), ended_s=gap.ended_s - cut_s)
            widest = longer(widest, after)
    # Without a gap the first success of all came after the cut.
    first_s = last.last_success_s if last.first_success_s is None else last.first_success_s
    return widest or Gap(began_s=0.0, ended_s=first_s - cut_s)


def _target(report: LoadReport, name: str) -> TargetReport:
    return next(target for target in report.targets if target.name == name)


def timeline(scene: Scene) -> tuple[Moment, ...]:
    """Return what happened after the power cut, in the order in which a failover goes."""
    back = silence(scene.reports, scene.alone, scene.killed_at_s)
    return (
        Moment(what="vanished", after_s=0.0, detail=f"{scene.victim} lost its power"),
        *(_moment(scene, what) for what in _KINDS),
        Moment(
            what="answering",
            after_s=back.ended_s if back else None,
            detail=f"{scene.alone} answers again" if back else f"{scene.alone} did not answer",
        ),
    )


def _moment(scene: Scene, what: str) -> Moment:
    """Return the first event after the cut that says `what`."""
    kinds = _KINDS[what]
    for event in sorted(scene.events, key=lambda event: event.at_s):
        if event.kind not in kinds or event.at_s < scene.killed_at_s:
            continue
        if event.subject == scene.victim or event.subject.startswith(
            f"{scene.stack}.{scene.alone}."
        ):
            where = f" on {event.node}" if event.node and event.node != event.subject else ""
            after_s = event.at_s - scene.killed_at_s
            return Moment(
                what=what, after_s=after_s, detail=f"{event.subject}{where}: {event.reason}"
            )
    return Moment(what=what, after_s=None, detail=f"no {kinds[-1]} event was seen")


def outcomes(scene: Scene) -> tuple[ServiceOutcome, ...]:
    """Return how every service came through, sorted by name."""
    found = []
    for service in sorted(scene.replicas):
        target = _target(scene.reports[-1], service) if scene.reports else None
        gap = silence(scene.reports, service, scene.killed_at_s)
        on_holder = _on_holder(scene, target)
        found.append(
            ServiceOutcome(
                service=service,
                replicas=scene.replicas[service],
                ready=scene.ready.get(service, 0),
                sent=target.sent if target else 0,
                failed=target.failed - on_holder if target else 0,
                on_holder=on_holder,
                latency_ms_max=target.latency_ms.max if target else 0.0,
                failover_s=round(gap.length_s, 3) if gap else None,
                errors=target.errors if target else {},
            )
        )
    return tuple(found)


def _on_holder(scene: Scene, target: TargetReport | None) -> int:
    """Count failed requests on connections to the host that vanished, opened before it did."""
    if target is None:
        return 0
    cut_s = scene.killed_at_s - scene.reports[-1].began_at_s
    return sum(opened_s < cut_s + ALONE_S for opened_s in target.failures_opened_s)


def problems(scene: Scene) -> tuple[str, ...]:
    """Return what went wrong, one sentence each; empty: nothing failed, all went as it should."""
    found = []
    for each in outcomes(scene):
        if not each.sent:
            found.append(f"{each.service}: no request was sent, so nothing is proved")
        if each.failed:
            causes = ", ".join(f"{cause} ({count})" for cause, count in each.errors.items())
            found.append(f"{each.service}: {each.failed} of {each.sent} requests failed: {causes}")
        if each.sent and each.failover_s is None:
            found.append(f"{each.service}: did not answer again after {scene.victim} vanished")
        if each.ready < each.replicas:
            found.append(f"{each.service}: {each.ready} of {each.replicas} replicas are ready")
    return (*found, *(problem for each in scene.updates for problem in update_problems(each)))


def summary(scene: Scene) -> Summary:
    """Return the demo's JSON."""
    found = outcomes(scene)
    after = {moment.what: moment.after_s for moment in timeline(scene)}
    rounded = {what: None if s is None else round(s, 3) for what, s in after.items()}
    return Summary(
        node_killed=scene.victim,
        requests_sent=sum(each.sent for each in found),
        requests_failed=sum(each.failed for each in found),
        requests_on_holder=sum(each.on_holder for each in found),
        latency_ms_max=max((each.latency_ms_max for each in found), default=0.0),
        services={
            each.service: ServiceSummary(replicas=each.replicas, failover_s=each.failover_s)
            for each in found
        },
        detected_s=rounded["suspected"],
        decided_s=rounded["re-placed"],
        answering_s=rounded["answering"],
        address_claimed_s=round(scene.claimed_at_s - scene.killed_at_s, 3),
        updates=tuple(update_summary(each) for each in scene.updates),
    )
