"""Figures of repeated runs, and which of them a new measurement replaces."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import Combination, RunRecord, read, record_of, replace_in, spread
from bench.seen import Moments
from bench.statistics import p95

RUN = RunRecord(
    fault="vanish",
    service="single",
    nodes=3,
    number=1,
    victim="node-1",
    entry="node-2",
    moments=Moments(answering=0.5),
    requests=10,
    failed_idempotent=0,
    failed_other=0,
)


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (10, 10), (19, 19), (20, 19), (100, 95)])
def test_the_95th_percentile_is_that_of_the_nearest_rank(count: int, rank: int) -> None:
    values = [float(number) for number in range(count, 0, -1)]

    assert spread(values).p95 == rank


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_95_of_100_are_no_more_and_of_less_that_is_not_so(values: list[float]) -> None:
    ordered = sorted(values)
    found = p95(ordered)

    assert sum(value <= found for value in ordered) * 100 >= 95 * len(ordered)
    assert sum(value < found for value in ordered) * 100 < 95 * len(ordered)


@pytest.mark.parametrize("other", [{"rate": 300}, {"nodes": 5}, {"via": "vip"}, {"fault": "cut"}])
def test_what_was_measured_otherwise_is_kept(other: dict[str, object], tmp_path: Path) -> None:
    again = msgspec.structs.replace(RUN, requests=20)
    for run in (RUN, msgspec.structs.replace(RUN, **other), again):
        record = record_of(run.fault, run.service, run.nodes, [run], overlaps=0)
        replace_in(tmp_path, record, [run])

    kept = read(tmp_path / "failover.json", Combination)
    assert [each.requests for each in kept] == [10, 20]
    assert [each.requests for each in read(tmp_path / "failover_runs.json", RunRecord)] == [10, 20]
