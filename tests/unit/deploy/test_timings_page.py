"""docs/timings.md says what shared/timing.py says: every timing, every value, every reason."""

import re
from math import ceil
from pathlib import Path

import pytest

from node_agent.floating.floating import KERNEL_LATE_S
from shared.timing import PROFILES, Timing

PAGE = Path(__file__).parents[3] / "docs" / "timings.md"
_REASON = re.compile(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", re.MULTILINE)


def test_the_table_is_that_of_the_code() -> None:
    reasons = {name: " ".join(said.split()) for name, said in _REASON.findall(Timing.__doc__ or "")}
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "_" in line]
    written = [row for row in rows if row.startswith("| `")]
    assert written == [
        "| `{}` | {} | {} |".format(
            name,
            " | ".join(f"{getattr(timing, name):g}" for timing in PROFILES.values()),
            reasons[name],
        )
        for name in Timing.__struct_fields__
    ]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_agrees_with_itself(name: str) -> None:
    timing = PROFILES[name]
    assert timing.probe_again_s <= timing.probe_s <= timing.silent_s <= timing.agent_silent_s
    assert timing.lease_ttl_s >= ceil(1.5 * timing.election_ms / 1000), "etcd would grant more"
    assert timing.fence_margin_s < timing.lease_ttl_s
    assert 5 * timing.heartbeat_ms <= timing.election_ms <= 10 * timing.heartbeat_ms
    assert timing.election_ms < 1000 * timing.silent_s, "a suspicion would wait for etcd's leader"


@pytest.mark.parametrize("name", PROFILES)
def test_a_floating_address_is_dropped_before_another_takes_it(name: str) -> None:
    timing = PROFILES[name]
    # A holder that is cut off, or that etcd no longer answers, against who claims it by the word.
    drop_s = 0.1
    assert timing.contact_s + drop_s <= timing.takeover_s
    assert 2 * timing.probe_again_s <= timing.contact_s <= timing.silent_s
    assert timing.contact_s > timing.probe_s + timing.probe_again_s / 2, "an answer must fit in"
    # A holder whose lease ends against who finds that: clocks run 1 % apart.
    had_s = timing.lease_ttl_s + timing.address_grace_s
    assert 0.02 * had_s <= timing.fence_margin_s + timing.claim_margin_s
    # Between two renewals, and with one lost, the kernel still has something left.
    left_s = had_s - timing.fence_margin_s - KERNEL_LATE_S - 1 - 2 * timing.lease_ttl_s / 3
    assert left_s > 1
