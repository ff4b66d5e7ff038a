"""The etcd members of a lab: which answers, which leads; and making one lead."""

from asyncio.subprocess import DEVNULL, PIPE, Process

import msgspec

from deploy.lab.lab import Lab
from deploy.lab.plan import CLIENT
from shared.errors import ConvergenceError
from shared.settings import ETCD_CLIENT_PORT


class _Header(msgspec.Struct, frozen=True):
    member_id: int
    raft_term: int


class _Status(msgspec.Struct, frozen=True):
    header: _Header
    leader: int = 0


class _Member(msgspec.Struct, frozen=True):
    """One member as etcdctl prints it."""

    endpoint: str = msgspec.field(name="Endpoint")
    status: _Status = msgspec.field(name="Status")


async def end(process: Process) -> None:
    """Kill a program that still runs, and wait for it."""
    if process.returncode is None:
        process.kill()
        await process.wait()


async def status(lab: Lab) -> dict[str, bool]:
    """Return the etcd members that answer, and whether each leads."""
    by_address = {lab.address(node): node for node in lab.nodes}
    return {
        by_address[each.endpoint.partition(":")[0]]: (
            each.status.leader == each.status.header.member_id
        )
        for each in await _statuses(lab)
    }


async def term(lab: Lab) -> int:
    """Return the number of etcd's term: it grows with every election, won or not.

    Raises:
        ConvergenceError: no member answers.
    """
    terms = [each.status.header.raft_term for each in await _statuses(lab)]
    if not terms:
        raise ConvergenceError("no member of etcd answers")
    return max(terms)


async def leader(lab: Lab) -> str:
    """Return the host whose member leads.

    Raises:
        ConvergenceError: none does.
    """
    leaders = [node for node, leads in (await status(lab)).items() if leads]
    if not leaders:
        raise ConvergenceError("etcd has no leader")
    return leaders[0]


async def move(lab: Lab, node: str) -> None:
    """Make a host's member the leader; the others follow at once."""
    now = await leader(lab)
    if now == node:
        return
    wanted = lab.address(node)
    ids = [
        each.status.header.member_id
        for each in await _statuses(lab)
        if each.endpoint.startswith(wanted + ":")
    ]
    if not ids:
        raise ConvergenceError(f"etcd on {node} does not answer")
    await _etcdctl(lab, now, "move-leader", f"{ids[0]:x}")


async def _statuses(lab: Lab) -> list[_Member]:
    out = await _etcdctl(lab, None, "endpoint", "status", "--write-out=json")
    return msgspec.json.decode(out or b"[]", type=list[_Member])


async def _etcdctl(lab: Lab, node: str | None, *words: str) -> bytes:
    hosts = [h for h in (await lab.status()).hosts if h.member]
    addresses = [h.address for h in hosts if node is None or h.name == node]
    pki = lab.paths.pki
    argv = [
        *("etcdctl", "--dial-timeout=500ms", "--command-timeout=1s"),
        f"--endpoints={','.join(f'https://{each}:{ETCD_CLIENT_PORT}' for each in addresses)}",
        f"--cacert={pki / 'ca.crt'}",
        *(f"--cert={pki / 'operator.crt'}", f"--key={pki / 'operator.key'}"),
        *words,
    ]
    process = await lab.run_in(CLIENT, argv, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    try:
        out, _ = await process.communicate()
    finally:
        await end(process)
    return out.replace(b"https://", b"")
