"""What people ask of a stack: deploy it, change what is deployed, rule on an update.

Pure.
"""

from collections.abc import Mapping

from shared.model import Network, Record, Revision, ServiceName, ServiceSpec, StackName


class StackUpload(Record, frozen=True, kw_only=True):
    """A stack to deploy, or to plan.

    Attributes:
        source: the Compose file as given.
        contents: of configs and secrets, by the name that `MountedFile.content` gives; base64 in
            JSON. Those that the cluster has already may be left out.
        after_generation: the generation that its author has seen, 0 for none: if it is another one
            by now, nothing is written. None: whatever there is.
        plan_id: of the plan that its author has seen: if it would be another one by now, nothing is
            written. Empty: whatever happens.
        needs_place: refuse it if a slot of it would have no node.
        networks: those that it makes.
    """

    services: tuple[ServiceSpec, ...]
    source: str = ""
    contents: Mapping[str, bytes] = {}
    after_generation: int | None = None
    plan_id: str = ""
    needs_place: bool = False
    networks: tuple[Network, ...] = ()


class Scale(Record, frozen=True, kw_only=True, tag_field="change", tag="scale"):
    """Run so many replicas of these services."""

    services: Mapping[ServiceName, int]


class Restart(Record, frozen=True, kw_only=True, tag_field="change", tag="restart"):
    """Replace every container of these services, as an update would; none named: of all."""

    services: tuple[ServiceName, ...] = ()


class Stop(Record, frozen=True, kw_only=True, tag_field="change", tag="stop"):
    """Keep these services and run nothing of them; none named: all."""

    services: tuple[ServiceName, ...] = ()


class Start(Record, frozen=True, kw_only=True, tag_field="change", tag="start"):
    """Run these services again; none named: all."""

    services: tuple[ServiceName, ...] = ()


class Rollback(Record, frozen=True, kw_only=True, tag_field="change", tag="rollback"):
    """Ask for exactly what a generation of the history asked for.

    None: the newest one that asked for something else than what is asked for now.
    """

    generation: int | None = None


class Promote(Record, frozen=True, kw_only=True, tag_field="change", tag="promote"):
    """Let the updates of these services that wait go on; none named: all that wait."""

    services: tuple[ServiceName, ...] = ()


class Abort(Record, frozen=True, kw_only=True, tag_field="change", tag="abort"):
    """Take the updates of these services back; none named: all that wait."""

    services: tuple[ServiceName, ...] = ()


Change = Scale | Restart | Stop | Start | Rollback | Promote | Abort


class ChangeRequest(Record, frozen=True, kw_only=True):
    """A change of a deployed stack. `after_generation` is as in StackUpload."""

    change: Change
    after_generation: int | None = None


class Accepted(Record, frozen=True, kw_only=True):
    """A change is durable. Progress counts from `revision`."""

    stack: StackName
    generation: int
    revision: Revision
