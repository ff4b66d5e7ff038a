"""What a change would do, and what the changes before it did.

Pure.
"""

import enum

from shared.model import NodeName, Record, ServiceName, StackName


class Happening(enum.StrEnum):
    """What becomes of a service."""

    CREATE = "create"
    UPDATE = "update"  # its containers are replaced, or only what is said of it changes
    RESTART = "restart"  # its containers are replaced by others of the same kind
    SCALE = "scale"
    MOVE = "move"  # its containers go elsewhere
    STOP = "stop"
    START = "start"
    REMOVE = "remove"
    NONE = "none"


class FieldChange(Record, frozen=True, kw_only=True):
    """One field of a service's record that differs; empty: it was not there, or is not any more.

    Attributes:
        path: such as workload.environment.MODE.
        before, after: as text; what looks like a secret is hidden.
    """

    path: str
    before: str = ""
    after: str = ""


class ServiceChange(Record, frozen=True, kw_only=True):
    """What becomes of one service, field by field."""

    service: ServiceName
    what: Happening
    fields: tuple[FieldChange, ...] = ()


class Move(enum.StrEnum):
    """What happens in one slot."""

    START = "start"
    REPLACE = "replace"
    STOP = "stop"


class SlotStep(Record, frozen=True, kw_only=True):
    """What happens in one slot, in the order in which it would.

    Attributes:
        slot: 0 for a standby.
        node: where the new container goes; of a stop: where the old one is.
        allocation: what is replaced or stopped; empty: nothing is.
        from_node: where that is.
    """

    service: ServiceName
    slot: int
    move: Move
    node: NodeName
    allocation: str = ""
    from_node: NodeName = NodeName("")

    @property
    def sentence(self) -> str:
        """Return it as people read it, such as "web 1: start on node-2"."""
        whose = f"{self.service} {self.slot or 'standby'}"
        match self.move:
            case Move.START:
                return f"{whose}: start on {self.node}"
            case Move.REPLACE:
                there = f"{self.allocation} on {self.from_node}"
                return f"{whose}: replace {there} by one on {self.node}"
            case Move.STOP:
                return f"{whose}: stop {self.allocation} on {self.node}"


class PlanView(Record, frozen=True, kw_only=True):
    """What a deploy would do, were every container to start well.

    Attributes:
        plan_id: of all of this and what it is based on; `StackUpload.plan_id` takes it.
        generation: of the stack that it is based on; 0: there is none.
        networks: what becomes of those that the stack makes.
        steps: slot by slot.
        more: so many slots follow that were not worked out one by one.
        refusals: why slots have no node, one sentence each: it cannot be.
        warnings: what a person should know, one sentence each.
    """

    plan_id: str
    stack: StackName
    generation: int
    services: tuple[ServiceChange, ...]
    steps: tuple[SlotStep, ...] = ()
    more: int = 0
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    networks: tuple[FieldChange, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Say whether nothing would change."""
        is_same = all(one.what is Happening.NONE for one in self.services)
        return is_same and not self.steps and not self.networks


class GenerationView(Record, frozen=True, kw_only=True):
    """One deploy of a stack, or one change of it.

    Attributes:
        why: the command that made it.
        services: what became of them, against the generation before; none in the oldest one known.
        networks: what became of those that the stack makes, likewise.
        is_current: it is what is asked for now.
        is_stable: it is what ran whole the last time.
    """

    generation: int
    at_s: float
    why: str
    services: tuple[ServiceChange, ...] = ()
    is_current: bool = False
    is_stable: bool = False
    networks: tuple[FieldChange, ...] = ()


class HistoryView(Record, frozen=True, kw_only=True):
    """A stack's generations, the newest first."""

    stack: StackName
    generations: tuple[GenerationView, ...]


class Fact(Record, frozen=True, kw_only=True):
    """One line of an explanation; `about` is a word such as placed, node or waits."""

    about: str
    sentence: str


class WhyView(Record, frozen=True, kw_only=True):
    """Why an allocation or a service is as it is."""

    subject: str
    facts: tuple[Fact, ...]
