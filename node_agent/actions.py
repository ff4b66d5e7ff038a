"""What an agent can do to a container, as data: each action has an allocation and a reason.

Pure. The union is closed, so that `match` with `assert_never` is checked.
"""

import msgspec

from shared.model import AllocId, Assignment


class Action(msgspec.Struct, frozen=True):
    """One idempotent change of one container."""

    id: AllocId
    reason: str


class Create(Action, frozen=True):
    """Fetch the image if need be, then make the container and, if `start`, run it."""

    assignment: Assignment
    start: bool = True


class Start(Action, frozen=True):
    """Run a container that was created or has exited."""


class Stop(Action, frozen=True):
    """End it: the stop signal, `grace_s` seconds, SIGKILL."""

    grace_s: float


class Remove(Action, frozen=True):
    """Remove everything of it."""


Step = Create | Start | Stop | Remove
