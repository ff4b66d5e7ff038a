"""Tells the cluster whether this node's gateway serves: floating addresses go by it."""

from typing import Final

import structlog

from node_agent.gateway.gateway import Gateway
from node_agent.gateway.word import Heard, heard
from node_agent.membership import Publisher
from shared import codec, keys
from shared.clock import Clock
from shared.model import GatewayWord, NodeName
from shared.store import Store

_log = structlog.get_logger()

# A part of the time for which trouble must last.
_PERIOD_S: Final = 1.0


class Saying:
    """Keeps gateways/<node> equal to what has been so for a while."""

    def __init__(self, store: Store, node: NodeName, gateway: Gateway, clock: Clock) -> None:
        self._node, self._gateway, self._clock = node, gateway, clock
        self._publisher = Publisher(store, keys.gateway(node))
        self._heard = Heard()
        self._written: str | None = None
        self._is_read = False

    def say_again(self) -> None:
        """What was said may be gone."""
        self._publisher.doubt()

    async def one_pass(self) -> float:
        """Look once, say what is to be said; return when to look again, seconds.

        Raises:
            StoreError: it could not be written, or it is not known whether it was.
        """
        found = self._gateway.trouble
        if found is None:
            return _PERIOD_S
        if not self._is_read:
            await self._resume()
        self._heard = heard(self._heard, found, self._clock.monotonic_s())
        said = self._heard.said
        if said is not None and (said != self._written or self._publisher.is_doubtful):
            word = GatewayWord(node=self._node, trouble=said, since_s=self._clock.now_s())
            await self._publisher.write(codec.encode(word))
            self._written = said
            _log.info("gateway_word", trouble=said)
        return _PERIOD_S

    async def _resume(self) -> None:
        """Go on from what an agent before us said."""
        value = await self._publisher.read()
        self._is_read = True
        if value is None:
            return
        word = codec.readable(GatewayWord, value, keys.gateway(self._node))
        if word is None:
            return  # Ours to write: it is replaced.
        self._written = word.trouble
        now = self._clock.monotonic_s()
        self._heard = Heard(
            said=word.trouble, found=word.trouble, text_since=now, kind_since=now, at=now
        )
