"""Health over time: what makes a container ready, and what makes it sick."""

from hypothesis import given
from hypothesis import strategies as st

from node_agent.health import ProbeState, after_probe, probe_pause_s
from shared.model import Health, HealthCheck

CHECK = HealthCheck(test=("true",), interval_s=10, retries=3, start_period_s=5, start_interval_s=1)


def probes(*results: bool, check: HealthCheck | None = CHECK, age_s: float = 60) -> ProbeState:
    state = ProbeState()
    for passed in results:
        state = after_probe(state, check, passed=passed, said="no", age_s=age_s)
    return state


def test_one_success_makes_it_healthy() -> None:
    assert probes(False, True).health is Health.HEALTHY


def test_as_many_failures_as_retries_make_it_unhealthy() -> None:
    assert probes(True, False, False).health is Health.HEALTHY
    assert probes(True, False, False, False).health is Health.UNHEALTHY


def test_failures_inside_the_start_period_do_not_count() -> None:
    assert probes(*[False] * 9, age_s=4.9).health is Health.STARTING
    assert probes(*[False] * 3, age_s=5.0).health is Health.UNHEALTHY


def test_a_container_without_a_check_can_only_become_ready() -> None:
    assert probes(*[False] * 99, check=None).health is Health.STARTING
    assert probes(False, True, False, check=None).health is Health.HEALTHY


def test_probing_without_a_check_ends_once_it_is_ready() -> None:
    assert probe_pause_s(probes(True, check=None), None, 0) is None


@given(st.integers(0, 10_000), st.floats(0, 1e9))
def test_a_pause_is_never_longer_than_the_interval(count: int, age_s: float) -> None:
    for check in (None, CHECK):
        pause_s = probe_pause_s(ProbeState(probes=count), check, age_s)
        assert pause_s is not None
        assert 0 < pause_s <= CHECK.interval_s


@given(st.lists(st.booleans(), max_size=30))
def test_it_is_unhealthy_exactly_when_the_last_run_of_failures_is_long_enough(
    results: list[bool],
) -> None:
    state = ProbeState()
    run = 0
    for passed in results:
        state = after_probe(state, CHECK, passed=passed, said="", age_s=60)
        run = 0 if passed else run + 1
        assert (state.health is Health.UNHEALTHY) == (run >= CHECK.retries)
