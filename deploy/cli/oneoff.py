"""`hafen run`: one command in a container like a service's, once."""

import asyncio
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import click
import msgspec

from deploy.cli.connect import Connection
from deploy.cli.follow import show_entry
from deploy.cli.whose import meant
from shared.api import Accepted, AllocationView, StackUpload
from shared.errors import ConvergenceError, SpecError
from shared.model import (
    EndpointMode,
    Joined,
    Mode,
    RestartCondition,
    RestartPolicy,
    ServiceName,
    ServiceSpec,
    Stack,
    StackName,
    UpdatePolicy,
)
from shared.states import TERMINAL, AllocState

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

# A stack's name has at most 40 characters, and "-run-" with six of our own takes eleven.
_NAME_CHARACTERS_MAX: Final = 29
_SUFFIX_BYTES: Final = 3
_SERVICE_CHARACTERS_MAX: Final = 36
_LOOK_AGAIN_S: Final = 0.2


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--rm/--keep", "is_removed", default=True, show_default=True, help="Remove it then.")
@click.argument("whose", metavar="STACK.SERVICE")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(ctx: click.Context, whose: str, command: tuple[str, ...], *, is_removed: bool) -> None:
    """Run one COMMAND in a container like those of a service, show what it writes, and remove it.

    It gets the service's image, environment, mounts and limits, but none of its ports. The exit
    code is the command's. Without COMMAND it runs what the service runs. Put -- before a command
    that has options: hafen run shop.web -- ls -l.
    """
    connection: Connection = ctx.obj
    ctx.exit(connection.run(lambda client: _run(client, whose, command, is_removed=is_removed)))


async def _run(
    client: "ApiClient", whose: str, command: tuple[str, ...], *, is_removed: bool
) -> int:
    stack, services = meant([whose], await client.services())
    if len(services) != 1:
        raise SpecError(f"{whose}: say which service: STACK.SERVICE")
    newest = (await client.history(stack)).generations[0].generation
    spec = one_off(await client.generation(stack, newest), services[0], command)
    name = StackName(f"{stack[:_NAME_CHARACTERS_MAX]}-run-{secrets.token_hex(_SUFFIX_BYTES)}")
    accepted = await client.deploy(name, StackUpload(services=(spec,), needs_place=True))
    try:
        return await _exit_code(client, accepted)
    finally:
        if is_removed:
            await client.remove(name)


def one_off(stack: Stack, service: ServiceName, command: tuple[str, ...]) -> ServiceSpec:
    """Return a job that does once what `command` says, as a copy of a service would."""
    spec = next(one for one in stack.services if one.name == service)
    workload = msgspec.structs.replace(
        spec.workload,
        command=command or spec.workload.command,
        healthcheck=None,
        ports=(),
        exclusive=False,
        restart=RestartPolicy(condition=RestartCondition.NONE, max_attempts=0),
        force=0,
        # Its service's names and fixed addresses stay with the service.
        networks=tuple(Joined(network=each.network) for each in spec.workload.networks),
    )
    # Nobody who asks for the service on its networks is to be led here.
    return msgspec.structs.replace(
        spec,
        name=ServiceName(f"{service[:_SERVICE_CHARACTERS_MAX]}-run"),
        endpoint_mode=EndpointMode.DNSRR,
        workload=workload,
        mode=Mode.REPLICATED_JOB,
        replicas=1,
        standby=0,
        update=UpdatePolicy(),
        rollback=UpdatePolicy(),
        depends_on=(),
        max_concurrent=0,
        schedule=None,
        is_stopped=False,
    )


async def _exit_code(client: "ApiClient", accepted: Accepted) -> int:
    """Show what the container writes until it has ended; return its exit code."""
    shown = 0

    async def follow() -> None:
        nonlocal shown
        async with aclosing(client.logs(stack=accepted.stack, follow=True)) as entries:
            async for entry in entries:
                show_entry(entry, is_json=False)
                shown += 1

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        ended = await _ended(client, accepted)
        following.cancel()
    await _show_rest(client, accepted.stack, shown)
    if ended.exit_code is None and ended.state is not AllocState.COMPLETE:
        raise ConvergenceError(f"{ended.id} could not run on {ended.node}: {ended.reason}")
    return ended.exit_code or 0


async def _ended(client: "ApiClient", accepted: Accepted) -> AllocationView:
    """Return the allocation once it has ended."""
    while True:
        found = (await client.allocations(accepted.stack)).allocations
        for one in found:
            if one.state in TERMINAL and one.state is not AllocState.LOST:
                return one
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _show_rest(client: "ApiClient", stack: StackName, shown: int) -> None:
    """Show the lines that were written after the last one that was followed."""
    seen = 0
    async with aclosing(client.logs(stack=stack)) as entries:
        async for entry in entries:
            seen += 1
            if seen > shown:
                show_entry(entry, is_json=False)
