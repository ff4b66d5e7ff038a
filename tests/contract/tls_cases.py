"""What gateway_cases.py runs with TLS: who is shown for which name, and changes that are hot."""

import asyncio
import hashlib
import socket
import ssl
from functools import partial
from typing import Final

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from node_agent.gateway.extras import Extras
from node_agent.gateway.haproxy import HaproxyGateway
from scheduler.issuing.authority import Made, issue, make_authority
from shared.certificates import read_pair
from shared.model import RouteTls
from shared.pair import Pair
from tests.contract.gateway_rig import A, B, Client, echoed, endpoint, load, replica
from tests.contract.route_cases import HOST, pid
from tests.contract.route_rig import HTTPS, PORTS, Answer, answered, request, route, routed
from tests.waiting import until

NOW_S: Final = 1_700_000_000.0 + 63_000_000.0
AUTHORITY: Final = make_authority("test", NOW_S)


class Local(AbstractResolver):
    """Every host is here."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


def pair(*hosts: str, days: int = 9000, authority: Made = AUTHORITY) -> Pair:
    made = issue(authority, hosts, NOW_S, days)
    return read_pair(made.chain.encode(), made.key.encode())


def with_pairs(**pairs: Pair) -> Extras:
    return Extras(certificates=pairs)


def context(*protocols: str) -> ssl.SSLContext:
    found = ssl.create_default_context(cadata=AUTHORITY.chain)
    if protocols:
        found.set_alpn_protocols(list(protocols))
    return found


async def shown(host: str) -> str:
    """Return the fingerprint of the certificate that is shown; empty: the handshake is refused."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", HTTPS, ssl=unverified, server_hostname=host
        )
    except ssl.SSLError:
        return ""
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(der).hexdigest()


async def ask(place: str, *, sni: str = "") -> Answer:
    """Send one request with TLS; the handshake is for `sni`, or for the place's own host."""
    host = sni or place.partition("/")[0]
    opening = asyncio.open_connection("127.0.0.1", HTTPS, ssl=context(), server_hostname=host)
    return await answered(opening, request(place))


SHOP = routed("a", [route(HOST, tls=RouteTls.ON)], endpoint(A))


async def the_name_in_the_handshake_chooses(gateway: HaproxyGateway) -> None:
    own, wild, both = pair(HOST), pair("*.example.org"), pair("b.test", "c.test")
    async with replica(A):
        await gateway.apply(SHOP, with_pairs(own=own, wild=wild, both=both))
        assert await shown(HOST) == own.fingerprint
        assert await shown("x.example.org") == wild.fingerprint
        assert await shown("c.test") == both.fingerprint
        assert await shown("stranger.test") == ""
        assert (await ask(HOST)).body == A


async def a_certificate_is_changed_added_and_removed_without_a_reload(
    gateway: HaproxyGateway,
) -> None:
    first, second, other = pair(HOST), pair(HOST), pair("b.test")
    async with replica(A):
        await gateway.apply(SHOP)
        assert await shown(HOST) == ""
        worker = await pid(gateway)
        for extras, expected in (
            (with_pairs(own=first), {HOST: first}),
            (with_pairs(own=second), {HOST: second}),
            (with_pairs(own=second, other=other), {HOST: second, "b.test": other}),
            (with_pairs(other=other), {"b.test": other}),
            (with_pairs(own=first), {HOST: first}),
        ):
            assert (await gateway.apply(SHOP, extras)).problems == ()
            for host in (HOST, "b.test"):
                wanted = expected[host].fingerprint if host in expected else ""
                assert await shown(host) == wanted
        assert await pid(gateway) == worker
    folder = gateway.run_dir / "haproxy" / "certificates"
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".pem"]
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}


async def of_two_for_one_name_the_one_that_ends_last_is_shown(gateway: HaproxyGateway) -> None:
    short, long = pair(HOST, "b.test", days=8000), pair(HOST, days=9000)
    async with replica(A):
        for extras in (with_pairs(a=short, b=long), with_pairs(a=long, b=short)):
            await gateway.apply(SHOP, extras)
            assert await shown(HOST) == long.fingerprint
            assert await shown("b.test") == short.fingerprint


