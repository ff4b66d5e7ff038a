"""What a container calls itself and others: host name, /etc/hosts, /etc/resolv.conf.

Pure.
"""

from typing import Final

from shared.errors import RuntimeFailureError
from shared.model import Assignment, Naming

_HOSTNAME_MAX: Final = 63
_GATEWAY: Final = "host-gateway"


def hostname(assignment: Assignment) -> str:
    """Return the container's host name, such as web-1."""
    given = assignment.workload.naming.hostname
    return given or f"{assignment.service}-{assignment.slot}"[-_HOSTNAME_MAX:].lstrip("-.")


def hosts_file(name: str, address: str, naming: Naming = Naming(), gateway: str = "") -> str:  # noqa: B008 - frozen
    """Return the text of /etc/hosts.

    Args:
        name: the container's own.
        address: its own.
        naming: its domain, and the others that it is told.
        gateway: the address of its node.

    Raises:
        RuntimeFailureError: an entry that is none.
    """
    names = f"{name}.{naming.domainname} {name}" if naming.domainname else name
    own = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{names}\n"
    return own + "".join(_extra(entry, gateway) for entry in naming.extra_hosts)


def _extra(entry: str, gateway: str) -> str:
    name, _, address = entry.partition("=")
    if not name or not address or len(entry.split()) != 1:
        raise RuntimeFailureError(f"extra host {entry!r}: write name=address")
    if address == _GATEWAY and not gateway:
        raise RuntimeFailureError(f"extra host {entry!r}: this node's address is not known")
    return f"{gateway if address == _GATEWAY else address}\t{name}\n"


def resolv_conf(host_text: str, nameservers: tuple[str, ...], naming: Naming = Naming()) -> str:  # noqa: B008 - frozen
    """Return the text of /etc/resolv.conf.

    Args:
        host_text: the host's own file; what a service does not say itself is from there.
        nameservers: hafen's own, which ask those that the service names, or else the host's. Empty:
            the container has no such server, and asks the others itself; the host's servers on
            loopback are left out then, since in a container nobody listens there.
        naming: what the service says.
    """
    given = [f"nameserver {address}" for address in nameservers or naming.dns]
    replaced = {"nameserver"} if given else set()
    if naming.dns_search:
        given.append(" ".join(("search", *naming.dns_search)))
        replaced |= {"search", "domain"}
    kept = [line for line in host_text.splitlines() if _is_useful(line, replaced)]
    options = naming.dns_options or tuple(
        word for line in kept if line.split()[0] == "options" for word in line.split()[1:]
    )
    if nameservers and not any(each.startswith("ndots:") for each in options):
        # `web` is a whole name: it is asked for as it is first, whatever is searched.
        options = (*options, "ndots:0")
    rest = [line for line in kept if line.split()[0] != "options"]
    last = [" ".join(("options", *options))] if options else []
    return "".join(f"{line}\n" for line in [*given, *rest, *last])


def _is_useful(line: str, replaced: set[str]) -> bool:
    words = line.split()
    if not words or words[0] not in {"nameserver", "search", "domain", "options"} - replaced:
        return False
    if words[0] != "nameserver":
        return True
    return len(words) > 1 and not words[1].startswith(("127.", "::1"))
