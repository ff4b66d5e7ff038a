"""What this node's gateway has besides routes, from etcd: certificates, proofs, what is closed.

Keys are opened here and kept in memory; nothing of them is logged.
"""

from collections.abc import Callable
from pathlib import Path

from node_agent.gateway.extras import Extras, KeyPair
from shared import codec, keys
from shared.certificates import read_pair
from shared.errors import CodecError, HostError, SealError, SpecError
from shared.mirror import View
from shared.model import Certificate, Challenge
from shared.seal import read_key, unseal
from shared.store import KeyRange, KeyValue, under


class EdgeView:
    """Follows what gateways have besides routes.

    Args:
        on_change: called when it is something else.
        key: the file with what certificates' keys are sealed with; read anew each time.
    """

    def __init__(self, on_change: Callable[[], None], key: Path) -> None:
        self._key = key
        self._certificates, self._issued = View(on_change), View(on_change)
        self._challenges, self._closed = View(on_change), View(on_change)
        self._opened: dict[str, tuple[int, KeyPair]] = {}
        self.problems: tuple[str, ...] = ()

    def followed(self) -> tuple[tuple[KeyRange, View], ...]:
        """Return what to mirror into which view."""
        return (
            (under(keys.CERTIFICATES), self._certificates),
            (under(keys.ISSUED), self._issued),
            (under(keys.CHALLENGES), self._challenges),
            (under(keys.CLOSED), self._closed),
        )

    def read(self) -> Extras | None:
        """Return what is so now; None: etcd has not answered yet, and what HAProxy has stays."""
        if not all(view.revision for _, view in self.followed()):
            return None
        problems: list[str] = []
        opened: dict[str, tuple[int, KeyPair]] = {}
        for key, item in sorted({**self._certificates.items, **self._issued.items}.items()):
            known = self._opened.get(key)
            try:
                pair = known[1] if known and known[0] == item.mod_revision else self._open(item)
            except (CodecError, SealError, HostError, SpecError) as error:
                problems.append(f"{key.removeprefix(keys.ROOT)}: {error}")
                # The last good one stays in force.
                pair = known[1] if known else None
            if pair is not None:
                opened[key] = (item.mod_revision, pair)
        challenges = dict(
            filter(None, (_answer(item, problems) for item in self._challenges.items.values()))
        )
        self._opened, self.problems = opened, tuple(problems)
        return Extras(
            certificates={key: pair for key, (_, pair) in opened.items()},
            challenges=challenges,
            closed=frozenset(key.removeprefix(keys.CLOSED) for key in self._closed.items),
        )

    def _open(self, item: KeyValue) -> KeyPair | None:
        found = codec.decode(Certificate, item.value, item.key)
        if not found.chain:
            return None
        private = unseal(read_key(self._key), item.key, found.sealed)
        pair = read_pair(found.chain.encode(), private)
        return KeyPair(pair.hosts, pair.chain, pair.key, pair.not_after_s)


def _answer(item: KeyValue, problems: list[str]) -> tuple[str, str] | None:
    try:
        found = codec.decode(Challenge, item.value, item.key)
    except CodecError as error:
        problems.append(f"{item.key.removeprefix(keys.ROOT)}: {error.why}")
        return None
    return found.token, found.answer
