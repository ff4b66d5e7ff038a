"""hafen vip: floating addresses, one host's at a time, for clients outside the cluster."""

import ipaddress
import re
from typing import Final

import click

from deploy.cli.asking import confirm, yes_option
from deploy.cli.connect import Connection
from deploy.cli.listing import json_option, show_list
from deploy.render import floating_table
from shared.api import FloatingAsked
from shared.clock import SystemClock
from shared.errors import SpecError
from shared.model import Constraint, NodeName

_WISH: Final = re.compile(r"([A-Za-z0-9_.-]+)(!?=)([A-Za-z0-9_.-]+)")
_OWN: Final = frozenset({"node.hostname", "node.id"})


@click.group()
def vip() -> None:
    """Floating addresses: some host always answers them, whatever becomes of the others."""


@vip.command(name="add")
@click.argument("address")
@click.option(
    "--nodes",
    multiple=True,
    metavar="LABEL=VALUE",
    help="Only nodes with this label may have it; `node.hostname=NAME` is one node. With != those "
    "without. Several must all be so.",
)
@click.pass_obj
def vip_add(connection: Connection, address: str, nodes: tuple[str, ...]) -> None:
    """Have some host answer ADDRESS from now on.

    It must be free, and in the network of an interface of the hosts. With a prefix, such as
    10.0.0.50/24, it brings a network of its own.
    """
    plain, asked = wish_of(address, nodes)
    found = connection.run(lambda client: client.add_floating(plain, asked))
    click.echo(f"{found.address}: {', '.join(found.eligible) or 'no node'} may have it")


def wish_of(address: str, nodes: tuple[str, ...]) -> tuple[str, FloatingAsked]:
    """Return the address alone, and what is asked of it.

    Raises:
        SpecError: it is no address, or a wish for nodes cannot be read.
    """
    try:
        interface = ipaddress.ip_interface(address)
    except ValueError as error:
        raise SpecError(
            f"{address!r} is no address; write one such as 10.0.0.50 or 10.0.0.50/24"
        ) from error
    length = interface.network.prefixlen if "/" in address else 0
    constraints = tuple(_constraint(node) for node in nodes)
    return str(interface.ip), FloatingAsked(prefix_length=length, constraints=constraints)


def _constraint(text: str) -> Constraint:
    match = _WISH.fullmatch(text)
    if match is None:
        raise SpecError(f"--nodes {text!r}: write LABEL=VALUE or LABEL!=VALUE, such as edge=yes")
    key, sign, value = match.groups()
    name = key if key in _OWN or key.startswith("node.labels.") else f"node.labels.{key}"
    return Constraint(key=name, value=value, equal=sign == "=")


@vip.command(name="ls")
@json_option
@click.pass_obj
def vip_ls(connection: Connection, *, is_json: bool) -> None:
    """Show the floating addresses: who answers each, since when, and who else could."""
    found = connection.run(lambda client: client.floating())
    show_list(found, floating_table(found.addresses, SystemClock().now_s()), is_json=is_json)


@vip.command(name="move")
@click.argument("address")
@click.argument("node")
@click.pass_obj
def vip_move(connection: Connection, address: str, node: str) -> None:
    """Let NODE answer ADDRESS; connections to the host that has it now end.

    It stays there until that host is lost or cordoned, or you move it again; addresses that nobody
    moved are spread evenly by themselves, see docs/floating.md.
    """
    found = connection.run(lambda client: client.move_floating(address, NodeName(node)))
    click.echo(f"{found.address} goes from {found.holder or 'nobody'} to {node}")


@vip.command(name="rm")
@click.argument("address")
@yes_option
@click.pass_obj
def vip_rm(connection: Connection, address: str, *, yes: bool) -> None:
    """Let no host answer ADDRESS any more."""
    if not yes:
        confirm(f"Let nobody answer {address} any more?")
    gone = connection.run(lambda client: client.remove_floating(address))
    click.echo(f"{gone.address}: {gone.holder or 'nobody'} drops it")
