"""What others answered lately, for as long as they said that it holds.

Pure.
"""

from collections.abc import Hashable
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import msgspec

# Some 4 KB each.
ENTRIES_MAX: Final = 2048
# Whoever changes a name outside should not have to wait for us longer than this.
TTL_S_MAX: Final = 300.0
# What is not there yet may come soon.
NEGATIVE_TTL_S_MAX: Final = 30.0


class _Entry(msgspec.Struct, frozen=True):
    message: dns.message.Message
    since_s: float
    until_s: float


class Cache:
    """Answers by question; the one that came first goes when there are too many."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}

    def __len__(self) -> int:
        """Return how many answers are kept, those past their time included."""
        return len(self._entries)

    def get(self, key: Hashable, now_s: float) -> tuple[dns.message.Message, int] | None:
        """Return an answer and its age in whole seconds, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now_s >= entry.until_s:
            del self._entries[key]
            return None
        return entry.message, int(now_s - entry.since_s)

    def put(self, key: Hashable, message: dns.message.Message, now_s: float) -> None:
        """Keep an answer if it says for how long."""
        ttl_s = ttl_of(message)
        if ttl_s <= 0:
            return
        self._entries.pop(key, None)
        while len(self._entries) >= ENTRIES_MAX:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(message, now_s, now_s + ttl_s)


def ttl_of(message: dns.message.Message) -> float:
    """Return for how many seconds a message may be given again; 0: not at all.

    Source: RFC 2308, section 5, for what is not there.
    """
    if message.flags & dns.flags.TC or message.rcode() not in {
        dns.rcode.NOERROR,
        dns.rcode.NXDOMAIN,
    }:
        return 0
    if message.answer and message.rcode() == dns.rcode.NOERROR:
        return min(TTL_S_MAX, *(float(each.ttl) for each in _records(message)))
    for each in message.authority:
        if each.rdtype == dns.rdatatype.SOA and len(each):
            least = min(float(each.ttl), float(each[0].minimum))
            return min(NEGATIVE_TTL_S_MAX, least)
    return 0


def _records(message: dns.message.Message) -> list[dns.rrset.RRset]:
    return [*message.answer, *message.authority, *message.additional]
