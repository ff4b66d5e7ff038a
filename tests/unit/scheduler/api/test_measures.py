"""What etcd's metrics say of its disk and its elections."""

import math

from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.measures import Measures, measures

BOUNDS = (0.001, 0.002, 0.004, 0.008)
TEXT = """\
# HELP etcd_disk_wal_fsync_duration_seconds The latency distributions of fsync called by WAL.
# TYPE etcd_disk_wal_fsync_duration_seconds histogram
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 90
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.002"} 99
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.004"} 100
etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} 100
etcd_disk_wal_fsync_duration_seconds_sum 0.07
etcd_disk_backend_commit_duration_seconds_bucket{le="0.001"} 0
etcd_disk_backend_commit_duration_seconds_bucket{le="8.192"} 3
etcd_disk_backend_commit_duration_seconds_bucket{le="+Inf"} 100
etcd_server_leader_changes_seen_total 4
process_start_time_seconds 1.61340892115e+09
"""


def test_the_metrics_of_a_member() -> None:
    assert measures(TEXT) == Measures(
        fsync_s=0.002, commit_s=8.192, leader_changes=4, started_s=1613408921.15
    )


def test_a_member_that_has_written_nothing_says_nothing() -> None:
    assert measures('etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 0\n') == Measures()


@given(st.sampled_from(["+Inf", "-Inf", "NaN", "many", "1e999"]))
def test_a_count_that_is_no_number_is_left_out(value: str) -> None:
    assert measures(f"etcd_server_leader_changes_seen_total {value}") == Measures()


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    measures(text)
    measures(f"etcd_server_leader_changes_seen_total {text}")
    measures(f'etcd_disk_wal_fsync_duration_seconds_bucket{{le="{text}"}} 1')


@given(st.lists(st.sampled_from([*BOUNDS, math.inf]), min_size=1, max_size=300))
def test_ninety_nine_of_a_hundred_took_no_longer_than_what_is_said(took: list[float]) -> None:
    name = "etcd_disk_wal_fsync_duration_seconds_bucket"
    lines = [
        f'{name}{{le="{bound}"}} {sum(each <= bound for each in took)}'
        for bound in [*BOUNDS, math.inf]
    ]

    said = measures("\n".join(lines)).fsync_s

    assert said is not None
    enough = [bound for bound in BOUNDS if sum(t <= bound for t in took) >= 0.99 * len(took)]
    assert said == min(enough, default=BOUNDS[-1])
