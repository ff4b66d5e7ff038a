"""Commands that change the cluster: deploy, rm. Both wait until the change has come true."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import click

from deploy.cli.connect import Connection
from deploy.cli.files import Chosen, file_options, load_stack
from deploy.cli.screen import Show, progress_shown
from deploy.render import blocked_message, ready_line, remaining_message
from shared.api import Accepted, StackProgress, StackUpload
from shared.errors import ConvergenceError, SpecError, UnavailableError
from shared.model import StackName

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

DEFAULT_TIMEOUT_S: Final = 120.0
# A scheduler that is restarted is back in a few seconds; longer than this is an outage.
_AWAY_S_MAX: Final = 15.0
_ASK_AGAIN_S: Final = 0.5

_timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=DEFAULT_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for it to come true.",
)


@click.command()
@file_options
@_timeout_option
@click.option("--detach", is_flag=True, help="Return as soon as the stack is stored.")
@click.pass_obj
def deploy(
    connection: Connection,
    chosen: Chosen,
    timeout_s: float,
    *,
    detach: bool,
) -> None:
    """Run what a Compose file asks for, and wait until it does.

    Deploying the same file again changes nothing. A stack that does not come up stays stored, and
    hafen keeps trying: the exit code is 6 and the message says what blocks it.
    """
    loaded = load_stack(chosen)
    upload = StackUpload(services=loaded.services, source=loaded.source)
    click.echo(
        connection.run(
            lambda client: _deploy(client, loaded.name, upload, timeout_s, detach=detach)
        )
    )


async def _deploy(
    client: "ApiClient", name: StackName, upload: StackUpload, timeout_s: float, *, detach: bool
) -> str:
    accepted = await client.deploy(name, upload)
    if detach:
        return f"{name}: generation {accepted.generation} is stored"
    with progress_shown() as show:
        done = await _until_done(client, accepted, timeout_s, show)
    found = await client.allocations(name)
    return ready_line(done, len({one.node for one in found.allocations}))


async def _until_done(
    client: "ApiClient", accepted: Accepted, timeout_s: float, show: Show
) -> StackProgress:
    """Return the last progress of a deploy that came up.

    Raises:
        ConvergenceError: a person must mend something first, or the time is over.
    """
    last = StackProgress(
        stack=accepted.stack, generation=accepted.generation, services=(), done=False
    )
    try:
        async with asyncio.timeout(timeout_s):
            async with aclosing(_progress(client, accepted)) as changes:
                async for last in changes:
                    show(last)
                    if last.done or last.blocked:
                        break
    except TimeoutError:
        late = f"it is not ready after {timeout_s:g} s"
        raise ConvergenceError(blocked_message(last, [late, *_in_the_way(last)])) from None
    if not last.done:
        raise ConvergenceError(blocked_message(last, last.blocked))
    return last


def _in_the_way(last: StackProgress) -> list[str]:
    return [f"{one.service}: {sentence}" for one in last.services for sentence in one.waiting]


async def _progress(client: "ApiClient", accepted: Accepted) -> AsyncGenerator[StackProgress, None]:
    """Yield progress until it is done; a scheduler that is away for a moment does not end it."""
    loop = asyncio.get_running_loop()
    heard_s = loop.time()
    while True:
        try:
            async with aclosing(client.progress(accepted.stack, accepted.revision)) as changes:
                async for change in changes:
                    heard_s = loop.time()
                    yield change
                    if change.done:
                        return
        except UnavailableError:
            if loop.time() - heard_s > _AWAY_S_MAX:
                raise
        await asyncio.sleep(_ASK_AGAIN_S)


@click.command()
@click.argument("stack")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_timeout_option
@click.pass_obj
def rm(connection: Connection, stack: str, timeout_s: float, *, yes: bool) -> None:
    """Stop STACK and remove everything of it, and wait until it is gone."""
    if not yes:
        _confirm(f"Stop {stack} and remove it?")
    connection.run(lambda client: _remove(client, StackName(stack), timeout_s))
    click.echo(f"{stack} is gone")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise SpecError("there is no terminal to ask at; say -y")
    click.confirm(question, abort=True, err=True)


async def _remove(client: "ApiClient", stack: StackName, timeout_s: float) -> None:
    accepted = await client.remove(stack)
    last: StackProgress | None = None
    try:
        with progress_shown() as show:
            async with asyncio.timeout(timeout_s), aclosing(_progress(client, accepted)) as changes:
                async for last in changes:
                    show(last)
    except TimeoutError:
        left: Sequence[str] = [one.service for one in last.services] if last is not None else ()
        raise ConvergenceError(remaining_message(stack, timeout_s, left)) from None
