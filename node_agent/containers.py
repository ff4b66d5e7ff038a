"""The loop over one node's containers: what is asked and what runs, to steps under way.

What is decided is in node_agent.decide; here is what it needs to know, and what comes of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from node_agent import ports
from node_agent.actions import Create, Remove, Start, Step, Stop
from node_agent.claims import Verdict
from node_agent.contents import Contents
from node_agent.decide import PERIOD_S, Allowed, decide, may_start
from node_agent.exclusive import Exclusive
from node_agent.execute import Executor, Wanted
from node_agent.health import ProbeState
from node_agent.outside import Outside
from node_agent.probe import Prober
from node_agent.runtime import Container
from node_agent.status import Doing, statuses
from node_agent.track import Track, Tracks, ask_to_end, follow, give_up, resumed
from node_agent.views import ManifestView
from shared.clock import Clock
from shared.errors import RuntimeFailureError
from shared.loop import Dirty
from shared.model import AllocationStatus, AllocId, Assignment, Manifest, Want

_log = structlog.get_logger()

# A disk that cannot be read is not mended sooner.
_BLIND_S: Final = 2.0


class Containers:
    """What runs on this node.

    Args:
        outside: what runs it, and remembers it over an agent's end.
        manifest: what is asked.
        exclusive: who may run what must run but once.
        clock: time.
        boot_patience_s: how long to wait for etcd before what ran last is started again.
        told: called after every pass with what is to be reported.
    """

    def __init__(
        self,
        outside: Outside,
        manifest: ManifestView,
        exclusive: Exclusive,
        clock: Clock,
        *,
        boot_patience_s: float,
        told: Callable[[tuple[AllocationStatus, ...], Manifest | None], None],
    ) -> None:
        self._runtime, self._journal = outside.runtime, outside.journal
        self._answers = outside.answers
        self._manifest, self._exclusive = manifest, exclusive
        self._clock, self._told_report = clock, told
        self._begin_at = clock.monotonic_s() + boot_patience_s
        self.dirty = Dirty()
        self._tracks: Tracks = {}
        self._before: Mapping[AllocId, AllocationStatus] = {}
        self._is_resumed = False
        self._wanted: Mapping[AllocId, Wanted] = {}
        self.problem = ""

    def begin(self, group: asyncio.TaskGroup, tracks: Tracks, contents: Contents) -> None:
        """Adopt what is there.

        Args:
            group: owns all that is started from here on.
            tracks: what the agent before us remembered.
            contents: what is in configs and secrets.
        """
        self._tracks = tracks
        self._runtime.on_exit(self.dirty.mark)
        self._executor = Executor(
            self._runtime,
            contents,
            group,
            failed=self._failed,
            done=self.dirty.mark,
            wanted=self._still_wanted,
        )
        self._prober = Prober(
            self._runtime, self._clock, group, told=self._probed, answers=self._answers
        )

    def resume(self, before: Mapping[AllocId, AllocationStatus]) -> None:
        """Take over what the agent before us reported last: its dates stay, and what is over."""
        self._before, self._is_resumed = before, True
        self._tracks = resumed(self._tracks, before)
        self.dirty.mark()

    async def one_pass(self) -> float:
        """Compare once and begin the steps; return when to look again, seconds."""
        manifest = self._manifest.read()
        if manifest is None and not self._manifest.is_current:
            # Its journal is lost: what runs here may well be wanted, and only etcd can say.
            return PERIOD_S
        desired = {a.id: a for a in manifest.assignments} if manifest is not None else {}
        # Before listing: a step that ends meanwhile is still taken for under way, never done twice.
        in_flight = self._executor.in_flight
        containers = await self._seen()
        if containers is None:
            return _BLIND_S
        observed = {container.id: container for container in containers}
        now = self._clock.monotonic_s()
        self._tracks = follow(self._tracks, containers, desired, now)
        self._prober.follow(containers, self._tracks)
        verdicts = {
            **self._exclusive.judge(
                desired.values(), self._manifest.revision, containers, in_flight
            ),
            **ports.waiting(desired, observed, in_flight),
        }
        allowed = Allowed(
            rights={id_: verdict.right for id_, verdict in verdicts.items()},
            begin=(self._manifest.is_current and self._is_resumed) or now >= self._begin_at,
            exclusive=self._exclusive.is_kept,
        )
        self._wanted = {
            id_: Wanted.RUNNING if may_start(each, allowed) else Wanted.MADE
            for id_, each in desired.items()
        }
        decision = decide(desired, observed, self._tracks, in_flight, now, allowed)
        self._note_stops(decision.steps, desired, manifest)
        self._executor.begin(decision.steps)
        busy = in_flight | {step.id for step in decision.steps}
        found = statuses(
            desired,
            observed,
            self._tracks,
            Doing(busy, _waiting(desired, verdicts)),
            self._before,
            now_s=self._clock.now_s(),
        )
        self._before = {status.id: status for status in found}
        self._told_report(found, manifest)
        # What was begun gets as far as it can alone: a disk takes longer than what it waits for.
        await asyncio.sleep(0)
        self._write_journal(manifest)
        wait_s = decision.wake_in_s
        return wait_s if allowed.begin else min(wait_s, self._begin_at - now)

    async def _seen(self) -> Sequence[Container] | None:
        """Return the containers; None: nobody knows, and nothing is begun, ended or told."""
        try:
            return await self._runtime.list()
        except RuntimeFailureError as error:
            self.problem = f"cannot see what runs here: {error}"
            _log.error("containers_not_seen", reason=str(error))
            return None

    def _still_wanted(self, id_: AllocId) -> Wanted:
        return self._wanted.get(id_, Wanted.NO)

    def _write_journal(self, manifest: Manifest | None) -> None:
        try:
            self._journal.write(manifest, self._tracks)
            self.problem = ""
        except OSError as error:
            # What runs goes on; only a restart of this agent while etcd is away would miss it.
            self.problem = f"cannot write {error.filename}: {error.strerror}"
            _log.error("journal_not_written", reason=self.problem)

    def _note_stops(
        self,
        steps: Sequence[Step],
        desired: Mapping[AllocId, Assignment],
        manifest: Manifest | None,
    ) -> None:
        """Remember what is asked to end although it is wanted: that it obeys is no success."""
        stops = [step for step in steps if isinstance(step, Stop) and step.id in desired]
        if not stops:
            return
        asked = {
            step.id: ask_to_end(self._tracks.get(step.id, Track()), step.reason) for step in stops
        }
        self._tracks = {**self._tracks, **asked}
        # On the disk before it is done: an agent that dies meanwhile must still know.
        self._write_journal(manifest)

    def _failed(self, step: Step, reason: str) -> None:
        match step:
            case Create() | Start():
                track = self._tracks.get(step.id, Track())
                self._tracks = {**self._tracks, step.id: give_up(track, reason)}
            case Stop() | Remove():
                pass  # Decided again by the next pass; the executor has logged it.

    def _probed(self, id_: AllocId, start: int, state: ProbeState) -> None:
        track = self._tracks.get(id_)
        if track is not None and track.counted + 1 == start:
            self._tracks = {**self._tracks, id_: msgspec.structs.replace(track, probed=state)}
            self.dirty.mark()


def _waiting(
    desired: Mapping[AllocId, Assignment], verdicts: Mapping[AllocId, Verdict]
) -> Mapping[AllocId, str]:
    """Return why each allocation that is not started is not."""
    standing = {id_: "stands by" for id_, each in desired.items() if each.want is Want.STANDBY}
    return standing | {id_: verdict.reason for id_, verdict in verdicts.items()}
