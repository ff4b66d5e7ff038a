"""One watched node: what it was asked, what it answered, and what its silence means.

Pure. A probe goes both ways at once, to the agent and to its kernel, under one nonce. An answer to
a probe answers all that were sent before it. Silence counts from the sending of the first probe
since then, and never from fewer than four: one lost packet is no evidence.
"""

from collections import deque
from typing import Final

from node_agent.peers.net import Way
from shared.model import NodeName, Silence
from shared.timing import Timing

# Fewer than this many lost in a row is chance: at 3 % loss, four are one in a million probes.
UNANSWERED_MIN: Final = 4
# An answer that comes after this many further probes is of no use: at the fastest that is 3 s.
_REMEMBERED: Final = 64

_SEVERITY: Final = {None: 0, Silence.AGENT: 1, Silence.HOST: 2}


def is_worse(one: Silence | None, other: Silence | None) -> bool:
    """Say whether `one` is graver than `other`."""
    return _SEVERITY[one] > _SEVERITY[other]


class _Line:
    """One way's answers, by the number of the probe.

    Attributes:
        answered: the last probe that was answered; 0: none ever was.
        counted: probes after this one count as unanswered.
        since_s: when the first of them was sent; None: there is none.
    """

    __slots__ = ("answered", "counted", "since_s")

    def __init__(self) -> None:
        self.answered, self.counted = 0, 0
        self.since_s: float | None = None


class Watch:
    """The story of one node as one watcher sees it.

    Attributes:
        silence: what was concluded and is stood by; whoever holds the whole picture sets it.
        answered_s: when the newest probe that was answered either way was sent; None: none was.
    """

    def __init__(self, node: NodeName, address: str, timing: Timing) -> None:
        self.node, self.address = node, address
        self.silence: Silence | None = None
        self.answered_s: float | None = None
        self._timing = timing
        self._agent, self._host = _Line(), _Line()
        self._sent = 0
        # Probes that the agent has answered since its kernel last answered one.
        self._deaf_for = 0
        self._probes: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)

    # ------------------------------------------------------------ what happened

    def sent(self, nonce: int, now: float) -> None:
        """Note that a probe goes out, both ways."""
        self._sent += 1
        self._probes.append((nonce, now))
        for line in (self._agent, self._host):
            if line.since_s is None:
                line.since_s = now

    def answered(self, way: Way, nonce: int) -> bool:
        """Note an answer; return False if it answers nothing that was asked lately."""
        number = self._sent
        for known, sent_s in reversed(self._probes):
            if known == nonce:
                if self.answered_s is None or sent_s > self.answered_s:
                    self.answered_s = sent_s
                self._note(self._agent if way is Way.AGENT else self._host, number)
                return True
            number -= 1
        return False

    def _note(self, line: _Line, number: int) -> None:
        if line is self._host:
            self._deaf_for = 0
        elif number > line.answered:
            self._deaf_for += 1
        if number > line.answered:
            line.answered = number
            self._count_after(line, number)

    def begin_anew(self) -> None:
        """Forget silences from which nothing was concluded yet: it was us who did not listen.

        What is stood by stays until the node answers.
        """
        if self.silence is None:
            self._count_after(self._agent, self._sent)
        if self.silence is not Silence.HOST:
            self._count_after(self._host, self._sent)

    def _count_after(self, line: _Line, number: int) -> None:
        if number > line.counted:
            line.counted = number
            after = self._sent - number
            line.since_s = self._probes[-after][1] if after else None

    # ------------------------------------------------------------ what it means

    @property
    def unanswered(self) -> int:
        """Return how many probes were sent since the newest that was answered either way."""
        return self._sent - max(self._agent.answered, self._host.answered)

    @property
    def is_deaf(self) -> bool:
        """Say whether the kernel leaves unanswered what the agent answers.

        A firewall may drop ICMP; from such a node's silence nobody can tell what is gone.
        """
        return self._deaf_for >= UNANSWERED_MIN

    def verdict(self, now: float) -> Silence | None:
        """Return what the probes say at `now`.

        A node that never answered since we watch it is none of our business: it may have been off
        all along, and its lease says enough.
        """
        if self._agent.since_s is None or not (self._agent.answered or self._host.answered):
            return None
        if self._says_nothing(self._agent, self._timing.silent_s, now):
            is_heard = self._host.answered > 0 and not self.is_deaf
            if is_heard and self._says_nothing(self._host, self._timing.silent_s, now):
                return Silence.HOST
        if self._says_nothing(self._agent, self._timing.agent_silent_s, now):
            return Silence.AGENT
        return None

    def wants_probe(self, now: float) -> bool:
        """Say whether an answer is overdue that something may be concluded from."""
        again_s = self.again_s()
        return again_s is not None and now >= again_s

    def again_s(self) -> float | None:
        """Return when to probe again out of turn if no answer comes; None: there is no need."""
        return self._probes[-1][1] + self._timing.probe_again_s if self.is_open else None

    @property
    def is_open(self) -> bool:
        """Say whether either way's silence is worth more probes than the usual ones."""
        agent, host = self._agent, self._host
        if agent.since_s is not None and agent.answered and self.silence is None:
            return True
        is_open = host.since_s is not None and host.answered > 0
        return is_open and self.silence is not Silence.HOST and not self.is_deaf

    def concludes_s(self, now: float) -> float | None:
        """Return the next moment after `now` at which silence may mean more than it does."""
        limits_s = (self._timing.silent_s, self._timing.agent_silent_s)
        moments = [
            line.since_s + limit_s
            for line in (self._agent, self._host)
            if line.since_s is not None
            for limit_s in limits_s
            if line.since_s + limit_s > now
        ]
        return min(moments) if moments else None

    def _says_nothing(self, line: _Line, limit_s: float, now: float) -> bool:
        enough = self._sent - line.counted >= UNANSWERED_MIN
        return enough and line.since_s is not None and now >= line.since_s + limit_s
