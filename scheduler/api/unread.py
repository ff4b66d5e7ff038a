"""Stacks whose own record cannot be read: what to say of them, and what is still known.

Pure. Nobody knows what such a stack asks for, so the leader leaves what it runs as it is. Others'
deploys go on; its own writes the record anew, and a removal deletes it.
"""

from collections.abc import Iterator, Mapping

from scheduler.world import World
from shared import keys
from shared.errors import NotFoundError
from shared.model import StackName


def unread(name: str) -> str:
    """Return the sentence about a stack whose record cannot be read: what is so, what to do."""
    return (
        f"stack {name}: {keys.stack(StackName(name))} cannot be read, and nothing of it is placed, "
        f"moved or removed: deploy its file again, or remove it with `hafen rm {name}`"
    )


def is_unread(world: World, name: str) -> bool:
    """Say whether a stack's record is there and cannot be read."""
    return keys.stack(StackName(name)) in world.unreadable


def check_read(world: World, name: str) -> None:
    """Return if nothing is wrong with a stack's record, or there is none.

    Raises:
        NotFoundError: it cannot be read, and only it could tell what was asked.
    """
    if is_unread(world, name):
        raise NotFoundError(unread(name))


def all_unread(world: World) -> Mapping[StackName, str]:
    """Return the sentence about each stack whose record cannot be read."""
    return {name: unread(name) for name in unread_stacks(world)}


def unread_stacks(world: World) -> tuple[StackName, ...]:
    """Return the stacks whose record cannot be read, sorted."""
    return tuple(
        StackName(key.removeprefix(keys.STACKS))
        for key in sorted(world.unreadable)
        if key.startswith(keys.STACKS)
    )


def newest(world: World, name: StackName) -> int:
    """Return the newest generation that anything but a stack's own record knows of; 0: nothing."""
    return max(_generations(world, name), default=0)


def _generations(world: World, name: StackName) -> Iterator[int]:
    for node in world.nodes.values():
        yield from (one.generation for one in node.assignments if one.stack == name)
    for (stack, _), state in world.rollouts.items():
        if stack == name:
            yield state.rollout.generation
