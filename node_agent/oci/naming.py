"""What a container calls itself and others: host name, /etc/hosts, /etc/resolv.conf.

Pure.
"""

from typing import Final

from shared.errors import RuntimeFailureError
from shared.model import Assignment, Naming

_HOSTNAME_MAX: Final = 63
_GATEWAY: Final = "host-gateway"
_NOWHERE_ELSE: Final = "127.0.1.1"


def hostname(assignment: Assignment) -> str:
    """Return the container's host name, such as web-1."""
    given = assignment.workload.naming.hostname
    return given or f"{assignment.service}-{assignment.slot}"[-_HOSTNAME_MAX:].lstrip("-.")


def hosts_file(name: str, address: str, naming: Naming = Naming(), gateway: str = "") -> str:  # noqa: B008 - frozen
    """Return the text of /etc/hosts.

    Args:
        name: the container's own.
        address: its own; empty: it has none, and finds itself on loopback.
        naming: its domain, and the others that it is told.
        gateway: the address of its node.

    Raises:
        RuntimeFailureError: an entry that is none.
    """
    names = f"{name}.{naming.domainname} {name}" if naming.domainname else name
    own = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    own += f"{address or _NOWHERE_ELSE}\t{names}\n"
    return own + "".join(_extra(entry, gateway) for entry in naming.extra_hosts)


def _extra(entry: str, gateway: str) -> str:
    name, _, address = entry.partition("=")
    if not name or not address or len(entry.split()) != 1:
        raise RuntimeFailureError(f"extra host {entry!r}: write name=address")
    if address == _GATEWAY and not gateway:
        raise RuntimeFailureError(f"extra host {entry!r}: this node's address is not known")
    return f"{gateway if address == _GATEWAY else address}\t{name}\n"


def resolv_conf(
    host_text: str,
    nameservers: tuple[str, ...],
    naming: Naming = Naming(),  # noqa: B008 - frozen
    *,
    loopback: bool = False,
) -> str:
    """Return the text of /etc/resolv.conf.

    Args:
        host_text: the host's own file. Its servers on loopback are left out: in the container's
            network namespace nobody listens there.
        nameservers: addresses that replace the host's; empty keeps those.
        naming: what the service says, before both.
        loopback: the container has the host's network namespace, and its servers there.
    """
    servers = naming.dns or nameservers
    given = [f"nameserver {address}" for address in servers]
    replaced = {"nameserver"} if servers else set()
    if naming.dns_search:
        given.append(" ".join(("search", *naming.dns_search)))
        replaced |= {"search", "domain"}
    if naming.dns_options:
        given.append(" ".join(("options", *naming.dns_options)))
        replaced.add("options")
    kept = [
        line for line in host_text.splitlines() if _is_useful(line, replaced, loopback=loopback)
    ]
    return "".join(f"{line}\n" for line in [*given, *kept])


def _is_useful(line: str, replaced: set[str], *, loopback: bool) -> bool:
    words = line.split()
    if not words or words[0] not in {"nameserver", "search", "domain", "options"} - replaced:
        return False
    if words[0] != "nameserver":
        return True
    return len(words) > 1 and (loopback or not words[1].startswith(("127.", "::1")))
