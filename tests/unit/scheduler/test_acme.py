"""Servers that are no ACME servers: each answer of theirs is a refusal in words."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from aiohttp import web

from scheduler.issuing.acme import AcmeError, acme_fetch
from scheduler.issuing.authority import issue, make_authority
from scheduler.issuing.issuer import Desk
from shared.clock import SystemClock
from shared.election import Fence
from shared.model import Revision
from shared.settings import AcmeSettings
from tests.issuing_rig import IssuingRig

HOSTS = ("a.test",)


@asynccontextmanager
async def answering(folder: Path, text: str, status: int) -> AsyncGenerator[AcmeSettings, None]:
    """Serve one answer to every question, over TLS; give the settings that lead there."""
    now_s = SystemClock().now_s()
    authority = make_authority("here", now_s)
    made = issue(authority, ("localhost",), now_s)
    ca, pair = folder / "ca.pem", folder / "pair.pem"
    ca.write_text(authority.chain)
    pair.write_text(made.chain + made.key)

    async def answer(_: web.Request) -> web.Response:
        said = web.Response(text=text, status=status, content_type="application/json")
        said.force_close()
        return said

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair)
    site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield AcmeSettings(directory=f"https://localhost:{port}/directory", ca=ca, agree=True)
    finally:
        await runner.cleanup()


async def refusal(folder: Path, acme: AcmeSettings) -> str:
    rig = IssuingRig(folder)
    desk = Desk(rig.store, rig.view, Fence(Revision(1)), rig.key)
    with pytest.raises(AcmeError) as refused:
        await acme_fetch(rig.store, rig.view, acme, 80, rig.clock)(HOSTS, desk)
    return str(refused.value)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("text", ["", "<html>hello</html>", "[]", "{}", "7", '{"newNonce": 5}'])
async def test_what_is_no_acme_directory_is_a_refusal_that_says_so(
    tmp_path: Path, text: str, status: int
) -> None:
    async with answering(tmp_path, text, status) as acme:
        said = await refusal(tmp_path, acme)
    assert "SSL" not in said
    is_named = said.startswith(f"{acme.directory} does not answer as") or "Content-Type" in said
    assert status != HTTPStatus.OK or is_named
    assert "\n" not in said


async def test_a_missing_ca_is_named_with_its_key(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"
    acme = AcmeSettings(directory="https://localhost:1/directory", ca=absent, agree=True)
    assert await refusal(tmp_path, acme) == f"[acme] ca: this host has no file {absent}"
