"""What this node's gateway has besides routes, from etcd: certificates, proofs, what is closed.

Keys are opened here and kept in memory; nothing of them is logged.
"""

from collections.abc import Callable
from pathlib import Path

from node_agent.gateway.extras import Extras
from node_agent.views import LastGood
from shared import codec, keys
from shared.model import Certificate, Challenge
from shared.pair import Pair
from shared.seal import read_key, unseal
from shared.store import KeyRange, KeyValue, under
from shared.view import View


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
        self._opened, self._proofs = LastGood(str, self._open), LastGood(str, _proof)

    def followed(self) -> tuple[tuple[KeyRange, View], ...]:
        """Return what to mirror into which view."""
        return (
            (under(keys.CERTIFICATES), self._certificates),
            (under(keys.ISSUED), self._issued),
            (under(keys.CHALLENGES), self._challenges),
            (under(keys.CLOSED), self._closed),
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what could not be read when it was read last."""
        refused = {**self._opened.refused, **self._proofs.refused}
        return tuple(f"{key.removeprefix(keys.ROOT)}: {why}" for key, why in refused.items())

    def read(self) -> Extras | None:
        """Return what is so now; None: etcd has not answered yet, and what HAProxy has stays."""
        if not all(view.revision for _, view in self.followed()):
            return None
        opened = self._opened.of({**self._certificates.items, **self._issued.items})
        proofs = self._proofs.of(self._challenges.items)
        return Extras(
            certificates={key: pair for key, pair in opened.items() if pair is not None},
            challenges={proof.token: proof.answer for proof in proofs.values()},
            closed=frozenset(key.removeprefix(keys.CLOSED) for key in self._closed.items),
        )

    def _open(self, item: KeyValue) -> Pair | None:
        found = codec.decode(Certificate, item.value, item.key)
        if not found.chain:
            return None
        from shared.certificates import read_pair  # noqa: PLC0415 - 2 MB, and few have any

        private = unseal(read_key(self._key), item.key, found.sealed)
        return read_pair(found.chain.encode(), private)


def _proof(item: KeyValue) -> Challenge:
    return codec.decode(Challenge, item.value, item.key)
