"""Certificates from an ACME server (RFC 8555), by answering on port 80 of every node (HTTP-01).

The library speaks the protocol and waits in a thread; what it is given and what it brings are
written here, between its steps.
"""

import asyncio
import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from requests.exceptions import InvalidJSONError, RequestException

from scheduler.issuing.authority import Made
from scheduler.issuing.issuer import Desk, Fetch
from shared import codec, keys
from shared.certificates import private_pem
from shared.clock import Clock
from shared.errors import HafenError, HostError
from shared.model import Authority, Challenge, NodeSpec
from shared.settings import AcmeSettings
from shared.store import Store
from shared.view import View

_log = structlog.get_logger()

# What is left over of a leader that died is gone after this; a proof takes seconds.
_CHALLENGE_TTL_S: Final = 300.0
# The server looks from several places, some of them slow.
_ORDER_S_MAX: Final = 90
_ANSWER_S_MAX: Final = 10.0
_LOOK_S: Final = 0.2
_NETWORK_S: Final = 20
_NAME_CHARACTERS: Final = 20
_AGENT: Final = "hafen"
_REFUSED: Final = (errors.Error, messages.Error, JoseError, RequestException)
# How the library takes an answer that is none, such as a page of a web server.
_STRANGE: Final = (OSError, AttributeError, LookupError, TypeError, ValueError)


class AcmeError(HafenError):
    """There is no certificate; the message is the server's own, as far as it has one."""


class _Proof(msgspec.Struct, frozen=True):
    """What a host has to answer. `body` is the library's."""

    host: str
    token: str
    answer: str
    body: Any
    response: Any


def acme_fetch(store: Store, view: View, acme: AcmeSettings, port: int, clock: Clock) -> Fetch:
    """Return how to ask an ACME server whose proofs this cluster's gateways answer on `port`."""

    async def fetch(hosts: tuple[str, ...], desk: Desk) -> Made:
        if not acme.agree:
            raise HostError("[acme] agree is not true: read the terms of service of its server")
        return await _Fetching(store, view, acme, port, clock).fetch(hosts, desk)

    return fetch