async def an_agent_that_starts_mends_the_certificates(gateway: HaproxyGateway) -> None:
    own, other = pair(HOST), pair("b.test")
    async with replica(A):
        await gateway.apply(SHOP, with_pairs(own=own, other=other))
        worker = await pid(gateway)
        folder = gateway.run_dir / "haproxy" / "certificates"
        some = next(folder.glob("*.pem"))
        await gateway.haproxy.command(f"del ssl crt-list {folder / 'list'} {some}")
        # An agent died in the middle of a change.
        await gateway.haproxy.command(f"set ssl cert {some} <<\n{other.key}{other.chain}")
        newer = pair(HOST)
        again = HaproxyGateway(gateway.run_dir, PORTS)
        status = await again.apply(SHOP, with_pairs(own=newer, other=other))
        assert status.problems == ()
        assert await shown(HOST) == newer.fingerprint
        assert await shown("b.test") == other.fingerprint
        assert await pid(gateway) == worker


async def certificates_outlive_a_reload(gateway: HaproxyGateway) -> None:
    own = pair(HOST)
    async with replica(A):
        await gateway.apply(SHOP)
        await gateway.apply(SHOP, with_pairs(own=own))
        more = routed("b", [route("b.test", tls=RouteTls.ON)], endpoint(A))
        await gateway.apply({**SHOP, **more}, with_pairs(own=own))
        assert await shown(HOST) == own.fingerprint


async def no_request_is_lost_while_certificates_and_routes_change(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), replica(B):
        await gateway.apply(SHOP, with_pairs(own=pair(HOST)))
        for keep_alive in (True, False):
            connector = TCPConnector(
                ssl=context(), resolver=Local(), force_close=not keep_alive, limit=0
            )
            async with ClientSession(connector=connector, timeout=ClientTimeout(15)) as session:
                gets = Client(session, f"https://{HOST}:{HTTPS}/")
                async with load(gets, per_s=50):
                    for number in range(12):
                        more = routed("b", [route(f"n{number}.test")], endpoint(B), revision=number)
                        other = {} if number % 4 == 3 else more  # a backend goes: a reload
                        await gateway.apply({**SHOP, **other}, with_pairs(own=pair(HOST)))
                    await until(partial(has_more, gets, len(gets.answers) + 20), 10)
            assert gets.failures == [], gets.failures[:5]


def has_more(gets: Client, than: int) -> bool:
    return len(gets.answers) > than


async def http2_is_spoken_and_old_versions_of_tls_are_not(gateway: HaproxyGateway) -> None:
    async with replica(A):
        await gateway.apply(SHOP, with_pairs(own=pair(HOST)))
        process = await asyncio.create_subprocess_exec(
            *("curl", "-sk", "--http2", "--resolve", f"{HOST}:{HTTPS}:127.0.0.1"),
            *("-w", " %{http_version}", f"https://{HOST}:{HTTPS}/"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert out.decode() == f"{A} 2"
        old = context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await asyncio.open_connection("127.0.0.1", HTTPS, ssl=old, server_hostname=HOST)


async def a_websocket_works_over_tls(gateway: HaproxyGateway) -> None:
    async with replica(A):
        await gateway.apply(SHOP, with_pairs(own=pair(HOST)))
        async with (
            ClientSession(
                connector=TCPConnector(ssl=context(), resolver=Local()), timeout=ClientTimeout(15)
            ) as session,
            session.ws_connect(f"wss://{HOST}:{HTTPS}/echo") as ws,
        ):
            assert await echoed(ws, "one") == f"{A} one"
            await gateway.apply(SHOP, with_pairs(own=pair(HOST)))
            assert await echoed(ws, "two") == f"{A} two"


async def browsers_are_told_to_stay_with_tls_and_strangers_that_they_are_misled(
    gateway: HaproxyGateway,
) -> None:
    routes = [route(HOST, tls=RouteTls.REDIRECT, hsts_s=3600), route(f"{HOST}/plain")]
    async with replica(A):
        await gateway.apply(routed("a", routes, endpoint(A)), with_pairs(own=pair(HOST, "b.test")))
        answer = await ask(HOST)
        assert (answer.body, answer.headers["strict-transport-security"]) == (A, "max-age=3600")
        assert (await ask(f"{HOST}/plain")).status == 404
        assert (await ask("b.test", sni=HOST)).status == 421
        assert (await ask("b.test")).status == 404
        assert (await ask(HOST, sni="b.test")).body == A


TLS_CASES: Final = (
    the_name_in_the_handshake_chooses,
    a_certificate_is_changed_added_and_removed_without_a_reload,
    of_two_for_one_name_the_one_that_ends_last_is_shown,
    an_agent_that_starts_mends_the_certificates,
    certificates_outlive_a_reload,
    no_request_is_lost_while_certificates_and_routes_change,
    http2_is_spoken_and_old_versions_of_tls_are_not,
    a_websocket_works_over_tls,
    browsers_are_told_to_stay_with_tls_and_strangers_that_they_are_misled,
)
