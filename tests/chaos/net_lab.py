"""Looks at a host of a lab, deletes things there, and says when all is as it was."""

import asyncio
import re
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.rig import STACK, Rig
from deploy.client import ApiClient
from deploy.lab import cgroups
from deploy.lab.plan import floating_address
from node_agent.network.address_book import link_name
from shared.errors import ConvergenceError, HostError
from shared.model import AllocId, Want
from tests.chaos.net_draw import Deletion
from tests.chaos.net_judge import LIMIT_S, Deleted
from tests.chaos.net_things import (
    ASKER,
    FILES,
    KINDS,
    RUN_DIR,
    SERVICE,
    Places,
    Thing,
    carried,
    things,
)

_LOOK_S: Final = 0.2
_SETTLE_S: Final = 30.0
# Everything of hafen's on a host that somebody can delete, containers' ends of links included.
_PICTURE: Final = f"""
for kind in veth bridge vxlan; do ip -br link show type $kind; done
ip -4 -br address show
ip -4 route show
ip neighbour show nud permanent
for pin in {RUN_DIR}/netns/*; do
    nsenter --net=$pin ip -4 -br address show dev eth0
    nsenter --net=$pin ip -4 route show
done
cd {RUN_DIR} && ls -d {" ".join(FILES)}
ss -Hltun | awk '{{ print $1, $2, $5 }}'
[ $(pgrep -cx haproxy) -ge 2 ] && echo HAProxy, master and worker
echo
nft list table inet hafen
echo
nft list table ip hafen_services
"""
_SILENT: Final = "HAProxy or the name server does not answer"
# What the kernel chooses by itself.
_CARRIER: Final = re.compile(
    r"@\S+|\blinkdown\b|\b(UP|DOWN|UNKNOWN|LOWERLAYERDOWN)\b|NO-CARRIER,|,?LOWER_UP|,?M-DOWN"
)


async def inside(rig: Rig, node: str, script: str) -> tuple[int, str]:
    """Run a shell script on a host; return its code and what it printed."""
    streams = {"stdin": DEVNULL, "stdout": PIPE, "stderr": DEVNULL}
    process = await rig.lab.run_in(node, ["sh", "-c", script], **streams)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


async def picture(rig: Rig, node: str) -> frozenset[str]:
    """Return all of a host that can be deleted, in parts that do not depend on each other's order.

    A part is a line, or a whole chain or set of nftables.
    """
    _, said = await inside(rig, node, _PICTURE)
    lines, _, rules = said.partition("\n\n")
    blocks = re.sub(r"table .* \{\n|\n\}", "", rules).split("\n\n")
    found = [" ".join(_CARRIER.sub("", line).split()) for line in lines.splitlines()]
    # Two lines that are the same are two things: a second program on a port of the first one's.
    counted = [f"{found.count(line)} x {line}" for line in found]
    silent = [] if await _answer(rig, node) else [_SILENT]
    return frozenset((*counted, *(block.strip() for block in blocks), *silent))


async def _answer(rig: Rig, node: str) -> bool:
    folder = rig.lab.paths.node_run(node) / "hafen"
    admin = await _asked(folder / "haproxy" / "admin.sock", b"show version\n")
    return bool(admin) and b'"serves":true' in await _asked(folder / "names" / "names.sock", b"")


async def _asked(path: Path, words: bytes) -> bytes:
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(words)
                writer.write_eof()
                return await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


async def places(rig: Rig) -> Places:
    """Return where everything is.

    Raises:
        ConvergenceError: nobody has the floating address for longer than it takes to move.
    """
    running = rig.state.assignments(STACK, Want.RUN)
    return Places(
        holder=await _holder(rig),
        asker=next(str(node) for node, each in running if each.service == ASKER),
        web=frozenset(str(node) for node, each in running if each.service == SERVICE),
        links={link_name(each.id): str(each.service) for _, each in running},
        subnets={f"198.19.{node.rpartition('-')[2]}.0/24": node for node in rig.lab.nodes},
        floating=floating_address(),
    )


