"""How one version of a service differs from the next, and in which order one can replace the other.

Pure.
"""

from shared.model import MountKind, Order, Rollout, ServiceSpec, UpdatePolicy, runs_alike


def is_alike(one: ServiceSpec, other: ServiceSpec) -> bool:
    """Say whether what runs for one version is as good for the other, wherever it runs.

    Another number of replicas, other labels or another way to update replace nothing.
    """
    return (
        one.mode is other.mode
        and one.placement.constraints == other.placement.constraints
        and runs_alike(one.workload, other.workload)
    )


def policy_of(rollout: Rollout) -> UpdatePolicy:
    """Return how the version in hand is brought about: going back has rules of its own."""
    spec = rollout.target
    return spec.rollback if rollout.is_back else spec.update


def order_of(spec: ServiceSpec) -> Order:
    """Return which goes first: the new copy, unless the two would be in each other's way.

    Going back has the same order: what forbids two copies forbids them both ways.
    """
    if spec.update.order is not None:
        return spec.update.order
    return Order.STOP_FIRST if forbids_two(spec) else Order.START_FIRST


def forbids_two(spec: ServiceSpec) -> bool:
    """Say whether two copies of a slot would write to one volume or have one fixed address."""
    if any(joined.address for joined in spec.workload.networks):
        return True
    return any(
        mount.kind is MountKind.VOLUME and mount.source and not mount.read_only
        for mount in spec.workload.mounts
    )


def is_canary(rollout: Rollout) -> bool:
    """Say whether only the canaries may have the new version so far."""
    return (
        bool(rollout.target.update.canary)
        and rollout.stable is not None
        and not rollout.is_promoted
        and not rollout.is_back
        and not rollout.target.is_stopped
        and not is_alike(rollout.stable, rollout.target)
    )
