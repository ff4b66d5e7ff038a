"""Facts about the cluster -> findings: what cannot hold what the profile promises, and what to do.

Pure. Who gathers the facts does not judge them. A rule yields nothing where all is well.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Final

import msgspec

from scheduler.api import certificates
from scheduler.api.measures import Measures
from scheduler.world import World
from shared.api import Diagnosis, EtcdMemberView, Finding, Level
from shared.model import NodeName, Origin
from shared.timing import PROFILES, Timing

# Releases of etcd and what they mend that hafen relies on: facts of etcd's change log.
_HOLES: Final[tuple[tuple[tuple[int, int, int], str], ...]] = (
    ((3, 4, 25), "watches may deliver a change twice, progress answers may run ahead of changes"),
    ((3, 4, 31), "a leader that was deposed may still revoke leases"),
    ((3, 4, 38), "a keep-alive of a lease that was revoked may be acknowledged"),
    ((3, 5, 3), "members may come to hold different data after a crash"),
    ((3, 5, 13), "a leader that was deposed may still revoke leases"),
)
# With two nodes one watcher is no majority: nobody can confirm that the other is gone.
_NODES_MIN: Final = 3
# Fewer cannot lose one and go on.
_MEMBERS_MIN: Final = 3
_SCHEDULERS_MIN: Final = 2
# Of an election: a leader sends no heartbeat while it waits for its disk, and the slowest write of
# a day takes many times what 1 of 100 takes. At 250 ms these are the 10 and 25 ms of etcd's advice.
_FSYNC_SHARE: Final = 0.04
_COMMIT_SHARE: Final = 0.1
# A start and a host lost cost a few; more than one an hour beyond them is no accident.
_CHANGES_FREE: Final = 3
_HOUR_S: Final = 3600.0


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The host that this scheduler runs on."""

    node: NodeName = NodeName("")
    has_cgroup2: bool = True
    has_watchdog: bool = True


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is judged.

    Attributes:
        profile: this scheduler's own.
        common: this scheduler's own settings that must be the same on every host.
        granted_s: the lease that etcd grants who asks for the shortest; None: it did not answer.
        measures: by endpoint, of the members that could be asked.
        schedulers: how many answer; None: without TLS nobody can count them.
        host: this scheduler's host.
        now_s: wall clock.
    """

    world: World
    members: tuple[EtcdMemberView, ...]
    profile: str
    common: Mapping[str, str] = {}
    granted_s: float | None = None
    measures: Mapping[str, Measures] = {}
    schedulers: int | None = None
    host: HostFacts = HostFacts()
    now_s: float = 0.0

    @property
    def timing(self) -> Timing:
        """Return what the profile promises."""
        return PROFILES[self.profile]


def diagnose(facts: Facts) -> Diagnosis:
    """Return what every rule says; one line that all is well where none says anything."""
    found = tuple(chain.from_iterable(rule(facts) for rule in _RULES))
    well = Finding(level=Level.OK, where="cluster", what="nothing found that is wrong", advice="")
    return Diagnosis(findings=found or (well,))


def _answering(facts: Facts) -> Iterator[Finding]:
    silent = [member for member in facts.members if member.problem]
    quorum = len(facts.members) // 2 + 1
    has_quorum = len(facts.members) - len(silent) >= quorum
    for member in silent:
        yield Finding(
            level=Level.WARN if has_quorum else Level.FAIL,
            where=f"etcd {member.endpoint}",
            what=member.problem,
            advice="start it again, or replace it: the next loss may cost the majority",
        )


def _count(facts: Facts) -> Iterator[Finding]:
    count = len(facts.members)
    if 0 < count < _MEMBERS_MIN:
        yield Finding(
            level=Level.WARN,
            where="etcd",
            what=f"{count} of its members: the loss of one stops every change",
            advice="run three or five",
        )
    elif count and count % 2 == 0:
        yield Finding(
            level=Level.WARN,
            where="etcd",
            what=f"{count} members bear the loss of no more than {count - 1} do",
            advice=f"run {count - 1} or {count + 1}",
        )


def _versions(facts: Facts) -> Iterator[Finding]:
    for member in facts.members:
        version = _version(member.version)
        holes = [
            (mended, hole)
            for mended, hole in _HOLES
            if mended[:2] == version[:2] and version < mended
        ]
        if holes:
            mended = ".".join(map(str, holes[-1][0]))
            yield Finding(
                level=Level.WARN,
                where=f"etcd {member.endpoint}",
                what=f"version {member.version}: {'; '.join(hole for _, hole in holes)}",
                advice=f"upgrade to {mended} or newer",
            )


def _version(text: str) -> tuple[int, ...]:
    parts = text.split("-", maxsplit=1)[0].split(".")
    return tuple(int(part) for part in parts if part.isdecimal())


def _settings(facts: Facts) -> Iterator[Finding]:
    ours = {"profile": facts.profile, **facts.common}
    for name, node in facts.world.nodes.items():
        if node.session is None:
            continue
        theirs = {"profile": node.session.profile, **node.session.common}
        # An agent of an earlier version says less.
        for key in sorted(ours.keys() & theirs.keys()):
            if theirs[key] != ours[key]:
                yield Finding(
                    level=Level.FAIL,
                    where=f"node {name}",
                    what=f"its {key} is {theirs[key] or 'empty'}, "
                    f"that of this scheduler is {ours[key] or 'empty'}",
                    advice=f"write the same {key} into the settings of every host",
                )


def _nodes(facts: Facts) -> Iterator[Finding]:
    nodes = facts.world.nodes
    if 0 < len(nodes) < _NODES_MIN:
        yield Finding(
            level=Level.WARN,
            where="cluster",
            what=f"{len(nodes)} nodes: no two watchers can agree that another is gone, so only "
            "the end of its lease tells",
            advice="add a node",
        )
    for name, node in nodes.items():
        if not node.alive:
            yield Finding(
                level=Level.FAIL,
                where=f"node {name}",
                what="its agent's lease has ended",
                advice="start the host, or `hafen serve` on it; one that is gone for good counts in"
                f" every majority until `hafen node rm {name}`",
            )
        for problem in node.report.problems if node.report is not None else ():
            yield Finding(
                level=Level.WARN, where=f"node {name}", what=problem, advice="mend it on that host"
            )


def _images(facts: Facts) -> Iterator[Finding]:
    for name, node in facts.world.nodes.items():
        wanted = node.manifest.images if node.manifest is not None else ()
        there = node.report.images if node.report is not None else ()
        for image in sorted(set(wanted) - set(there)):
            yield Finding(
                level=Level.WARN,
                where=f"node {name}",
                what=f"spare image {image} is not there yet: a replacement would wait for it",
                advice="wait for the pull, or `hafen image load` it",
            )


def _unreadable(facts: Facts) -> Iterator[Finding]:
    for key, reason in facts.world.unreadable.items():
        yield Finding(
            level=Level.FAIL,
            where=key,
            what=f"cannot be read: {reason}",
            advice="restore the record; what depends on it is left as it is",
        )


def _certificates(facts: Facts) -> Iterator[Finding]:
    for one in certificates.certificates(facts.world, facts.now_s).certificates:
        if one.problem:
            is_over = bool(one.chain) and facts.now_s >= one.not_after_s
            yield Finding(
                level=Level.FAIL if is_over else Level.WARN,
                where=f"certificate {one.name}",
                what=one.problem,
                advice="`hafen cert add` a new one"
                if one.origin is Origin.FILE
                else "it is tried again by itself; see whether its hosts lead here",
            )
    for service, host in certificates.uncovered(facts.world):
        yield Finding(
            level=Level.WARN,
            where=f"service {service}",
            what=f"no certificate is for {host}: its handshakes are refused",
            advice="`hafen cert add` or `hafen cert issue` one, or write tls: acme",
        )


def _leader(facts: Facts) -> Iterator[Finding]:
    if facts.world.leader is None:
        yield Finding(
            level=Level.FAIL,
            where="scheduler",
            what="nobody leads: nothing is placed",
            advice="see whether etcd answers and a scheduler runs",
        )


def _lease(facts: Facts) -> Iterator[Finding]:
    granted_s, promised_s = facts.granted_s, facts.timing.lease_ttl_s
    if granted_s is not None and granted_s > promised_s:
        yield Finding(
            level=Level.FAIL,
            where="etcd",
            what=f"it grants no lease below {granted_s:g} s, profile {facts.profile} counts on "
            f"{promised_s:g} s: exclusive work stands still for longer when its host dies",
            advice=f"start its members with --election-timeout={facts.timing.election_ms}",
        )


def _disks(facts: Facts) -> Iterator[Finding]:
    election_s = facts.timing.election_ms / 1000
    for endpoint, measured in sorted(facts.measures.items()):
        for what, took_s, limit_s in (
            ("its log", measured.fsync_s, election_s * _FSYNC_SHARE),
            ("its data", measured.commit_s, election_s * _COMMIT_SHARE),
        ):
            if took_s is not None and took_s > limit_s:
                yield Finding(
                    level=Level.WARN,
                    where=f"etcd {endpoint}",
                    what=f"1 of 100 writes of {what} to disk takes up to {took_s * 1000:.0f} ms, "
                    f"profile {facts.profile} bears {limit_s * 1000:.0f} ms",
                    advice="give it a faster disk of its own, or choose a slower profile",
                )


def _elections(facts: Facts) -> Iterator[Finding]:
    for endpoint, measured in sorted(facts.measures.items()):
        if measured.started_s is None:
            continue
        hours = max(facts.now_s - measured.started_s, 0.0) / _HOUR_S
        if measured.leader_changes > _CHANGES_FREE + hours:
            yield Finding(
                level=Level.WARN,
                where=f"etcd {endpoint}",
                what=f"it has seen {measured.leader_changes} changes of leader in {hours:.1f} h",
                advice="see whether its disk, processor or network is busy, or choose a slower "
                "profile",
            )


def _schedulers(facts: Facts) -> Iterator[Finding]:
    if facts.schedulers is not None and facts.schedulers < _SCHEDULERS_MIN:
        yield Finding(
            level=Level.WARN,
            where="scheduler",
            what="no second one answers: when its host is lost, nothing is replaced",
            advice="run one on another host: scheduler = true in its settings",
        )


def _host(facts: Facts) -> Iterator[Finding]:
    where = f"node {facts.host.node}"
    if not facts.host.has_cgroup2:
        yield Finding(
            level=Level.WARN,
            where=where,
            what="its kernel has no unified cgroup hierarchy (cgroup 2)",
            advice="boot with systemd.unified_cgroup_hierarchy=1",
        )
    if not facts.host.has_watchdog and _has_exclusive(facts.world):
        yield Finding(
            level=Level.WARN,
            where=where,
            what="no watchdog, and there are exclusive services: only its kernel's timers end them",
            advice="name the device in its settings, such as watchdog = '/dev/watchdog'",
        )


def _has_exclusive(world: World) -> bool:
    return any(
        spec.workload.exclusive for state in world.stacks.values() for spec in state.stack.services
    )


_RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _answering,
    _count,
    _versions,
    _lease,
    _disks,
    _elections,
    _schedulers,
    _leader,
    _settings,
    _nodes,
    _host,
    _images,
    _certificates,
    _unreadable,
)
