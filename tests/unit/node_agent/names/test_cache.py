"""What others answered, for as long as it holds."""

import dns.message
import dns.rcode
import dns.rrset
import pytest

from node_agent.names.cache import ENTRIES_MAX, NEGATIVE_TTL_S_MAX, TTL_S_MAX, Cache, ttl_of

SOA = "a. b. 1 2 3 4"


def message(ttl_s: int = 60, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> dns.message.Message:
    found = dns.message.make_response(dns.message.make_query("example.com", "A"))
    found.set_rcode(rcode)
    if rcode == dns.rcode.NOERROR:
        found.answer.append(dns.rrset.from_text("example.com.", ttl_s, "IN", "A", "192.0.2.1"))
    return found


def negative(ttl_s: int, minimum: int) -> dns.message.Message:
    found = message(rcode=dns.rcode.NXDOMAIN)
    found.authority.append(dns.rrset.from_text("com.", ttl_s, "IN", "SOA", f"{SOA} {minimum}"))
    return found


def test_an_answer_is_kept_until_its_time_is_over_and_grows_old() -> None:
    cache, kept = Cache(), message(60)
    cache.put("key", kept, 100.0)
    assert cache.get("key", 100.0) == (kept, 0)
    assert cache.get("key", 159.9) == (kept, 59)
    assert cache.get("key", 160.0) is None
    assert cache.get("other", 100.0) is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("found", "ttl_s"),
    [
        (message(60), 60),
        (message(0), 0),
        (message(86400), TTL_S_MAX),
        (message(rcode=dns.rcode.SERVFAIL), 0),
        (message(rcode=dns.rcode.NXDOMAIN), 0),
        (negative(20, 10), 10),
        (negative(5, 10), 5),
        (negative(900, 900), NEGATIVE_TTL_S_MAX),
    ],
)
def test_how_long_an_answer_holds(found: dns.message.Message, ttl_s: float) -> None:
    assert ttl_of(found) == ttl_s


def test_the_least_of_all_records_counts() -> None:
    found = message(60)
    found.additional.append(dns.rrset.from_text("b.", 7, "IN", "A", "192.0.2.2"))
    assert ttl_of(found) == 7


def test_a_full_cache_lets_go_of_what_came_first() -> None:
    cache, kept = Cache(), message(60)
    for number in range(ENTRIES_MAX + 1):
        cache.put(number, kept, 0.0)
    assert len(cache) == ENTRIES_MAX
    assert cache.get(0, 0.0) is None
    assert cache.get(1, 0.0) is not None


def test_what_may_not_be_kept_is_not() -> None:
    cache = Cache()
    cache.put("key", message(0), 0.0)
    assert len(cache) == 0
