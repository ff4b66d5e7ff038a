"""What `hafen serve` runs on this host, as argument lists; and what it does when one of them ends.

Pure.
"""

import sys
from pathlib import Path
from typing import Final

import msgspec

from shared.backoff import Rng, backoff_s
from shared.settings import ETCD_CLIENT_PORT, ETCD_PEER_PORT, Settings

# A part that ran for so long was well: the next end of it is a new trouble, not the old one.
STEADY_S: Final = 10.0
# etcd's advice for its own quota is at most 8 GiB; hafen's state of 200 nodes is some 100 MB.
_QUOTA_BYTES: Final = 2 * 1024**3
# Watches resume within seconds; a part that was away for longer lists again.
_HISTORY: Final = "10m"
# A late heartbeat of etcd costs everyone an election; containers on a busy host must not cause it.
_ETCD_NICE: Final = -10


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One child process of `hafen serve`.

    Attributes:
        stop_s: how long it may take to end after SIGTERM; then it is killed.
    """

    name: str
    argv: tuple[str, ...]
    stop_s: float = 10.0


class Restart(msgspec.Struct, frozen=True):
    """When an ended part is started again. `attempt` counts ends in a row, from 1."""

    attempt: int
    wait_s: float


def parts_of(settings: Settings, config: Path, *, python: str = sys.executable) -> tuple[Part, ...]:
    """Return this host's parts in the order they start; they stop in the opposite order."""
    parts = []
    if settings.member is not None:
        # A leader hands its lead over before it ends, which takes about one election.
        parts.append(Part(name="etcd", argv=etcd_argv(settings), stop_s=5.0))
    if settings.scheduler:
        argv = (python, "-m", "scheduler", "--config", str(config))
        parts.append(Part(name="scheduler", argv=argv, stop_s=5.0))
    argv = (python, "-m", "node_agent", "--config", str(config))
    return (*parts, Part(name="agent", argv=argv, stop_s=10.0))


def restart_after(attempt: int, ran_s: float, rng: Rng) -> Restart:
    """Return when to start a part again that has just ended without being asked to.

    Args:
        attempt: how many times in a row it had ended before this.
        ran_s: how long it ran this time.
        rng: spreads the waits.
    """
    attempt = 1 if ran_s >= STEADY_S else attempt + 1
    return Restart(attempt, backoff_s(attempt, rng))


def etcd_dir(settings: Settings) -> Path:
    """Return where this host's etcd member keeps its data."""
    return settings.data_dir / "etcd"


def etcd_argv(settings: Settings) -> tuple[str, ...]:
    """Return the command that runs this host's member.

    On a second start etcd finds its data and ignores everything about the initial cluster.
    """
    member = settings.member
    assert member is not None, "this host runs no member"
    scheme = "http" if settings.tls is None else "https"
    client = f"{scheme}://{settings.address}:{ETCD_CLIENT_PORT}"
    peer = f"{scheme}://{settings.address}:{ETCD_PEER_PORT}"
    cluster = ",".join(
        f"{name}={scheme}://{address}:{ETCD_PEER_PORT}"
        for name, address in sorted(member.initial_cluster.items())
    )
    flags = {
        "name": member.name,
        "data-dir": str(etcd_dir(settings)),
        "listen-client-urls": f"{client},{scheme}://127.0.0.1:{ETCD_CLIENT_PORT}",
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": cluster,
        "initial-cluster-state": "new",
        "initial-cluster-token": "hafen",
        "heartbeat-interval": str(settings.timing.heartbeat_ms),
        "election-timeout": str(settings.timing.election_ms),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": _HISTORY,
        "quota-backend-bytes": str(_QUOTA_BYTES),
        # A member that was cut off must not force an election on the others when it returns.
        "pre-vote": "true",
        "logger": "zap",
        "log-level": "warn",
    } | _tls_flags(settings)
    command = ("nice", "-n", str(_ETCD_NICE), "etcd")
    return (*command, *(f"--{flag}={value}" for flag, value in flags.items()))


def _tls_flags(settings: Settings) -> dict[str, str]:
    tls = settings.tls
    if tls is None:
        return {}
    both = {"cert-file": str(tls.cert), "key-file": str(tls.key), "trusted-ca-file": str(tls.ca)}
    peers = {f"peer-{flag}": value for flag, value in both.items()}
    demands = {"client-cert-auth": "true", "peer-client-cert-auth": "true"}
    return both | peers | demands
