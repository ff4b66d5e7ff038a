"""One question to all peers: have you no session, and will you claim nothing for a while?

Pure. It is asked where etcd is lost altogether: only if every peer says yes can none of them have
taken, or soon take, what runs here.
"""

from collections.abc import Callable, Iterable, Mapping

from node_agent.peers.wire import Datagram, Kind
from shared.model import NodeName, NodeSpec
from shared.timing import Timing


def hold_s_max(timing: Timing) -> float:
    """Return the longest time for which a peer promises to claim nothing.

    Two leases: nobody needs more, as he can ask again, and a forged question does no more harm.
    """
    return 2 * timing.lease_ttl_s


class Asking:
    """One question under way; every peer has a nonce of its own."""

    def __init__(self, peers: Iterable[NodeSpec], nonce: Callable[[], int]) -> None:
        self._asked = {spec.address: (spec.name, nonce()) for spec in peers}
        self._answers: dict[NodeName, bool] = {}

    @property
    def unanswered(self) -> tuple[tuple[str, int], ...]:
        """Return (address, nonce) of every peer that is still to be asked."""
        return tuple(
            (address, nonce)
            for address, (name, nonce) in self._asked.items()
            if name not in self._answers
        )

    def hears(self, address: str, said: Datagram) -> bool:
        """Note an answer; return whether nobody is left to answer.

        A no stands, whatever comes after it; so does a yes, but for a no.
        """
        if self._asked.get(address) != (said.sender, said.nonce):
            return False
        is_yes = said.kind is Kind.YES and not said.has_session
        self._answers[said.sender] = is_yes and self._answers.get(said.sender, True)
        return len(self._answers) == len(self._asked)

    @property
    def answers(self) -> Mapping[NodeName, bool | None]:
        """Return what every peer said; None: nothing."""
        return {name: self._answers.get(name) for name, _ in self._asked.values()}
