"""What stays although its service has changed: its assignment follows, its container does not.

Pure. Labels, names, networks and published ports are not inside a container: nobody replaces it for
them. Its assignment says what it is now all the same, for everybody who asks what it is called, on
which networks it is and which ports it has.
"""

from collections.abc import Mapping

from scheduler.allocs import Asked
from scheduler.draft import Draft
from scheduler.world import ServiceId
from shared.model import Assignment, Want, Workload, runs_alike


def follow(draft: Draft, asked: Mapping[ServiceId, Asked]) -> None:
    """Give every allocation that stays the workload that its slot, or its standby, should have.

    One that drains keeps what it has: it goes with the version that it is of.
    """
    changed: list[tuple[Assignment, Workload]] = []
    for held in draft.assignments.values():
        for one in held:
            service = asked.get((one.stack, one.service))
            workload = _wanted(service, one) if service is not None else None
            if workload is not None and _differs(one.workload, workload):
                changed.append((one, workload))
    for one, workload in changed:
        draft.follow(one.id, workload)


def _wanted(service: Asked, one: Assignment) -> Workload | None:
    if one.want is Want.STANDBY:
        spec = service.standby_spec
    elif one.want is Want.RUN:
        plan = service.slots.get(one.slot)
        spec = plan.spec if plan is not None else None
    else:
        return None
    return spec.workload if spec is not None else None


def _differs(one: Workload, other: Workload) -> bool:
    """Say whether two workloads differ only in what is not inside a container.

    What most often differs is compared first: in a quiet cluster nothing does, for all of it.
    """
    is_same = (
        one.ports == other.ports
        and one.networks == other.networks
        and one.labels == other.labels
        and one.pull is other.pull
    )
    return not is_same and runs_alike(one, other)
