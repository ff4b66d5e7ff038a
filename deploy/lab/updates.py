"""What happened while a service got another version, told from records: the moments, the verdict.

Pure. All times are the wall clock of the one machine that a lab runs on.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from deploy.lab.moments import Moment
from deploy.lab.tally import LoadReport, TargetReport
from shared.api import AllocationView
from shared.errors import RolledBackError
from shared.model import Health, Record, ServiceName
from shared.states import AllocState

DONE: Final = 0
# What the command line ends with when the old version is back.
ROLLED_BACK: Final = RolledBackError.exit_code


class Sample(Record, frozen=True, kw_only=True):
    """The service at one moment.

    Attributes:
        ready: replicas that take requests, by version.
        trouble: what is wrong with a replica of the new version, in its node's words.
        is_tried: a replica of the new version exists, ready or not.
    """

    at_s: float
    ready: Mapping[str, int]
    is_tried: bool = False
    trouble: str = ""


class Update(Record, frozen=True, kw_only=True):
    """Everything that was recorded of one update.

    Attributes:
        service: whose versions are watched; others may be in the stack.
        expected: the command's exit code: DONE, or ROLLED_BACK for a bad version.
        began_at_s: wall clock when the command was started.
        took_s: until it ended.
        said: its last lines.
        samples: from its start to the end of the load, in order.
        reports: the load generator's.
    """

    service: ServiceName
    replicas: int
    before: str
    version: str
    expected: int
    began_at_s: float
    took_s: float
    exit_code: int
    said: tuple[str, ...]
    samples: tuple[Sample, ...]
    reports: tuple[LoadReport, ...]

    @property
    def kept(self) -> str:
        """Return the version that should run in the end."""
        return self.version if self.expected == DONE else self.before


class UpdateSummary(Record, frozen=True, kw_only=True):
    """An update in the demo's JSON."""

    version: str
    exit_code: int
    took_s: float
    requests_sent: int
    requests_failed: int
    latency_ms_max: float
    ready: Mapping[str, int]


def sample(
    allocations: Iterable[AllocationView], service: ServiceName, version: str, at_s: float
) -> Sample:
    """Return what the allocations say of a service that is to get `version`."""
    mine = [each for each in allocations if each.service == service]
    ready: dict[str, int] = {}
    for each in mine:
        if (
            each.state is AllocState.RUNNING
            and each.health is Health.HEALTHY
            and not each.draining
            and not each.standby
        ):
            ready[version_of(each.image)] = ready.get(version_of(each.image), 0) + 1
    tried = [each for each in mine if version_of(each.image) == version]
    ill = [each for each in tried if each.restarts or each.state is AllocState.FAILED]
    trouble = next((each.reason or "it ended by itself" for each in ill), "")
    return Sample(at_s=at_s, ready=ready, is_tried=bool(tried), trouble=trouble)


def version_of(image: str) -> str:
    """Return the tag of an image's name."""
    return image.rpartition(":")[2]


def update_timeline(update: Update) -> tuple[Moment, ...]:
    """Return what happened, in order: each replica that changed hands, trouble, and the end."""
    told = [Moment(what="deployed", after_s=0.0, detail=f"{update.service} to {update.version}")]
    most = 0
    is_tried = is_ill = False
    for each in update.samples:
        after_s = each.at_s - update.began_at_s
        if each.is_tried and not is_tried:
            is_tried = True
            detail = f"the first replica of version {update.version} is made"
            told.append(Moment(what="tried", after_s=after_s, detail=detail))
        fresh = each.ready.get(update.version, 0)
        if fresh > most:
            most = fresh
            detail = f"{fresh} of {update.replicas} replicas have version {update.version}"
            told.append(Moment(what="ready", after_s=after_s, detail=detail))
        if each.trouble and not is_ill:
            is_ill = True
            told.append(Moment(what="trouble", after_s=after_s, detail=each.trouble))
    # The samples go on for a while after the command has ended.
    ended = Moment(what="ended", after_s=update.took_s, detail=_ended(update))
    before = [moment for moment in told if (moment.after_s or 0.0) <= update.took_s]
    return (*before, ended, *told[len(before) :])


def _ended(update: Update) -> str:
    said = update.said[-1] if update.said else "it said nothing"
    return f"exit code {update.exit_code}: {said}"


def sent(update: Update) -> tuple[int, int, float]:
    """Return requests sent, requests failed, and the longest wait of one in milliseconds."""
    targets = _targets(update)
    return (
        sum(each.sent for each in targets),
        sum(each.failed for each in targets),
        max((each.latency_ms.max for each in targets), default=0.0),
    )


def _targets(update: Update) -> Sequence[TargetReport]:
    return update.reports[-1].targets if update.reports else ()


def update_problems(update: Update) -> tuple[str, ...]:
    """Return what went wrong, one sentence each; empty: nobody noticed the update."""
    what = f"{update.service} to {update.version}"
    found = []
    if not sent(update)[0]:
        found.append(f"{what}: no request was sent, so nothing is proved")
    for each in _targets(update):
        if each.failed:
            causes = ", ".join(f"{cause} ({count})" for cause, count in each.errors.items())
            found.append(
                f"{what}: {each.failed} of {each.sent} requests to {each.name} failed: {causes}"
            )
    if update.exit_code != update.expected:
        found.append(f"{what}: {_ended(update)}; expected {update.expected}")
    ready = update.samples[-1].ready if update.samples else {}
    if dict(ready) != {update.kept: update.replicas}:
        shown = ", ".join(f"{count} of {version}" for version, count in sorted(ready.items()))
        found.append(
            f"{what}: {shown or 'none'} ready, expected {update.replicas} of {update.kept}"
        )
    return tuple(found)


def update_summary(update: Update) -> UpdateSummary:
    """Return the update as the demo's JSON has it."""
    count, failed, latency_ms = sent(update)
    return UpdateSummary(
        version=update.version,
        exit_code=update.exit_code,
        took_s=round(update.took_s, 3),
        requests_sent=count,
        requests_failed=failed,
        latency_ms_max=latency_ms,
        ready=update.samples[-1].ready if update.samples else {},
    )
