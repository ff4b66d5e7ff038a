"""The commands of `hafen lab` that break things, and mend them again."""

import asyncio
import signal
from collections.abc import Callable
from typing import Final, TypeVar

import click

from deploy.lab.lab import Lab
from deploy.lab.plan import Way
from deploy.lab.programs import Program
from shared.errors import SpecError

F = TypeVar("F", bound=Callable[..., None])
_MIB: Final = 1024 * 1024
_PROGRAMS: Final = click.Choice([program.value for program in Program])


def name_option(function: F) -> F:
    """Let a command say which lab it means."""
    return click.option(
        "--name", default="lab", show_default=True, help="Which lab; several can be up."
    )(function)


@click.command()
@click.argument("node")
@name_option
def kill(node: str, name: str) -> None:
    """Cut NODE's power: no shutdown, no goodbye on the network; its disk stays."""
    asyncio.run(Lab(name).kill(node))
    click.echo(f"{node} is off")


@click.command()
@click.argument("node")
@name_option
def boot(node: str, name: str) -> None:
    """Switch NODE on again, with its disk and its address."""
    asyncio.run(Lab(name).boot(node))
    click.echo(f"{node} is on")


@click.command()
@click.argument("node")
@click.option("--in", "into", is_flag=True, help="Drop only what is sent to NODE.")
@click.option("--out", is_flag=True, help="Drop only what NODE sends.")
@click.option("--from", "sender", metavar="OTHER", help="Drop only what OTHER sends to NODE.")
@name_option
def cut(*, node: str, into: bool, out: bool, sender: str | None, name: str) -> None:
    """Pull NODE's network cable, or drop frames one way; everything on it runs on.

    `hafen lab heal NODE` mends all of it.
    """
    if into + out + (sender is not None) > 1:
        raise SpecError("cut: choose one of --in, --out and --from; without any, both ways are cut")
    way = Way.IN if into else Way.OUT if out else None
    asyncio.run(Lab(name).cut(node, way=way, sender=sender))
    what = f"hears nothing from {sender}" if sender else _CUT[way]
    click.echo(f"{node} {what}")


_CUT: Final = {None: "is cut off", Way.IN: "hears nothing", Way.OUT: "is not heard"}


@click.command()
@click.argument("node")
@name_option
def heal(node: str, name: str) -> None:
    """Put NODE's network cable back, and let all frames from and to it pass."""
    asyncio.run(Lab(name).heal(node))
    click.echo(f"{node} is on the network")


@click.command()
@click.argument("node")
@click.argument("program", type=_PROGRAMS)
@name_option
def pause(node: str, program: str, name: str) -> None:
    """Stop one of hafen's programs on NODE where it stands (SIGSTOP), until `resume`.

    `run` is the supervisor of the three others.
    """
    Lab(name).signal(node, Program(program), signal.SIGSTOP)
    click.echo(f"{program} of {node} stands still")


@click.command()
@click.argument("node")
@click.argument("program", type=_PROGRAMS)
@name_option
def resume(node: str, program: str, name: str) -> None:
    """Let a program that `pause` stopped go on (SIGCONT)."""
    Lab(name).signal(node, Program(program), signal.SIGCONT)
    click.echo(f"{program} of {node} goes on")


@click.command()
@click.argument("node")
@click.argument("program", type=_PROGRAMS)
@name_option
def crash(node: str, program: str, name: str) -> None:
    """End one of hafen's programs on NODE at once (SIGKILL); it is started again."""
    Lab(name).signal(node, Program(program), signal.SIGKILL)
    click.echo(f"{program} of {node} is dead")


@click.command()
@click.argument("node")
@name_option
def fill(node: str, name: str) -> None:
    """Fill NODE's disk to the last block; needs a lab made with --disk-mib."""
    taken = Lab(name).fill(node)
    click.echo(f"{node}'s disk is full: {taken // _MIB} MiB were free")


@click.command()
@click.argument("node")
@name_option
def free(node: str, name: str) -> None:
    """Give back what `fill` took of NODE's disk."""
    Lab(name).free(node)
    click.echo(f"{node}'s disk has room again")


FAULTS: Final = (kill, boot, cut, heal, pause, resume, crash, fill, free)
