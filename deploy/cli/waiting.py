"""Waiting until a change has come true, or has come to another end; the exit code tells which."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeVar

import click

from deploy.cli.screen import progress_shown
from deploy.render_change import (
    blocked_message,
    canary_lines,
    interrupted_message,
    overtaken_message,
    ready_line,
    rolled_back_message,
    stopped_message,
)
from shared.api import Accepted, ServiceView, StackProgress
from shared.errors import ConvergenceError, OvertakenError, RolledBackError, UnavailableError
from shared.model import RolloutPhase

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

F = TypeVar("F", bound=Callable[..., None])

# Three times as long as an update may be without getting further: its own verdict comes first.
DEFAULT_TIMEOUT_S: Final = 1800.0
# A scheduler that is restarted is back in a few seconds; longer than this is an outage.
AWAY_S_MAX: Final = 15.0
ASK_AGAIN_S: Final = 0.5
_GOES_ON: Final = frozenset({RolloutPhase.ROLLING.value, RolloutPhase.ROLLING_BACK.value})


def timeout_option(function: F) -> F:
    """Add --timeout."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for it to come true.",
    )(function)


def detach_option(function: F) -> F:
    """Add --detach."""
    return click.option("--detach", is_flag=True, help="Return as soon as it is stored.")(function)


async def outcome(
    client: "ApiClient", accepted: Accepted, timeout_s: float, *, is_abort: bool = False
) -> str:
    """Wait for a change and return the sentence that ends it.

    Args:
        client: of any scheduler.
        accepted: the change.
        timeout_s: how long to wait.
        is_abort: the version before is what is wanted.

    Raises:
        ConvergenceError: it failed or stopped half-way, a person must mend something first, or the
            time is over.
        RolledBackError: the version before runs again.
        OvertakenError: the stack was changed again, or removed, before it came true.
    """
    last = await _last(client, accepted, timeout_s)
    if last.generation != accepted.generation:
        raise OvertakenError(overtaken_message(last, accepted.generation))
    _judge(last, is_abort=is_abort)
    found = await client.allocations(last.stack)
    nodes = len({one.node for one in found.allocations})
    return "\n".join([ready_line(last, nodes), *canary_lines(last)])


async def _last(client: "ApiClient", accepted: Accepted, timeout_s: float) -> StackProgress:
    """Return the progress at the end of a change."""
    last = StackProgress(
        stack=accepted.stack, generation=accepted.generation, services=(), done=False
    )
    try:
        with progress_shown() as show:
            async with (
                asyncio.timeout(timeout_s),
                aclosing(progress(client, accepted)) as changes,
            ):
                async for last in changes:
                    show(last)
                    # What is under way has a deadline of its own, and then goes back by itself.
                    goes_on = any(one.phase in _GOES_ON for one in last.services)
                    is_past = last.generation != accepted.generation
                    if is_past or last.done or (last.blocked and not goes_on):
                        break
    except TimeoutError:
        late = f"it is not ready after {timeout_s:g} s"
        raise ConvergenceError(blocked_message(last, [late, *_in_the_way(last)])) from None
    except asyncio.CancelledError:
        click.echo(f"hafen: {interrupted_message(accepted.stack)}", err=True)
        raise
    return last


def _judge(last: StackProgress, *, is_abort: bool) -> None:
    failed = _reasons(last, RolloutPhase.FAILED)
    if failed or not last.done:
        raise ConvergenceError(blocked_message(last, failed or last.blocked))
    paused = _reasons(last, RolloutPhase.PAUSED)
    if paused:
        raise ConvergenceError(stopped_message(last, paused))
    back = _reasons(last, RolloutPhase.ROLLED_BACK)
    if back and not is_abort:
        raise RolledBackError(rolled_back_message(last, back))


def _reasons(last: StackProgress, phase: RolloutPhase) -> list[str]:
    return [f"{one.service}: {_reason(one)}" for one in last.services if one.phase == phase]


def _reason(one: ServiceView) -> str:
    return one.reason or "; ".join(one.waiting) or one.phase


def _in_the_way(last: StackProgress) -> list[str]:
    return [f"{one.service}: {sentence}" for one in last.services for sentence in one.waiting]


async def progress(client: "ApiClient", accepted: Accepted) -> AsyncGenerator[StackProgress, None]:
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
            if loop.time() - heard_s > AWAY_S_MAX:
                raise
        await asyncio.sleep(ASK_AGAIN_S)
