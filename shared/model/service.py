"""What a person asked for: services, how they change, and the stack that they make.

Pure.
"""

import enum
from collections.abc import Mapping

from shared.model.base import NodeName, Record, ServiceName, StackName
from shared.model.network import Affinity, EndpointMode, Network
from shared.model.traffic import HttpRoute, Traffic
from shared.model.workload import Workload


class Constraint(Record, frozen=True, kw_only=True):
    """A label, or `node.hostname`/`node.id`, that must (or must not) have a value."""

    key: str
    value: str
    equal: bool = True


class Placement(Record, frozen=True, kw_only=True):
    """Where replicas may go.

    `spread` names labels over whose values they are spread, most important first.
    """

    constraints: tuple[Constraint, ...] = ()
    spread: tuple[str, ...] = ()
    max_replicas_per_node: int = 0  # 0: no limit


class Mode(enum.StrEnum):
    """How many copies there are, and whether they end."""

    REPLICATED = "replicated"
    GLOBAL = "global"  # one on every node that meets the constraints
    REPLICATED_JOB = "replicated-job"  # `replicas` copies run to their end
    GLOBAL_JOB = "global-job"

    @property
    def is_global(self) -> bool:
        """Say whether the nodes decide how many copies there are."""
        return self in {Mode.GLOBAL, Mode.GLOBAL_JOB}

    @property
    def is_job(self) -> bool:
        """Say whether a copy that has ended well is done."""
        return self in {Mode.REPLICATED_JOB, Mode.GLOBAL_JOB}


class Order(enum.StrEnum):
    """Which goes first when a copy is replaced."""

    START_FIRST = "start-first"
    STOP_FIRST = "stop-first"


class FailureAction(enum.StrEnum):
    """What becomes of an update whose new copies fail."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    CONTINUE = "continue"


class UpdatePolicy(Record, frozen=True, kw_only=True):
    """How a service gets from one version to the next.

    Attributes:
        parallelism: how many slots may be between old and new at a time; 0: all.
        delay_s: between a slot that is through and the next.
        monitor_s: how long a new copy must have been ready, without requests, before it takes over;
            and how long the last one is watched before the update is done.
        max_failure_ratio: of the slots, how many may fail before `failure_action`.
        order: None: start-first, unless something of the service forbids two copies.
        progress_deadline_s: an update in which no slot gets further for this long has failed.
        canary: so many slots are updated first, then a person says how it goes on; 0: none.
        auto_promote_s: after so long with all canaries well it goes on by itself; None: never.
    """

    parallelism: int = 1
    delay_s: float = 0.0
    failure_action: FailureAction = FailureAction.ROLLBACK
    monitor_s: float = 5.0
    max_failure_ratio: float = 0.0
    order: Order | None = None
    progress_deadline_s: float = 600.0
    canary: int = 0
    auto_promote_s: float | None = None


class DependsOn(enum.StrEnum):
    """What a service waits for in another one."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class Dependency(Record, frozen=True, kw_only=True):
    """Another service of the stack that is first, on the first deploy and on every update.

    Attributes:
        restart: this service is restarted when the other one is updated.
    """

    service: ServiceName
    condition: DependsOn = DependsOn.STARTED
    restart: bool = False


class Overlap(enum.StrEnum):
    """What becomes of a scheduled run that is due while the one before still runs."""

    SKIP = "skip"
    REPLACE = "replace"


class Schedule(Record, frozen=True, kw_only=True):
    """When a job runs: five cron fields, in a time zone of the IANA database."""

    cron: str
    timezone: str = "UTC"
    overlap: Overlap = Overlap.SKIP


class ServiceSpec(Record, frozen=True, kw_only=True):
    """One service of a stack, normalised.

    Attributes:
        replicas: of a global service without meaning.
        standby: containers that are kept made but not started, on nodes without a replica.
        labels: of the service; its containers' are in the workload.
        max_concurrent: of a replicated job, how many copies run at a time; 0: all.
        schedule: of a job; None: it runs once for each version of it.
        is_stopped: it is kept, and nothing of it runs.
        endpoint_mode: what its name leads to on its networks.
        affinity: of clients, by its virtual address, by published ports and routes.
        routes: HTTP requests that go to it, by host and path.
        traffic: how gateways treat its requests.
    """

    name: ServiceName
    workload: Workload
    mode: Mode = Mode.REPLICATED
    replicas: int = 1
    placement: Placement = Placement()
    standby: int = 0
    update: UpdatePolicy = UpdatePolicy()
    rollback: UpdatePolicy = UpdatePolicy()
    depends_on: tuple[Dependency, ...] = ()
    labels: Mapping[str, str] = {}
    max_concurrent: int = 0
    schedule: Schedule | None = None
    is_stopped: bool = False
    endpoint_mode: EndpointMode = EndpointMode.VIP
    affinity: Affinity = Affinity.NONE
    routes: tuple[HttpRoute, ...] = ()
    traffic: Traffic = Traffic()


class Verb(enum.StrEnum):
    """What a person says to an update that waits."""

    PROMOTE = "promote"
    ABORT = "abort"


class Ruling(Record, frozen=True, kw_only=True):
    """A person's word on the update that a service has in hand since a generation.

    `number` counts the words on one service: each is heard once.
    """

    verb: Verb
    generation: int
    number: int = 1


class Stack(Record, frozen=True, kw_only=True):
    """One deployed Compose file. Key: stacks/<stack>. Writer: the API.

    Attributes:
        generation: counts deploys of this stack, from 1.
        source: the Compose file as given, for people.
        deployed_at_s: wall clock of the API replica, for display only.
        why: which command made this generation, for the history.
        rulings: by service, the newest word on its update.
        networks: those that its file makes; services may be on others' as well.
    """

    name: StackName
    generation: int
    services: tuple[ServiceSpec, ...]
    source: str = ""
    deployed_at_s: float = 0.0
    why: str = ""
    rulings: Mapping[ServiceName, Ruling] = {}
    networks: tuple[Network, ...] = ()


class Content(Record, frozen=True, kw_only=True):
    """A config's or a secret's content, sealed with the cluster's key.

    Key: contents/<stack>/<name>/<digest>. Writer: the API, together with the stack that names it.

    Attributes:
        sealed: nonce and ciphertext, AES-256-GCM; the key in etcd is authenticated with it.
    """

    sealed: bytes


class Volume(Record, frozen=True, kw_only=True):
    """A named volume and the node that has its data. Key: volumes/<name>. Writer: the leader.

    Attributes:
        is_leaving: a person removed it; the record goes once its node has removed the data.
    """

    name: str
    node: NodeName
    stack: StackName
    is_leaving: bool = False


class Removal(Record, frozen=True, kw_only=True):
    """A person wants a volume gone. Key: removals/<name>. Writer: the API; the leader ends it.

    Attributes:
        at_s: wall clock of the API replica, for display only.
        given_up: the node whose data no longer counts, whatever it reports: nothing is removed
            there. Empty: the volume's node removes the data.
    """

    name: str
    at_s: float = 0.0
    given_up: NodeName = NodeName("")
