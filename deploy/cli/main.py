"""The command line `hafen`. One function per command, none of them decides anything."""

from pathlib import Path
from typing import Final

import click

from deploy.cli.connect import DEFAULT_HOST, DEFAULT_TLS_DIR, Connection
from deploy.cli.group import HafenGroup, Lazy

_COMMANDS: Final = {
    "deploy": Lazy("deploy.cli.deploy", "deploy", "Run what a Compose file asks for."),
    "plan": Lazy("deploy.cli.deploy", "plan", "Show what a deploy would do."),
    "config": Lazy("deploy.cli.config", "config", "Show what a Compose file says, in full."),
    "ls": Lazy("deploy.cli.listing", "ls", "Show services: ready replicas, ports, problems."),
    "ps": Lazy("deploy.cli.listing", "ps", "Show allocations: what runs where."),
    "logs": Lazy("deploy.cli.follow", "logs", "Show what a service's containers write."),
    "why": Lazy("deploy.cli.look", "why", "Show why something is there, or waits."),
    "events": Lazy("deploy.cli.follow", "events", "Show the cluster's story."),
    "scale": Lazy("deploy.cli.amend", "scale", "Run more or fewer replicas: scale web=5."),
    "restart": Lazy("deploy.cli.amend", "restart", "Replace a service's containers."),
    "stop": Lazy("deploy.cli.amend", "stop", "Keep a service and run nothing of it."),
    "start": Lazy("deploy.cli.amend", "start", "Run a stopped service again."),
    "run": Lazy("deploy.cli.oneoff", "run", "Run one command of a service, once."),
    "history": Lazy("deploy.cli.look", "history", "Show a stack's generations."),
    "rollback": Lazy("deploy.cli.amend", "rollback", "Go back to an earlier generation."),
    "promote": Lazy("deploy.cli.amend", "promote", "Let an update go on that waits."),
    "abort": Lazy("deploy.cli.amend", "abort", "Take an update back."),
    "watch": Lazy("deploy.cli.look", "watch", "Show the change that is under way."),
    "rm": Lazy("deploy.cli.amend", "rm", "Remove a stack."),
    "status": Lazy("deploy.cli.listing", "status", "Show the cluster at a glance."),
    "doctor": Lazy("deploy.cli.listing", "doctor", "Show what is wrong, and what to do."),
    "node": Lazy("deploy.cli.node", "node", "Show, drain, label, remove nodes: node ls."),
    "net": Lazy("deploy.cli.net", "net", "Try the network, show who talks to whom."),
    "volume": Lazy("deploy.cli.volume", "volume", "Show and remove volumes: hafen volume ls."),
    "network": Lazy("deploy.cli.network", "network", "Networks, and addresses left: network ls."),
    "vip": Lazy("deploy.cli.vip", "vip", "Floating addresses: hafen vip add, ls, move, rm."),
    "cert": Lazy("deploy.cli.certificate", "cert", "Show and change certificates of routes."),
    "maintenance": Lazy(
        "deploy.cli.certificate", "maintenance", "Answer for a service with a page."
    ),
    "image": Lazy("deploy.cli.image", "image", "Build images, bring them to the nodes."),
    "serve": Lazy("deploy.cli.serve", "serve", "Run this host.", is_linux_only=True),
    "version": Lazy("deploy.cli.version", "version", "Show which hafen this is."),
    "lab": Lazy("deploy.cli.lab", "lab", "Virtual hosts to try it on.", is_linux_only=True),
}


@click.group(
    cls=HafenGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--host",
    envvar="HAFEN_HOST",
    default=DEFAULT_HOST,
    show_default=True,
    help="The scheduler to talk to: unix:PATH or https://HOST:PORT (also HAFEN_HOST).",
)
@click.option(
    "--tls-dir",
    envvar="HAFEN_TLS_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_TLS_DIR,
    show_default=True,
    help="ca.crt, operator.crt and operator.key for https (also HAFEN_TLS_DIR).",
)
@click.option(
    "--lab",
    envvar="HAFEN_LAB",
    metavar="NAME",
    help="Talk to a living host of this lab instead (also HAFEN_LAB).",
)
@click.pass_context
def cli(ctx: click.Context, host: str, tls_dir: Path, lab: str | None) -> None:
    """Keep containers running on a few Linux hosts, also when one of them dies.

    Exit codes: 2 your file or flag is wrong, 3 no such thing, 4 this machine lacks something,
    5 the cluster cannot be reached, or somebody else was faster, 6 not up or no place for it,
    7 rolled back, 130 interrupted.
    """
    ctx.obj = Connection(host, tls_dir, lab or None)


def main() -> None:
    """Run the command line; the process ends here."""
    cli.main(prog_name="hafen")
