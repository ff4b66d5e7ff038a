"""What the API answers about what is: services, allocations, how far a change is, logs.

Pure.
"""

import enum
from collections.abc import Mapping

from shared.api.floating import FloatingView
from shared.api.nodes import NodeView
from shared.model import (
    AllocId,
    Health,
    NodeName,
    Record,
    Revision,
    ServiceName,
    StackName,
)
from shared.states import AllocState


class ErrorBody(Record, frozen=True, kw_only=True):
    """A refusal: `error` is the class in shared.errors, `message` its one line for a person."""

    error: str
    message: str


class EtcdMemberView(Record, frozen=True, kw_only=True):
    """An etcd member.

    Attributes:
        problem: why it does not answer, or what it complains of.
        answers: itself, if only to complain.
    """

    endpoint: str
    problem: str = ""
    answers: bool = True
    version: str = ""
    leader: bool = False


class SlotView(Record, frozen=True, kw_only=True):
    """One allocation of a service that is being changed, as a line of its progress.

    Attributes:
        version: "new" if it runs what is asked for now, else "old"; "" for what is on its way out
            and in no manifest any more.
        state: in one word, with its health while it runs.
    """

    slot: int
    node: NodeName
    allocation: AllocId
    version: str
    state: str


class ServiceView(Record, frozen=True, kw_only=True):
    """One service: how many replicas are asked for and ready, and what is in the way.

    Attributes:
        stopped: nothing of it runs until a person starts it again.
        phase: of its newest rollout, see model.RolloutPhase; empty: it has had none yet.
        reason: why that does not go on, or went back.
        slots: one by one; only while a change is followed.
        standby: how many standbys are asked for.
        prepared: how many of them are made and only need to be started.
        exclusive: at most one copy of it runs.
        holder: of an exclusive service: the node that may run it; empty: nobody may now.
        epoch: of the placement that holds, or held last; 0: none has yet.
    """

    stack: StackName
    service: ServiceName
    image: str
    replicas: int
    ready: int
    updated: int
    ports: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    standby: int = 0
    prepared: int = 0
    exclusive: bool = False
    holder: NodeName = NodeName("")
    epoch: int = 0
    stopped: bool = False
    phase: str = ""
    reason: str = ""
    slots: tuple[SlotView, ...] = ()


class ServiceList(Record, frozen=True, kw_only=True):
    """Services, sorted by stack and name.

    Attributes:
        unread: the stacks whose record cannot be read, each with a sentence: what to do.
    """

    services: tuple[ServiceView, ...]
    unread: Mapping[StackName, str] = {}


class ClusterView(Record, frozen=True, kw_only=True):
    """The cluster at a glance.

    Attributes:
        etcd_reachable: False: what follows is the last that was seen; no change is accepted now.
        leader: empty: nobody leads at the moment.
        revision: of the view.
        members: of etcd, as they answered some seconds ago at most.
        age_s: since etcd last answered this replica: so old may what follows be.
        leaderless_s: since when nobody leads, as this replica sees it.
        services: with what is in their way, except why slots have no node: that takes long to say.
        outages: what does not work now, one sentence each.
        floating: the floating addresses.
        unread: the stacks whose record cannot be read, each with a sentence: what to do.
    """

    etcd_reachable: bool
    leader: NodeName
    revision: Revision
    nodes: tuple[NodeView, ...]
    stacks: int
    replicas_wanted: int
    replicas_ready: int
    members: tuple[EtcdMemberView, ...] = ()
    age_s: float = 0.0
    leaderless_s: float = 0.0
    services: tuple[ServiceView, ...] = ()
    outages: tuple[str, ...] = ()
    floating: tuple[FloatingView, ...] = ()
    unread: Mapping[StackName, str] = {}


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"  # it works, and will not when more breaks
    FAIL = "fail"  # a promise is not kept now


class Finding(Record, frozen=True, kw_only=True):
    """One line of `hafen doctor`: where, what is so, what to do."""

    level: Level
    where: str
    what: str
    advice: str


class Diagnosis(Record, frozen=True, kw_only=True):
    """All findings; one of level ok when there is nothing to say."""

    findings: tuple[Finding, ...]


class AllocationView(Record, frozen=True, kw_only=True):
    """One allocation with what its node says of it.

    Attributes:
        standby: it is kept made but not started; once it has an address it is prepared.
        epoch: of an exclusive one: its placement's; 0 for all others.
        exit_code: of its last end; None: it never ended.
    """

    id: AllocId
    stack: StackName
    service: ServiceName
    slot: int
    node: NodeName
    image: str
    state: AllocState
    health: Health
    draining: bool = False
    standby: bool = False
    epoch: int = 0
    address: str = ""
    reason: str = ""
    restarts: int = 0
    since_s: float = 0.0
    exit_code: int | None = None


class AllocationList(Record, frozen=True, kw_only=True):
    """Allocations, sorted by stack, service, slot, id."""

    allocations: tuple[AllocationView, ...]


class VolumeView(Record, frozen=True, kw_only=True):
    """A named volume's data on one node.

    Attributes:
        stack: whose deploy made it; empty: no record knows of this data.
        used_by: services as <stack>.<service>.
        is_leaving: a person removed it; it is listed until its node has removed the data.
        problem: what a person should know, one sentence; empty where all is well.
    """

    name: str
    stack: StackName
    node: NodeName
    used_by: tuple[str, ...] = ()
    is_leaving: bool = False
    problem: str = ""


class VolumeList(Record, frozen=True, kw_only=True):
    """Named volumes, sorted by name and node: one for each node that has data of the name."""

    volumes: tuple[VolumeView, ...]


class StackProgress(Record, frozen=True, kw_only=True):
    """How far a change is.

    Attributes:
        done: nothing will happen any more by itself: all is as asked for, or each service's phase
            says how its change ended, or for whose word it waits.
        blocked: what a person must mend before it can go on, one sentence each; empty: it goes on.
    """

    stack: StackName
    generation: int
    services: tuple[ServiceView, ...]
    done: bool
    blocked: tuple[str, ...] = ()


class LogEntry(Record, frozen=True, kw_only=True):
    """One line of a container's output.

    Attributes:
        at: RFC 3339.
        stream: stdout, stderr, or hafen for a remark of ours.
    """

    allocation: AllocId
    node: NodeName
    at: str
    stream: str
    text: str
