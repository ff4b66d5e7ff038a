"""`hafen lab`: virtual hosts on this machine, for trying hafen and for rehearsing failures."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final, get_args

import click
import msgspec

from deploy.cli.group import Lazy, LazyGroup
from deploy.cli.lab_faults import FAULTS, name_option
from deploy.cli.listing import json_option
from deploy.lab.disks import DISK_MIB_MAX, DISK_MIB_MIN
from deploy.lab.lab import Lab, LabStatus
from deploy.lab.plan import READY_S
from shared.errors import SpecError
from shared.settings import NetworkMode

_MORE: Final = {
    "demo": Lazy("deploy.cli.demo", "demo", "A host dies under load, versions come."),
    "whoami": Lazy("deploy.cli.demo", "whoami", "Write an image that says who it is."),
    "echo": Lazy("deploy.cli.demo", "echo", "Write the image of an echo server."),
}


@click.group(cls=LazyGroup, lazy=_MORE)
def lab() -> None:
    """Virtual hosts on this Linux machine, each with its own network, processes and disk.

    They run exactly what real hosts run and can die like them. Their addresses (198.18.0.0/15)
    exist inside the lab only; nothing of it reaches any other network. Needs root.
    """


@lab.command()
@click.option("--nodes", default=3, show_default=True, help="How many hosts.")
@click.option(
    "--label", "labels", multiple=True, metavar="NODE:KEY=VALUE", help="A node label; repeatable."
)
@click.option("--wait", is_flag=True, help="Return only when the cluster is whole.")
@click.option(
    "--deadline",
    "deadline_s",
    default=READY_S,
    show_default=True,
    metavar="SECONDS",
    help="How long --wait waits.",
)
@click.option(
    "--disk-mib",
    type=click.IntRange(DISK_MIB_MIN, DISK_MIB_MAX),
    metavar="MIB",
    help="Give every host a disk of this size, which `hafen lab fill` can fill.",
)
@click.option(
    "--network",
    type=click.Choice(get_args(NetworkMode)),
    default="routed",
    show_default=True,
    help="How hosts reach each other's containers.",
)
@name_option
def up(  # noqa: PLR0913 - one parameter for each option
    nodes: int,
    labels: tuple[str, ...],
    *,
    wait: bool,
    deadline_s: float,
    disk_mib: int | None,
    network: NetworkMode,
    name: str,
) -> None:
    """Make the hosts node-1 to node-N and start hafen on them.

    What a crashed command left of the same name is removed first.
    """
    lab_ = Lab(name)
    making = lab_.up(nodes, labels=parse_labels(labels), disk_mib=disk_mib, network_mode=network)
    asyncio.run(_up(lab_, making, deadline_s if wait else None))


async def _up(lab_: Lab, making: Awaitable[None], wait_s: float | None) -> None:
    began_s = time.monotonic()
    await making
    nodes = len(lab_.nodes)
    _say(f"{nodes} hosts are on after {time.monotonic() - began_s:.1f} s")
    if wait_s is not None:
        from deploy.lab.ready import wait_ready  # noqa: PLC0415 - brings an HTTP client along

        await wait_ready(lab_, deadline_s=wait_s, progress=_say)
        _say(f"the cluster is whole after {time.monotonic() - began_s:.1f} s")
    click.echo(f"lab {lab_.name} is up: {', '.join(lab_.nodes)}")


@lab.command()
@name_option
def down(name: str) -> None:
    """Remove the lab whole: hosts, disks, networks. Also removes a half-made one."""
    existed = asyncio.run(Lab(name).down())
    click.echo(f"lab {name} is gone" if existed else f"there is no lab {name}")


@lab.command()
@json_option
@name_option
def status(*, is_json: bool, name: str) -> None:
    """Show the hosts: addresses, whether they are up, cut off or off, and where their API is."""
    found = asyncio.run(Lab(name).status())
    click.echo(msgspec.json.encode(found) if is_json else table(found))


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@name_option
def exec_(node: str, command: tuple[str, ...], name: str) -> None:
    """Run COMMAND in a host, or on the client ("client"): hafen lab exec node-1 -- ip route."""
    sys.exit(asyncio.run(Lab(name).exec(node, command)))


@lab.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@name_option
def load(archive: Path, name: str) -> None:
    """Import an image archive into every host that is on: a lab has no registry."""
    asyncio.run(Lab(name).load(archive.resolve()))
    click.echo(f"{archive} is loaded")


for fault in FAULTS:
    lab.add_command(fault)


def parse_labels(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return labels by host from NODE:KEY=VALUE.

    Raises:
        SpecError: a text has another form.
    """
    labels: dict[str, dict[str, str]] = {}
    for text in texts:
        node, colon, rest = text.partition(":")
        key, equal, value = rest.partition("=")
        if not (node and colon and key and equal):
            raise SpecError(f"--label {text}: write NODE:KEY=VALUE, as in node-1:zone=a")
        labels.setdefault(node, {})[key] = value
    return labels


def table(status_: LabStatus) -> str:
    """Return the hosts as aligned columns."""
    rows = [("HOST", "STATE", "ADDRESS", "ETCD", "API")]
    rows += [
        (
            host.name,
            ", ".join((host.state, *host.cuts)),
            host.address,
            "member" if host.member else "-",
            host.api,
        )
        for host in status_.hosts
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _say(text: str) -> None:
    """Progress goes to standard error; what a script reads is on standard output."""
    click.echo(text, err=True)
