"""What a running container's probes say about it over time.

Pure. A container without a healthcheck is ready once, when its ports answer, and stays so until it
ends.
"""

from typing import Final

import msgspec

from shared.model import Health, HealthCheck

# A port that opens is noticed within this; the first looks come sooner, see probe_pause_s.
_PORT_PAUSE_MAX_S: Final = 0.5
_PORT_PAUSE_MIN_S: Final = 0.005
_DOUBLINGS_MAX: Final = 10


class ProbeState(msgspec.Struct, frozen=True, kw_only=True):
    """One start of one container as its probes see it.

    Attributes:
        health: the verdict so far.
        failures: failed probes in a row that count.
        probes: all probes so far.
        said: what the last failed probe said.
    """

    health: Health = Health.STARTING
    failures: int = 0
    probes: int = 0
    said: str = ""


def after_probe(
    state: ProbeState, check: HealthCheck | None, *, passed: bool, said: str, age_s: float
) -> ProbeState:
    """Return the state after one more probe.

    Args:
        state: before it.
        check: None: a probe of the ports, which can only make a container ready.
        passed: whether the probe did.
        said: its output, for the reason.
        age_s: how long ago the container was started.
    """
    probes = state.probes + 1
    if passed:
        return ProbeState(health=Health.HEALTHY, probes=probes)
    if check is None or _is_excused(state, check, age_s):
        return msgspec.structs.replace(state, probes=probes, said=said)
    failures = state.failures + 1
    health = Health.UNHEALTHY if failures >= check.retries else state.health
    return ProbeState(health=health, failures=failures, probes=probes, said=said)


def _is_excused(state: ProbeState, check: HealthCheck, age_s: float) -> bool:
    return state.health is Health.STARTING and age_s < check.start_period_s


def probe_pause_s(state: ProbeState, check: HealthCheck | None, age_s: float) -> float | None:
    """Return how long until the next probe; None: no more are needed."""
    if check is None:
        if state.health is Health.HEALTHY:
            return None
        doubled = _PORT_PAUSE_MIN_S * 2.0 ** min(state.probes, _DOUBLINGS_MAX)
        return min(doubled, _PORT_PAUSE_MAX_S)
    if state.health is Health.STARTING and age_s < check.start_period_s:
        return min(check.start_interval_s, check.interval_s)
    return check.interval_s
