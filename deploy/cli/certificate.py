"""hafen cert: what gateways show in handshakes; hafen maintenance: a page for a service."""

import time
from pathlib import Path

import click

from deploy.cli.asking import confirm, yes_option
from deploy.cli.connect import Connection
from deploy.cli.listing import json_option, show_list
from deploy.render_edge import certificate_lines, certificate_table
from shared.api import CertificateUpload
from shared.certificates import check_dates, read_pair
from shared.errors import NotFoundError, SpecError

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def cert() -> None:
    """Certificates: which hosts they are for, and until when."""


@cert.command(name="add")
@click.argument("name")
@click.option(
    "--cert", "chain", type=_FILE, required=True, help="PEM: its own first, then issuers."
)
@click.option("--key", type=_FILE, required=True, help="PEM, without a password.")
@click.pass_obj
def cert_add(connection: Connection, name: str, chain: Path, key: Path) -> None:
    """Give gateways a certificate, or a newer one for NAME.

    The key is sealed with the cluster's own before it is stored.
    """
    pair = read_pair(_read(chain), _read(key), chain_file=str(chain), key_file=str(key))
    check_dates(pair, time.time(), chain_file=str(chain))  # noqa: TID251 - a person's clock
    upload = CertificateUpload(chain=pair.chain, key=pair.key)
    found = connection.run(lambda client: client.add_certificate(name, upload))
    click.echo("\n".join(certificate_lines(found)))


@cert.command(name="issue")
@click.argument("hosts", nargs=-1, required=True)
@click.option("--name", help="What it is called; default: its first host.")
@click.pass_obj
def cert_issue(connection: Connection, hosts: tuple[str, ...], name: str | None) -> None:
    """Have the cluster's own authority issue a certificate for HOSTS, and renew it.

    For those who trust that authority: `hafen cert show --authority` prints what they need.
    """
    upload = CertificateUpload(hosts=hosts)
    wanted = name or hosts[0].lower().replace("*", "wildcard")
    found = connection.run(lambda client: client.add_certificate(wanted, upload))
    click.echo(f"{found.name}: it is being issued; `hafen cert ls` shows when it is there")


@cert.command(name="ls")
@json_option
@click.pass_obj
def cert_ls(connection: Connection, *, is_json: bool) -> None:
    """Show the certificates: hosts, who issued them, when they end, what is wrong."""
    found = connection.run(lambda client: client.certificates())
    show_list(found, certificate_table(found.certificates), is_json=is_json)


@cert.command(name="show")
@click.argument("name", required=False)
@click.option("--authority", is_flag=True, help="The cluster's own authority, in PEM.")
@click.pass_obj
def cert_show(connection: Connection, name: str | None, *, authority: bool) -> None:
    """Show one certificate with its chain in PEM; keys are never shown."""
    if authority:
        chain = connection.run(lambda client: client.authority()).chain
        if not chain:
            raise NotFoundError("the cluster has issued nothing yet: hafen cert issue HOST")
        click.echo(chain, nl=False)
        return
    found = connection.run(lambda client: client.certificates()).certificates
    one = next((each for each in found if each.name == name), None)
    if one is None:
        there = ", ".join(each.name for each in found) or "none"
        raise NotFoundError(f"there is no certificate {name or ''!r}; there are: {there}")
    click.echo("\n".join(certificate_lines(one)))
    click.echo(one.chain, nl=False)


@cert.command(name="rm")
@click.argument("name")
@yes_option
@click.pass_obj
def cert_rm(connection: Connection, name: str, *, yes: bool) -> None:
    """Take a certificate from the gateways, and its key out of the cluster."""
    if not yes:
        confirm(f"Remove the certificate {name}?")
    connection.run(lambda client: client.remove_certificate(name))
    click.echo(f"{name} is removed")


@click.command()
@click.argument("what", type=click.Choice(["on", "off"]))
@click.argument("name", metavar="STACK[.SERVICE]")
@click.pass_obj
def maintenance(connection: Connection, what: str, name: str) -> None:
    """Answer for a stack or one of its services with a page, status 503, or stop that.

    HTTP only: ports that speak tcp go on as they are.
    """
    connection.run(lambda client: client.close(name, is_closed=what == "on"))
    click.echo(f"{name} {'answers with a page' if what == 'on' else 'is served'} on every node")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from error
