"""The figures of failovers, as they are written to bench/out."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.seen import Moments
from bench.statistics import p95
from shared.model import Record

DIGITS: Final = 3
T = TypeVar("T")


class Spread(Record, frozen=True, kw_only=True):
    """Seconds over all runs; None: it happened in none of them."""

    median: float | None
    p95: float | None
    max: float | None


class Combination(Record, frozen=True, kw_only=True):
    """One fault against one kind of service. The figures are seconds since the fault.

    Attributes:
        slowest_s: how long the slowest GET of a run took that ended after the fault.
        half_read: of the failed idempotent ones, those whose clients had read a part of the answer.
    """

    fault: str
    service: str
    nodes: int
    runs: int
    detected_s: Spread
    decided_s: Spread
    answering_s: Spread
    requests: int
    failed_idempotent: int
    failed_other: int
    overlaps: int
    slowest_s: Spread = Spread(median=None, p95=None, max=None)
    via: str = "host"
    rate: int = 150
    on_holder: int = 0
    half_read: int = 0


class RunRecord(Record, frozen=True, kw_only=True):
    """One run.

    Attributes:
        roles: what the victim was besides: the leader of etcd, of the schedulers.
        elections: of etcd, from just before the fault until its end.
        via: what the load was sent to, see bench.address.Via.
        rate: requests a second.
        on_holder: failed requests on connections to the victim, which held the address; they are
            not among the others.
        half_read: of the failed idempotent ones, those whose clients had read a part of the answer.
        errors: the failed requests by cause.
        suspected: seconds from the fault to each peer's first suspicion.
    """

    fault: str
    service: str
    nodes: int
    number: int
    victim: str
    entry: str
    moments: Moments
    requests: int
    failed_idempotent: int
    failed_other: int
    roles: tuple[str, ...] = ()
    elections: int = 0
    errors: Mapping[str, int] = {}
    suspected: Mapping[str, float] = {}
    via: str = "host"
    rate: int = 150
    on_holder: int = 0
    half_read: int = 0

    def line(self) -> str:
        """Return it as one line for a person."""
        told = msgspec.structs.asdict(self.moments)
        parts = [f"{name} {value:.3f}" for name, value in told.items() if value is not None]
        failed = f"{self.failed_idempotent}+{self.failed_other} of {self.requests} failed"
        if self.via != "host":
            failed += f", {self.on_holder} with their connections to the holder"
        peers = ", ".join(f"{peer} {at_s:.3f}" for peer, at_s in self.suspected.items())
        who = " ".join((self.victim, *(f"({role} leader)" for role in self.roles)))
        if self.elections:
            who += f" ({self.elections} elections)"
        if self.errors:
            failed += f" ({', '.join(f'{count} {cause}' for cause, count in self.errors.items())})"
        return f"{who}: {' '.join(parts)}; suspected by {peers or 'nobody'}; {failed}"


def spread(values: Sequence[float | None]) -> Spread:
    """Return median, 95th percentile and most of the values that there are."""
    there = sorted(value for value in values if value is not None)
    if not there:
        return Spread(median=None, p95=None, max=None)
    return Spread(
        median=round(statistics.median(there), DIGITS),
        p95=round(p95(there), DIGITS),
        max=round(there[-1], DIGITS),
    )


def record_of(
    fault: str, service: str, nodes: int, found: Sequence[RunRecord], *, overlaps: int
) -> Combination:
    """Return the figures of all runs of one combination."""
    return Combination(
        fault=fault,
        service=service,
        nodes=nodes,
        runs=len(found),
        detected_s=spread([each.moments.detected for each in found]),
        decided_s=spread([each.moments.decided for each in found]),
        answering_s=spread([each.moments.answering for each in found]),
        requests=sum(each.requests for each in found),
        failed_idempotent=sum(each.failed_idempotent for each in found),
        failed_other=sum(each.failed_other for each in found),
        overlaps=overlaps,
        slowest_s=spread([each.moments.slowest for each in found]),
        via=found[0].via,
        rate=found[0].rate,
        on_holder=sum(each.on_holder for each in found),
        half_read=sum(each.half_read for each in found),
    )


def replace_in(folder: Path, record: Combination, found: Sequence[RunRecord]) -> None:
    """Write a combination and its runs in the place of the ones before; others are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    all_ = read(folder / "failover.json", Combination)
    write(folder / "failover.json", [*(e for e in all_ if _key(e) != _key(record)), record])
    runs = read(folder / "failover_runs.json", RunRecord)
    write(folder / "failover_runs.json", [*(e for e in runs if _key(e) != _key(record)), *found])


def read(path: Path, kind: type[T]) -> list[T]:
    """Return a list of records from a file; none if there is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]
    except FileNotFoundError:
        return []


def write(path: Path, records: Sequence[Record]) -> None:
    """Write a list of records, for people and programs."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(records)) + b"\n")


def _key(record: Combination | RunRecord) -> tuple[str, str, int, str, int]:
    return record.fault, record.service, record.nodes, record.via, record.rate
