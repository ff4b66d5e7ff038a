"""What is said to HAProxy at run time, and what its answers mean.

Pure.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from node_agent.gateway.config import Served, port_of, server_name, state_of
from node_agent.gateway.slots import SlotState, Steps
from shared.model import AllocId

# HAProxy reads one line into one buffer of 16 KiB; a command has some 100 bytes.
COMMANDS_PER_LINE: Final = 50
LINE_CHARACTERS_MAX: Final = 15_000


def commands(served: Iterable[Served], steps: Steps) -> Iterator[str]:
    """Yield the commands that take the service's backends through `steps`, in order."""
    backends = [(name, each) for each in served for name in each.backends]
    # What becomes ready comes first: never a moment without a ready slot.
    for slot in sorted(steps.lead, key=lambda each: each.state is not SlotState.READY):
        for name, each in backends:
            server = f"{name}/{server_name(slot)}"
            yield f"set server {server} addr {slot.address} port {port_of(slot, each.port)}"
            yield f"set server {server} state {state_of(slot, each).value}"
    for slot in steps.set_state:
        for name, each in backends:
            state = state_of(slot, each).value
            yield f"set server {name}/{server_name(slot)} state {state}"


def lines(all_commands: Iterable[str]) -> Iterator[str]:
    """Yield lines of at most COMMANDS_PER_LINE commands and LINE_CHARACTERS_MAX characters."""
    batch: list[str] = []
    size = 0
    for command in all_commands:
        if batch and (len(batch) == COMMANDS_PER_LINE or size + len(command) > LINE_CHARACTERS_MAX):
            yield "; ".join(batch)
            batch, size = [], 0
        batch.append(command)
        size += len(command) + 2
    if batch:
        yield "; ".join(batch)


_COMPLAINTS: Final = ("No such", "Invalid", "Unknown command", "Require", "unsupported")


def complaint(answer: str) -> str:
    """Return the first line in which HAProxy refuses a command; empty if it refused none."""
    for line in answer.splitlines():
        if any(word in line for word in _COMPLAINTS):
            return line.strip()
    return ""


def draining(served: Iterable[Served]) -> dict[tuple[str, str], AllocId]:
    """Return (backend, server) of every slot that drains, with its allocation."""
    return {
        (name, server_name(slot)): slot.allocation
        for each in served
        for slot in each.draining
        for name in each.backends
    }


def ask_busy(slots: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield lines that ask for the servers' statistics of the slots' backends, and of no other.

    A worker that a reload has replaced answers only when asked by name.
    """
    return lines(f"show stat {backend} 4 -1" for backend in sorted({name for name, _ in slots}))


def busy(stat: str, slots: dict[tuple[str, str], AllocId]) -> tuple[AllocId, ...]:
    """Return the draining allocations that have requests in flight.

    Args:
        stat: answers to `show stat`, each CSV with a header that begins with "# ".
        slots: as draining() returns them.
    """
    columns: dict[str, int] = {}
    found: set[AllocId] = set()
    for row in stat.splitlines():
        if row.startswith("# "):
            names = row.removeprefix("# ").split(",")
            columns = {name: index for index, name in enumerate(names)}
        cells = row.split(",")
        if len(cells) < len(columns) or not columns:
            continue
        allocation = slots.get((cells[columns["pxname"]], cells[columns["svname"]]))
        if allocation is not None and int(cells[columns["scur"]] or 0) > 0:
            found.add(allocation)
    return tuple(sorted(found))


def old_workers(shown: str) -> tuple[int, ...]:
    """Return the workers that a reload has replaced and that are not done yet.

    Args:
        shown: the master's answer to `show proc`: a table in sections that begin with "# ".
    """
    section, found = "", []
    for line in shown.splitlines():
        if line.startswith("# "):
            section = line.removeprefix("# ").strip()
        elif section == "old workers" and line[:1].isdigit():
            found.append(int(line.split()[0]))
    return tuple(found)