async def _holder(rig: Rig) -> str:
    until_s = time.monotonic() + _SETTLE_S
    async with ApiClient.unix(rig.lab.api_socket(rig.lab.nodes[0])) as api:
        while time.monotonic() < until_s:
            for each in (await api.floating()).addresses:
                if each.address == floating_address() and each.holder and not each.problem:
                    return str(each.holder)
            await asyncio.sleep(_LOOK_S)
    raise ConvergenceError(f"nobody has {floating_address()}")


async def settled(rig: Rig) -> None:
    """Return once every host looks twice alike and the cluster lacks nothing.

    Raises:
        ConvergenceError: that does not come.
    """
    await rig.whole()
    for node in rig.lab.nodes:
        await _steady(rig, node)


async def _steady(rig: Rig, node: str) -> frozenset[str]:
    """Return how a host looks once it does so twice.

    Raises:
        ConvergenceError: that does not come.
    """
    until_s = time.monotonic() + _SETTLE_S
    before = frozenset[str]()
    while (now := await picture(rig, node)) != before or _SILENT in now:
        if time.monotonic() > until_s:
            raise ConvergenceError(f"{node} does not settle: {_difference(before, now)}")
        before = now
        await asyncio.sleep(_LOOK_S)
    return now


async def delete(rig: Rig, drawn: Deletion) -> Deleted:
    """Delete what was drawn, and wait until its host is as it was before, at most LIMIT_S.

    Raises:
        HostError: it cannot be deleted.
    """
    await rig.whole()
    there = await places(rig)
    node, thing = await _chosen(rig, drawn, there)
    before = await _steady(rig, node)
    at_s, began_s = time.time(), time.monotonic()  # noqa: TID251 - lined up with the load's
    code, _ = await inside(rig, node, thing.command)
    if code:
        raise HostError(f"{node}: {thing.command} ended with {code}")
    back_after_s, lacking, look_s = None, "", 0.0
    while back_after_s is None and time.monotonic() - began_s < LIMIT_S:
        await asyncio.sleep(_LOOK_S)
        looked_s = time.monotonic()
        now = await picture(rig, node)
        lacking = rig.state.lacking(rig.lab.nodes, STACK, rig.specs) or _difference(before, now)
        back_after_s = None if lacking else round(looked_s - began_s, 2)
        look_s = round(time.monotonic() - looked_s, 2)
    return Deleted(
        kind=drawn.kind,
        what=thing.what,
        node=node,
        at_s=at_s,
        back_after_s=back_after_s,
        look_s=look_s,
        lacking=lacking,
        carries=carried(thing, node, there),
    )


async def _chosen(rig: Rig, drawn: Deletion, there: Places) -> tuple[str, Thing]:
    for node in drawn.nodes:
        _, said = await inside(rig, node, KINDS[drawn.kind])
        if found := things(drawn.kind, said, there):
            return node, found[drawn.choose(len(found))]
    raise HostError(f"no host has any {drawn.kind}")


def _difference(before: frozenset[str], now: frozenset[str]) -> str:
    less, more = sorted(before - now), sorted(now - before)
    return "; ".join([*(f"- {each}" for each in less), *(f"+ {each}" for each in more)])


def as_asker(rig: Rig) -> Sequence[str]:
    """Return the command before one that shall run with the asking container's network and names.

    Raises:
        HostError: it does not run.
    """
    node, id_ = next(
        (node, each.id)
        for node, each in rig.state.assignments(STACK, Want.RUN)
        if each.service == ASKER
    )
    resolvers = rig.lab.paths.disk(node) / "containers" / id_ / "resolv.conf"
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return (
        *("nsenter", f"--net=/proc/{_pid(rig, node, id_)}/ns/net", "--"),
        *("unshare", "--mount", "--", "sh", "-c", script, str(resolvers)),
    )


def _pid(rig: Rig, node: str, id_: AllocId) -> int:
    """Return a container's first process, by the number that the machine knows it by."""
    own = (rig.lab.paths.node_run(node) / "hafen" / "containers" / id_ / "pid").read_text().strip()
    for pid in cgroups.processes(cgroups.find(f"{rig.lab.name}/{node}")):
        status = Path(f"/proc/{pid}/status").read_text()
        (line,) = [each for each in status.splitlines() if each.startswith("NSpid:")]
        if line.split()[2:] == [own, "1"]:
            return pid
    raise HostError(f"{id_} does not run on {node}")
