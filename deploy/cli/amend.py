"""Commands that change what is deployed: scale, restart, stop, start, rollback, promote, abort, rm.

All of them wait until the change has come true.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import click

from deploy.cli.asking import confirm, yes_option
from deploy.cli.connect import Connection
from deploy.cli.screen import progress_shown
from deploy.cli.waiting import detach_option, outcome, progress, timeout_option
from deploy.cli.whose import meant
from deploy.render import remaining_message
from shared.api import (
    Abort,
    Change,
    Promote,
    Restart,
    Rollback,
    Scale,
    StackProgress,
    Start,
    Stop,
)
from shared.errors import ConvergenceError, SpecError
from shared.model import ServiceName, StackName

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

F = TypeVar("F", bound=Callable[..., None])


def _names(function: F) -> F:
    argument = click.argument(
        "names", nargs=-1, required=True, metavar="STACK|SERVICE|STACK.SERVICE..."
    )
    return argument(timeout_option(detach_option(function)))


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="SERVICE=COUNT...")
@timeout_option
@detach_option
@click.pass_obj
def scale(
    connection: Connection, counts: tuple[str, ...], timeout_s: float, *, detach: bool
) -> None:
    """Run so many replicas of a service: hafen scale web=5.

    The next deploy of the file asks for the number that is written there.
    """
    asked = parse_counts(counts)

    async def change(client: "ApiClient") -> str:
        found = [(*meant([name], await client.services()), count) for name, count in asked.items()]
        if len({stack for stack, _, _ in found}) > 1 or not all(names for _, names, _ in found):
            raise SpecError("say how many of which services of one stack: STACK.SERVICE=COUNT")
        counts = {names[0]: count for _, names, count in found}
        return await _changed(client, found[0][0], Scale(services=counts), timeout_s, detach=detach)

    click.echo(connection.run(change))


def parse_counts(words: Sequence[str]) -> Mapping[str, int]:
    """Return what SERVICE=COUNT words ask for.

    Raises:
        SpecError: one is not like that.
    """
    counts: dict[str, int] = {}
    for word in words:
        name, sign, count = word.partition("=")
        if not (name and sign and count.isascii() and count.isdigit()):
            raise SpecError(f"{word}: write SERVICE=COUNT, such as web=5")
        counts[name] = int(count[:9])
    return counts


@click.command()
@_names
@click.pass_obj
def restart(
    connection: Connection, names: tuple[str, ...], timeout_s: float, *, detach: bool
) -> None:
    """Replace the containers of services, as an update would: no request is lost."""
    _change(connection, names, lambda some: Restart(services=some), timeout_s, detach=detach)


@click.command()
@_names
@click.pass_obj
def stop(connection: Connection, names: tuple[str, ...], timeout_s: float, *, detach: bool) -> None:
    """Keep services, and run nothing of them until `hafen start`."""
    _change(connection, names, lambda some: Stop(services=some), timeout_s, detach=detach)


@click.command()
@_names
@click.pass_obj
def start(
    connection: Connection, names: tuple[str, ...], timeout_s: float, *, detach: bool
) -> None:
    """Run services again that were stopped."""
    _change(connection, names, lambda some: Start(services=some), timeout_s, detach=detach)


@click.command()
@_names
@click.pass_obj
def promote(
    connection: Connection, names: tuple[str, ...], timeout_s: float, *, detach: bool
) -> None:
    """Let an update go on that waits: its canary is well, or it stopped half-way."""
    _change(connection, names, lambda some: Promote(services=some), timeout_s, detach=detach)


@click.command()
@_names
@click.pass_obj
def abort(
    connection: Connection, names: tuple[str, ...], timeout_s: float, *, detach: bool
) -> None:
    """Take an update back: what ran before runs again."""
    _change(connection, names, lambda some: Abort(services=some), timeout_s, detach=detach)


@click.command()
@click.argument("stack")
@click.option("--to", "generation", type=click.IntRange(min=1), help="See `hafen history`.")
@timeout_option
@detach_option
@click.pass_obj
def rollback(
    connection: Connection, stack: str, generation: int | None, timeout_s: float, *, detach: bool
) -> None:
    """Ask for what an earlier generation of STACK asked for, by default the one before.

    That is a new generation, and an update like any other.
    """
    change = Rollback(generation=generation)
    click.echo(
        connection.run(
            lambda client: _changed(client, StackName(stack), change, timeout_s, detach=detach)
        )
    )


def _change(
    connection: Connection,
    names: tuple[str, ...],
    make: Callable[[tuple[ServiceName, ...]], Change],
    timeout_s: float,
    *,
    detach: bool,
) -> None:
    async def change(client: "ApiClient") -> str:
        stack, services = meant(names, await client.services())
        return await _changed(client, stack, make(services), timeout_s, detach=detach)

    click.echo(connection.run(change))


async def _changed(
    client: "ApiClient", stack: StackName, change: Change, timeout_s: float, *, detach: bool
) -> str:
    accepted = await client.change(stack, change)
    if detach:
        return f"{stack}: generation {accepted.generation} is stored"
    return await outcome(client, accepted, timeout_s, is_abort=isinstance(change, Abort))


@click.command()
@click.argument("stack")
@yes_option
@timeout_option
@click.pass_obj
def rm(connection: Connection, stack: str, timeout_s: float, *, yes: bool) -> None:
    """Stop STACK and remove everything of it, its history too, and wait until it is gone."""
    if not yes:
        confirm(f"Stop {stack} and remove it?")
    connection.run(lambda client: _remove(client, StackName(stack), timeout_s))
    click.echo(f"{stack} is gone")


async def _remove(client: "ApiClient", stack: StackName, timeout_s: float) -> None:
    accepted = await client.remove(stack)
    last: StackProgress | None = None
    try:
        with progress_shown() as show:
            async with asyncio.timeout(timeout_s), aclosing(progress(client, accepted)) as changes:
                async for last in changes:
                    show(last)
    except TimeoutError:
        left: Sequence[str] = [one.service for one in last.services] if last is not None else ()
        raise ConvergenceError(remaining_message(stack, timeout_s, left)) from None
