"""The shell around it all: sends what is due, answers what is asked, tells what has changed.

One timer and one callback for everything: a probe costs no task, and neither does an answer.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn

import structlog

from node_agent.peers.asking import Asking, hold_s_max
from node_agent.peers.limiter import Limiter
from node_agent.peers.lookout import Lookout
from node_agent.peers.net import Net, Way
from node_agent.peers.promise import Promise
from node_agent.peers.watchers import watched_by, watchers_of
from node_agent.peers.wire import NONCE_BITS, Datagram, Kind, decode, encode
from shared.clock import Clock
from shared.loop import Dirty
from shared.model import NodeName, NodeSpec, Silence
from shared.pause import Pause
from shared.timing import Timing

_log = structlog.get_logger()

# Three watchers ask five times a second, twenty times when in doubt, and 1,000 nodes at once when
# etcd is lost. What is beyond that is a flood, and goes unanswered.
_ANSWERS_PER_S: Final = 2000.0
# The loop's timers and a node's own clock may differ by less than a pause is worth.
_PAUSE_S_MIN: Final = 0.001


class Peers:
    """This node among the others: watches some of them and answers all.

    Attributes:
        promised_until_boot_s: until this moment of the boot clock this node must claim nothing.
    """

    def __init__(  # noqa: PLR0913 - what it acts on, each by name
        self,
        me: NodeName,
        timing: Timing,
        net: Net,
        promise: Promise,
        *,
        clock: Clock,
        rng: random.Random,
        has_session: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        """Prepare; nothing is sent or answered before `run`.

        Args:
            me: this node's name.
            timing: of the cluster's profile.
            net: the way to the peers.
            promise: keeps what was promised, over a restart of this agent.
            clock: this node's.
            rng: makes nonces.
            has_session: whether this node's lease may still be alive in etcd.
            on_change: called when `suspicions` or `problems` have changed.
        """
        self._me, self._timing, self._net, self._promise = me, timing, net, promise
        self._clock, self._rng = clock, rng
        self._has_session, self._on_change = has_session, on_change
        self._lookout = Lookout(timing, self._nonce)
        self._known: frozenset[tuple[NodeName, str]] = frozenset()
        self._watched: frozenset[NodeName] = frozenset()
        self._watches_back = False
        self._others: dict[str, NodeSpec] = {}
        self._answering = Limiter(_ANSWERS_PER_S)
        self._askings: dict[Asking, Dirty] = {}
        self._deaf: tuple[NodeName, ...] = ()
        self._planned_s, self._pause = 0.0, Pause()
        # A clock that was set back by a reboot must not keep a promise alive for days.
        limit_s = clock.boot_s() + hold_s_max(timing)
        self.promised_until_boot_s = min(promise.read(), limit_s)

    def follow(self, nodes: Sequence[NodeSpec]) -> None:
        """Take these for all the nodes of the cluster, this one among them."""
        known = frozenset((spec.name, spec.address) for spec in nodes)
        if known == self._known:
            return  # Labels and the like are none of our business.
        self._known = known
        self._others = {spec.address: spec for spec in nodes if spec.name != self._me}
        self._watch()

    def _watch(self) -> None:
        names = [name for name, _ in self._known]
        self._watched = frozenset(watched_by(self._me, names))
        back = watchers_of(self._me, names) if self._watches_back else ()
        wanted = self._watched | frozenset(back)
        specs = [spec for spec in self._others.values() if spec.name in wanted]
        self._tell(changed=self._lookout.follow(specs))

    def watch_back(self) -> None:
        """Probe those, too, that watch this node: whether it is in contact with them matters.

        Nobody is suspected for that: a node has as many watchers as before.
        """
        if not self._watches_back:
            self._watches_back = True
            self._watch()

    def answered_s(
        self, nodes: Iterable[NodeName], unanswered_min: int
    ) -> Mapping[NodeName, float]:
        """Return when the newest probe that each of `nodes` answered was sent; see Lookout."""
        return self._lookout.answered_s(nodes, unanswered_min)

    @property
    def suspicions(self) -> Mapping[NodeName, Silence]:
        """Return the nodes that this one watches and cannot reach."""
        found = self._lookout.suspicions
        return {node: silence for node, silence in found.items() if node in self._watched}

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what a person must mend, one sentence each."""
        return tuple(
            f"{node} does not answer ICMP: a crash of its agent cannot be told from the loss of"
            " the host; failover takes the lease"
            for node in self._deaf
        )

    async def run(self) -> NoReturn:
        """Probe and answer until cancelled.

        Raises:
            HostError: a right is missing, or the port is taken.
        """
        self._net.open(self._received)
        try:
            while True:
                now = self._clock.monotonic_s()
                probes, changed = self._lookout.tick(now)
                for address, nonce in probes:
                    datagram = self._say(Kind.PING, nonce)
                    self._net.send(Way.AGENT, address, datagram)
                    self._net.send(Way.HOST, address, datagram)
                self._tell(changed=changed)
                self._planned_s = self._lookout.planned_s
                await self._pause.last(self._wait_s())
        finally:
            self._net.close()

    def _wait_s(self) -> float:
        return max(self._planned_s - self._clock.monotonic_s(), _PAUSE_S_MIN)

    async def ask_all(self, hold_s: float) -> Mapping[NodeName, bool | None]:
        """Ask every other node whether it has no session and will claim nothing for `hold_s`.

        Args:
            hold_s: at most asking.hold_s_max; a peer counts it from when it is asked, so from the
                call of this on nothing is claimed for as long.

        Returns:
            True: it has none and promises. False: it has one, or refuses. None: it said nothing
            within the profile's `silent_s`.
        """
        asking, done = Asking(self._others.values(), self._nonce), Dirty()
        self._askings[asking] = done
        try:
            ends_s = self._clock.monotonic_s() + self._timing.silent_s
            while asking.unanswered and self._clock.monotonic_s() < ends_s:
                for address, nonce in asking.unanswered:
                    self._net.send(Way.AGENT, address, self._say(Kind.ASK, nonce, hold_s))
                await done.wait(self._timing.probe_again_s)
        finally:
            del self._askings[asking]
        return asking.answers

    # ------------------------------------------------------------ what arrives

    def _received(self, way: Way, address: str, data: bytes) -> None:
        said = decode(data)
        if said is None:
            return
        if way is Way.HOST:
            if said.kind is Kind.PING and said.sender == self._me:  # Our own, sent back.
                self._answered(way, address, said.nonce)
        elif said.kind is Kind.PING:
            self._pinged(address, said)
        elif said.kind is Kind.PONG:
            if said.sender == self._lookout.name_of(address):
                self._answered(way, address, said.nonce)
        elif said.kind is Kind.ASK:
            self._asked(address, said)
        else:
            self._told(address, said)

    def _answered(self, way: Way, address: str, nonce: int) -> None:
        now = self._clock.monotonic_s()
        if self._lookout.answered(way, address, nonce, now):
            self._tell(changed=True)
        planned_s = self._lookout.planned_s
        if planned_s > self._planned_s:
            self._planned_s = planned_s
            self._pause.lengthen(self._wait_s())

    def _pinged(self, address: str, said: Datagram) -> None:
        now = self._clock.monotonic_s()
        if self._is_peer(address, said.sender):
            self._lookout.heard(now)
        if self._answering.allows(now):
            self._net.send(Way.AGENT, address, self._say(Kind.PONG, said.nonce))

    def _asked(self, address: str, said: Datagram) -> None:
        if self._is_peer(address, said.sender) and self._answering.allows(
            self._clock.monotonic_s()
        ):
            kind = Kind.YES if self._promises(said.hold_s) else Kind.NO
            self._net.send(Way.AGENT, address, self._say(kind, said.nonce))

    def _promises(self, hold_s: float) -> bool:
        if self._has_session() or hold_s > hold_s_max(self._timing):
            return False
        until_boot_s = self._clock.boot_s() + hold_s
        if until_boot_s > self.promised_until_boot_s:
            try:
                self._promise.write(until_boot_s)
            except OSError as error:
                _log.error("promise_not_kept", file=error.filename, reason=error.strerror)
                return False
            self.promised_until_boot_s = until_boot_s
        return True

    def _told(self, address: str, said: Datagram) -> None:
        for asking, done in self._askings.items():
            if asking.hears(address, said):
                done.mark()

    def _is_peer(self, address: str, name: NodeName) -> bool:
        spec = self._others.get(address)
        return spec is not None and spec.name == name

    # ------------------------------------------------------------ what is said

    def _say(self, kind: Kind, nonce: int, hold_s: float = 0.0) -> bytes:
        has_session = self._has_session()
        return encode(Datagram(kind, nonce, self._me, has_session=has_session, hold_s=hold_s))

    def _nonce(self) -> int:
        return self._rng.getrandbits(NONCE_BITS)

    def _tell(self, *, changed: bool) -> None:
        deaf = self._lookout.deaf
        if changed or deaf != self._deaf:
            self._deaf = deaf
            self._on_change()
