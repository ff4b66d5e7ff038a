"""Commands that take Compose files: deploy, plan."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import msgspec

from deploy.cli.built import with_built, with_pushed
from deploy.cli.connect import Connection
from deploy.cli.files import Chosen, file_options, load_stack
from deploy.cli.listing import json_option
from deploy.cli.waiting import detach_option, outcome, timeout_option
from deploy.compose.places import located
from deploy.render import as_json
from deploy.render_change import plan_lines
from shared.api import PlanView, StackUpload
from shared.errors import NotFoundError, SpecError
from shared.model import StackName

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient
    from deploy.compose import LoadedStack

_CHANGES, _CANNOT = 1, 2


@click.command()
@file_options
@timeout_option
@detach_option
@click.option("--plan-id", default="", help="Do what `hafen plan` showed, or nothing.")
@click.option("--no-plan", is_flag=True, help="Store it even if replicas have no place now.")
@click.option(
    "--build/--no-build",
    "is_built",
    default=None,
    help="Bring built images to nodes that have them, too; or build none: nodes have them.",
)
@click.pass_obj
def deploy(  # noqa: PLR0913 - one parameter for each option
    connection: Connection,
    chosen: Chosen,
    timeout_s: float,
    plan_id: str,
    *,
    detach: bool,
    no_plan: bool,
    is_built: bool | None,
) -> None:
    """Run what a Compose file asks for, and wait until it does.

    Images that services `build` are built here and brought to all nodes first. Deploying the same
    file again changes nothing. What has no place is refused before anything is
    stored. Exit codes: 0 it runs, or its canary waits; 5 somebody else was faster; 6 it is refused,
    failed or stopped half-way; 7 it was rolled back. Interrupting does not interrupt the change.
    """
    stack = load_stack(chosen)
    if is_built is not False:
        stack = with_pushed(connection, stack, is_forced=is_built is True)
    upload = msgspec.structs.replace(_upload(stack), plan_id=plan_id, needs_place=not no_plan)
    with _located(stack):
        said = connection.run(
            lambda client: _deploy(client, stack.name, upload, timeout_s, detach=detach)
        )
    click.echo(said)


@contextmanager
def _located(stack: "LoadedStack") -> Iterator[None]:
    """Say where in the files stands what the cluster refuses."""
    try:
        yield
    except SpecError as error:
        raise SpecError(located(str(error), stack.places)) from error


def _upload(stack: "LoadedStack") -> StackUpload:
    return StackUpload(
        services=stack.services,
        source=stack.source,
        contents=stack.contents,
        networks=stack.networks,
    )


async def _deploy(
    client: "ApiClient", name: StackName, upload: StackUpload, timeout_s: float, *, detach: bool
) -> str:
    seen = await _generation(client, name)
    accepted = await client.deploy(name, msgspec.structs.replace(upload, after_generation=seen))
    if detach:
        return f"{name}: generation {accepted.generation} is stored"
    return await outcome(client, accepted, timeout_s)


async def _generation(client: "ApiClient", name: StackName) -> int:
    """Return which generation a stack is at; 0: there is none."""
    try:
        return (await client.history(name)).generations[0].generation
    except NotFoundError:
        return 0


@click.command()
@file_options
@json_option
@click.option("--no-build", "is_unbuilt", is_flag=True, help="As with `hafen deploy --no-build`.")
@click.pass_context
def plan(ctx: click.Context, chosen: Chosen, *, is_json: bool, is_unbuilt: bool) -> None:
    """Show what `hafen deploy` would do, and change nothing.

    Images are built, because only that tells whether they have changed, and brought nowhere.

    Exit codes: 0 nothing would change, 1 something would, 2 it cannot be.
    """
    connection: Connection = ctx.obj
    stack = load_stack(chosen)
    if not is_unbuilt:
        stack = with_built(stack)
    with _located(stack):
        found = connection.run(lambda client: client.plan(stack.name, _upload(stack)))
    click.echo(as_json(found) if is_json else "\n".join(plan_lines(found)))
    ctx.exit(_exit_code(found))


def _exit_code(plan_: PlanView) -> int:
    if plan_.refusals:
        return _CANNOT
    return 0 if plan_.is_nothing else _CHANGES
