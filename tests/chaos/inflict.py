"""Breaks things in a lab as drawn, and mends all of it."""

import asyncio
import signal
import sys
from collections.abc import Sequence

import msgspec

from bench import members
from bench.rig import STACK, Rig
from deploy.lab.programs import Program
from shared.errors import HostError
from shared.model import Want
from tests.chaos.draw import Fault


async def arranged(rig: Rig, faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return the faults with every host named: for `all-in-one` everything is brought together."""
    found = []
    for fault in faults:
        node = fault.node or await _all_in_one(rig)
        found.append(msgspec.structs.replace(fault, node=node))
    return tuple(found)


async def _all_in_one(rig: Rig) -> str:
    has_member = await members.status(rig.lab)
    running = rig.state.assignments(STACK, Want.RUN)
    exclusive = [node for node, each in running if each.workload.exclusive]
    node = next((node for node in exclusive if node in has_member), min(has_member))
    await members.move(rig.lab, node)
    await rig.lead(node)
    return node


async def inflict(rig: Rig, faults: Sequence[Fault]) -> None:
    """Let all faults happen and be mended, each at its time."""
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(_one(rig, fault))


async def _one(rig: Rig, fault: Fault) -> None:
    await asyncio.sleep(fault.after_s)
    await _break(rig, fault)
    await asyncio.sleep(fault.seconds)
    await _mend(rig, fault)


async def _break(rig: Rig, fault: Fault) -> None:
    match fault.kind:
        case "vanish" | "all-in-one":
            await rig.lab.kill(fault.node)
        case "cut":
            await rig.lab.cut(fault.node)
        case "one-way":
            await rig.lab.cut(fault.node, way=fault.way, sender=fault.sender)
        case "stop":
            _signal(rig, fault, signal.SIGSTOP)
        case "crash":
            _signal(rig, fault, signal.SIGKILL)
        case _:
            await asyncio.to_thread(rig.lab.fill, fault.node)


async def _mend(rig: Rig, fault: Fault) -> None:
    match fault.kind:
        case "vanish" | "all-in-one":
            await rig.lab.boot(fault.node)
        case "cut" | "one-way":
            await rig.lab.heal(fault.node)
        case "stop":
            _signal(rig, fault, signal.SIGCONT)
        case "crash":
            return  # its supervisor starts it again
        case _:
            rig.lab.free(fault.node)


def _signal(rig: Rig, fault: Fault, number: signal.Signals) -> None:
    program = fault.program
    # Five hosts have three members of etcd: elsewhere the agent is stopped in its place.
    if program is Program.ETCD and fault.node not in rig.member_nodes:
        program = Program.AGENT
    assert program is not None
    try:
        rig.lab.signal(fault.node, program, number)
    except HostError as error:
        # It has just ended and is being started again, which is a crash of its own making.
        sys.stderr.write(f"  {error}\n")