class _Fetching:
    """One certificate on its way."""

    def __init__(
        self, store: Store, view: View, acme: AcmeSettings, port: int, clock: Clock
    ) -> None:
        self._store, self._view, self._acme = store, view, acme
        self._port, self._clock = port, clock

    async def fetch(self, hosts: Sequence[str], desk: Desk) -> Made:
        """Return a certificate for `hosts`.

        Raises:
            AcmeError: the server's refusal.
            StoreError: the proofs could not be written.
        """
        key = private_pem(ec.generate_private_key(ec.SECP256R1()))
        request = crypto_util.make_csr(key.encode(), list(hosts))
        try:
            server = await self._server(desk)
            order = await asyncio.to_thread(server.new_order, request)
            own = server.net.key
            assert own is not None, "it was connected with one"
            proofs = list(_proofs(order, own))
            async with AsyncExitStack() as shown:
                for proof in proofs:
                    await shown.enter_async_context(self._showing(proof, desk))
                    await self._until_answered(proof)
                    await asyncio.to_thread(server.answer_challenge, proof.body, proof.response)
                until = dt.datetime.now() + dt.timedelta(seconds=_ORDER_S_MAX)  # noqa: DTZ005 - as the library compares
                done = await asyncio.to_thread(server.poll_and_finalize, order, until)
        except (*_REFUSED, *_STRANGE) as error:
            said = _why(error)
            if not isinstance(error, _REFUSED) or isinstance(error, InvalidJSONError):
                said = (
                    f"{self._acme.directory} does not answer as an ACME server does"
                    f" ({type(error).__name__}: {said})"
                )
            raise AcmeError(said) from error
        return Made(done.fullchain_pem, key)

    async def _server(self, desk: Desk) -> client.ClientV2:
        """Return the server with our account there, made when it is needed first."""
        digest = hashlib.sha256(self._acme.directory.encode()).hexdigest()[:_NAME_CHARACTERS]
        name = f"acme-{digest}"
        known = desk.authority(name)
        if known is not None:
            account = messages.RegistrationResource(
                uri=known[0].account, body=messages.Registration()
            )
            return await asyncio.to_thread(self._connect, known[1], account)
        key = private_pem(ec.generate_private_key(ec.SECP256R1()))
        server = await asyncio.to_thread(self._connect, key, None)
        made = server.net.account
        assert made is not None, "an account was made"
        record_key = keys.authority(name)
        sealed = desk.sealed(record_key, key)
        await desk.put(record_key, Authority(name=name, account=made.uri, sealed=sealed))
        _log.info("acme_account_made", directory=self._acme.directory)
        return server

    def _connect(self, key: str, account: Any) -> client.ClientV2:
        own = JWKEC(key=serialization.load_pem_private_key(key.encode(), None))
        ca = str(self._acme.ca) if self._acme.ca is not None else True
        if self._acme.ca is not None and not self._acme.ca.is_file():
            raise AcmeError(f"[acme] ca: this host has no file {ca}")
        net = client.ClientNetwork(
            own,
            account,
            alg=ES256,
            verify_ssl=ca,  # type: ignore[arg-type]  # for requests, which takes a file, too
            user_agent=_AGENT,
            timeout=_NETWORK_S,
        )
        server = client.ClientV2(client.ClientV2.get_directory(self._acme.directory, net), net)
        if account is None:
            email = self._acme.email or None
            server.new_account(
                messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True)
            )
        return server

    @asynccontextmanager
    async def _showing(self, proof: _Proof, desk: Desk) -> Any:
        """Have every gateway answer for as long as it is looked at."""
        key = keys.challenge(proof.token)
        lease = await self._store.grant_for(_CHALLENGE_TTL_S)
        await desk.put(key, Challenge(token=proof.token, answer=proof.answer), lease)
        try:
            yield
        finally:
            await desk.delete(key)

    async def _until_answered(self, proof: _Proof) -> None:
        """Wait until all gateways answer, or for as long as is worth it.

        Raises:
            AcmeError: none does: a server that looks would count it as a failure.
        """
        ends_s = self._clock.monotonic_s() + _ANSWER_S_MAX
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session:
            while True:
                nodes = self._nodes()
                right = [await self._answers(session, node, proof) for node in nodes]
                if all(right) and right:
                    return
                if self._clock.monotonic_s() > ends_s:
                    break
                await self._clock.sleep(_LOOK_S)
        if not any(right):
            raise AcmeError(
                f"no gateway answers the proof for {proof.host} on port {self._port}: is it open?"
            )

    async def _answers(self, session: aiohttp.ClientSession, node: str, proof: _Proof) -> bool:
        url = f"http://{node}:{self._port}/.well-known/acme-challenge/{proof.token}"
        try:
            async with session.get(url, headers={"Host": proof.host}) as answer:
                return (await answer.text()).strip() == proof.answer
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _nodes(self) -> list[str]:
        """Return the addresses of the nodes that live."""
        found = []
        for key, item in self._view.items.items():
            if not (key.startswith(keys.NODES) and key.endswith("/spec")):
                continue
            spec = codec.readable(NodeSpec, item.value, key)
            if spec is not None and keys.node_alive(spec.name) in self._view.items:
                found.append(spec.address)
        return found


def _proofs(order: Any, key: JWK) -> Iterable[_Proof]:
    for authorization in order.authorizations:
        if authorization.body.status == messages.STATUS_VALID:
            continue
        host = authorization.body.identifier.value
        for body in authorization.body.challenges:
            if isinstance(body.chall, challenges.HTTP01):
                response, answer = body.response_and_validation(key)
                yield _Proof(host, body.chall.encode("token"), answer, body, response)
                break
        else:
            raise AcmeError(f"the server wants no proof over HTTP for {host}")


def _why(error: Exception) -> str:
    """Return an error of the library in one sentence."""
    if isinstance(error, errors.ValidationError):
        told = [
            f"{one.body.identifier.value}: {challenge.error.detail}"
            for one in error.failed_authzrs
            for challenge in one.body.challenges
            if challenge.error is not None
        ]
        return "; ".join(told) or "the proof was not accepted"
    return " ".join(str(error).split())[:300] or type(error).__name__
