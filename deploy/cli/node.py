"""hafen node: what the hosts are, what they may do, and when one leaves the cluster."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

from deploy.cli.asking import confirm, yes_option
from deploy.cli.connect import Connection
from deploy.cli.listing import json_option, show_list
from deploy.cli.waiting import ASK_AGAIN_S, AWAY_S_MAX, detach_option, timeout_option
from deploy.render import as_json
from deploy.render_node import (
    drain_lines,
    labels_text,
    node_lines,
    node_table,
    removed_lines,
    stuck_message,
)
from shared.api import NodeChange, NodeDetail
from shared.errors import ConvergenceError, OvertakenError, SpecError, UnavailableError
from shared.model import Availability

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

# What has no place now may have one in a moment, as when others move, too.
_STUCK_S: Final = 5.0
_PREFIX: Final = "node.labels."


@click.group()
def node() -> None:
    """The cluster's nodes: what they may do, what is written on them, and which there are."""


@node.command(name="ls")
@json_option
@click.pass_obj
def node_ls(connection: Connection, *, is_json: bool) -> None:
    """Show the nodes: their state and labels, and what is reserved of what they have."""
    found = connection.run(lambda client: client.nodes())
    show_list(found, node_table(found.nodes), is_json=is_json)


@node.command(name="show")
@click.argument("name")
@json_option
@click.pass_obj
def node_show(connection: Connection, name: str, *, is_json: bool) -> None:
    """Show the node NAME and all that it has."""
    found = connection.run(lambda client: client.node(name))
    click.echo(as_json(found) if is_json else "\n".join(node_lines(found)))


@node.command(name="cordon")
@click.argument("name")
@click.pass_obj
def node_cordon(connection: Connection, name: str) -> None:
    """Let the node NAME take nothing new; it keeps what it has. Ends a drain, too."""
    _allow(connection, name, Availability.CORDONED)
    click.echo(f"{name} takes nothing new")


@node.command(name="uncordon")
@click.argument("name")
@click.pass_obj
def node_uncordon(connection: Connection, name: str) -> None:
    """Let the node NAME take work again. What has left it does not come back by itself."""
    _allow(connection, name, Availability.ACTIVE)
    click.echo(f"{name} takes work again")


def _allow(connection: Connection, name: str, availability: Availability) -> None:
    change = NodeChange(availability=availability)
    connection.run(lambda client: client.change_node(name, change))


@node.command(name="drain")
@click.argument("name")
@detach_option
@timeout_option
@click.pass_obj
def node_drain(connection: Connection, name: str, *, detach: bool, timeout_s: float) -> None:
    """Let the node NAME take nothing new and move elsewhere what it has, without failed requests.

    What has no place elsewhere (its data is here, its constraints, no room) runs on here, is named
    with the reason, and the exit code is 6. Jobs run to their end, global services end.
    The scheduler does it, not this command: it may be interrupted, and `hafen node cordon` or
    `hafen node uncordon` end it.
    """
    change = NodeChange(availability=Availability.DRAINING)
    if detach:
        connection.run(lambda client: client.change_node(name, change))
        click.echo(f"{name} is being drained")
        return

    async def drain(client: "ApiClient") -> None:
        await client.change_node(name, change)
        await drained(client, name, timeout_s)

    connection.run(drain)
    click.echo(f"{name} is drained: nothing runs there")


async def drained(client: "ApiClient", name: str, timeout_s: float) -> None:
    """Wait until a node is empty, and tell how far it is.

    Raises:
        ConvergenceError: what is left has no place elsewhere, or the time is over.
        OvertakenError: somebody else has ended the drain.
    """
    last: NodeDetail | None = None
    loop = asyncio.get_running_loop()
    moved_s = loop.time()
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                now = await _asked(client, name)
                for line in drain_lines(last, now):
                    click.echo(line, err=True)
                last = now
                _refuse_ended(now)
                if not now.left:
                    return
                if not all(one.is_stuck for one in now.left):
                    moved_s = loop.time()
                if loop.time() - moved_s > _STUCK_S:
                    raise ConvergenceError(stuck_message(name, now.left))
                await asyncio.sleep(ASK_AGAIN_S)
    except TimeoutError:
        late = stuck_message(name, last.left if last is not None else ())
        raise ConvergenceError(f"after {timeout_s:g} s {late}") from None


async def _asked(client: "ApiClient", name: str) -> NodeDetail:
    """Return how a node is; a scheduler that is away for a moment is waited for."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while True:
        try:
            return await client.node(name)
        except UnavailableError:
            if loop.time() - began_s > AWAY_S_MAX:
                raise
        await asyncio.sleep(ASK_AGAIN_S)


def _refuse_ended(now: NodeDetail) -> None:
    if now.node.availability is not Availability.DRAINING:
        word = now.node.availability.value
        raise OvertakenError(f"{now.node.name} is {word} now: somebody else ended its drain")


@node.command(name="label")
@click.argument("name")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@click.pass_obj
def node_label(connection: Connection, name: str, labels: tuple[str, ...]) -> None:
    """Set labels of the node NAME, and take away those that are written as KEY-.

    Services whose constraints ask for others move, as an update moves them. The labels of a host's
    settings file are those that it joins with; from then on these commands say what they are.
    """
    change = NodeChange(labels=labels_of(labels))
    found = connection.run(lambda client: client.change_node(name, change))
    click.echo(f"{name}: {labels_text(found.node.labels) or 'no labels'}")


def labels_of(words: Iterable[str]) -> dict[str, str | None]:
    """Return which labels to set, and with None those to take away.

    Raises:
        SpecError: a word is neither.
    """
    found: dict[str, str | None] = {}
    for word in words:
        key, sign, value = word.removeprefix(_PREFIX).partition("=")
        if sign and key:
            found[key] = value
        elif key.endswith("-") and len(key) > 1:
            found[key[:-1]] = None
        else:
            raise SpecError(f"{word!r}: write KEY=VALUE to set a label, KEY- to take it away")
    return found


@node.command(name="rm")
@click.argument("name")
@yes_option
@click.pass_obj
def node_rm(connection: Connection, name: str, *, yes: bool) -> None:
    """Remove the node NAME, whose host is gone or has been drained and switched off.

    It is no longer counted where a majority of the nodes matters, and its subnet is free for
    another. It is refused while the node lives, or before what it ran is given up.
    """
    if not yes:
        confirm(f"Forget {name}? Its host must not run any more.")
    gone = connection.run(lambda client: client.remove_node(name))
    click.echo("\n".join(removed_lines(gone)))
