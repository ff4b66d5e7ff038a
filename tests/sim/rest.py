"""What a cluster at rest looks like: exactly what was deployed, everywhere, and nothing else.

Each function returns the first thing that is not so, in words; "" means: all is well.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from node_agent.runtime import Container, Phase
from shared import codec, keys
from shared.model import (
    Assignment,
    Claim,
    EndpointState,
    Health,
    Manifest,
    NodeName,
    Report,
    Rollout,
    Routes,
    ServiceName,
    ServiceSpec,
    Stack,
    StackName,
    Want,
)
from shared.states import AllocState
from shared.store import exactly, under
from tests.sim.cluster import SimCluster
from tests.sim.host import SimHost
from tests.sim.stacks import BAD

# Stack, service, slot, image.
Slot = tuple[StackName, ServiceName, int, str]


class _Found(msgspec.Struct, frozen=True):
    host: SimHost
    assignment: Assignment
    container: Container


def complaint(cluster: SimCluster) -> str:
    """Return why the cluster is not at rest."""
    manifests = _manifests(cluster)
    asked = {node: {a.id: a for a in each.assignments} for node, each in manifests.items()}
    for host in cluster.hosts:
        strangers = {c.id for c in host.containers()} - asked[host.name].keys()
        if host.is_on and strangers:
            return f"{host.name} has {sorted(strangers)}, which nobody asked for"
    found = [
        _Found(host, asked[host.name][container.id], container)
        for host in cluster.hosts
        if host.is_on
        for container in host.containers()
    ]
    reports = _reports(cluster)
    return (
        _is_updated(cluster)
        or _runs(cluster, found)
        or _stands_by(cluster, found)
        or _is_prepared(manifests, reports)
        or _is_reported(reports, found)
        or _is_routed(cluster)
        or _is_let_in(cluster, found)
        or _is_claimed(cluster, found)
        or cluster.answers.complaint()
        or _is_calm(cluster)
        or _is_seen(cluster)
    )


def _manifests(cluster: SimCluster) -> Mapping[NodeName, Manifest]:
    items = cluster.server.list(under(keys.DESIRED)).items
    found = [codec.decode(Manifest, item.value, item.key) for item in items]
    empty = {host.name: Manifest(node=host.name, generation=0) for host in cluster.hosts}
    return empty | {each.node: each for each in found}


def _reports(cluster: SimCluster) -> Sequence[Report]:
    items = cluster.server.list(under(keys.OBSERVED)).items
    return [codec.decode(Report, item.value, item.key) for item in items]


def rollouts(cluster: SimCluster) -> Sequence[Rollout]:
    """Return the records of all updates."""
    items = cluster.server.list(under(keys.ROLLOUTS)).items
    return [codec.decode(Rollout, item.value, item.key) for item in items]


def _is_updated(cluster: SimCluster) -> str:
    """Say which update is not through; one may have gone back, and then says why."""
    found = {(each.stack, each.service): each for each in rollouts(cluster)}
    for stack in cluster.stacks.values():
        for asked in stack.services:
            update = found.pop((stack.name, asked.name), None)
            if update is None or update.target != asked or not update.is_settled:
                return f"the update of {asked.name} is {update}"
            if update.is_back and not update.reason:
                return f"{asked.name} went back and nobody knows why"
            if update.spec.workload.image in BAD:
                return f"{asked.name} came to rest with {update.spec.workload.image}"
    return f"updates of nothing: {sorted(found)}" if found else ""


def _services(cluster: SimCluster) -> Iterator[tuple[Stack, ServiceSpec]]:
    """Yield what should run: the version that every update has come to."""
    return ((cluster.stacks[each.stack], each.spec) for each in rollouts(cluster))


def _runs(cluster: SimCluster, found: list[_Found]) -> str:
    wanted: Counter[Slot] = Counter(
        (stack.name, service.name, slot, service.workload.image)
        for stack, service in _services(cluster)
        for slot in range(1, service.replicas + 1)
    )
    runs: Counter[Slot] = Counter(
        (a.stack, a.service, a.slot, a.workload.image)
        for a in (each.assignment for each in found if each.container.phase is Phase.RUNNING)
    )
    missing, extra = sorted((wanted - runs).elements()), sorted((runs - wanted).elements())
    if missing or extra:
        return f"missing {missing}, too many {extra}"
    return ""


def _stands_by(cluster: SimCluster, found: list[_Found]) -> str:
    hosts = sum(host.is_on for host in cluster.hosts)
    for stack, service in _services(cluster):
        ours = [
            each
            for each in found
            if (each.assignment.stack, each.assignment.service) == (stack.name, service.name)
        ]
        busy = {each.host.name for each in ours if each.container.phase is Phase.RUNNING}
        standing = [
            each.host.name
            for each in ours
            if each.assignment.want is Want.STANDBY and each.container.phase is Phase.CREATED
        ]
        wanted = min(service.standby, hosts - len(busy))
        if len(standing) != wanted or set(standing) & busy:
            return f"{service.name}: stands by on {standing}, runs on {sorted(busy)}"
    return ""


def _is_prepared(manifests: Mapping[NodeName, Manifest], reports: Sequence[Report]) -> str:
    for report in reports:
        wanted = manifests[report.node].images
        if sorted(report.images) != sorted(wanted):
            return f"{report.node} has {report.images} ready instead of {wanted}"
    return ""


def _is_reported(reports: Sequence[Report], found: list[_Found]) -> str:
    found_wrong = {each.node: (*each.problems, *each.floating.values()) for each in reports}
    problems = {node: wrong for node, wrong in found_wrong.items() if wrong}
    if problems:
        return f"problems: {problems}"
    ready = {
        status.id
        for report in reports
        for status in report.allocations
        if status.state is AllocState.RUNNING and status.health is Health.HEALTHY
    }
    running = {each.container.id for each in found if each.container.phase is Phase.RUNNING}
    return "" if ready == running else f"{sorted(running)} run, {sorted(ready)} are ready"


def _is_routed(cluster: SimCluster) -> str:
    for stack, service in _services(cluster):
        for host in cluster.hosts:
            leads_to = host.gateway.leads_to(f"{stack.name}.{service.name}")
            if service.workload.ports and host.is_on and len(leads_to) != service.replicas:
                return f"{service.name} on {host.name} leads to {sorted(leads_to)}"
    return ""


def _is_let_in(cluster: SimCluster, found: list[_Found]) -> str:
    """Say which container other nodes do not know by what it really has, or know wrongly."""
    routes = [
        codec.decode(Routes, item.value, item.key)
        for item in cluster.server.list(under(keys.ROUTES)).items
    ]
    services = [one for each in routes for one in each.services if one.networks]
    if any(not service.vip for service in services):
        return f"no virtual address: {services}"
    listed = {
        (one.node, one.allocation, one.address, one.slot, one.state)
        for service in services
        for one in service.endpoints
    }
    there = {
        (
            each.host.name,
            each.container.id,
            each.container.address,
            each.assignment.slot,
            EndpointState.READY if each.container.phase is Phase.RUNNING else EndpointState.PRESENT,
        )
        for each in found
        # Who is on no network is let in by nobody.
        if each.assignment.workload.networks
    }
    return "" if listed == there else f"routed wrongly: {sorted(listed ^ there)}"


def _is_claimed(cluster: SimCluster, found: list[_Found]) -> str:
    for each in found:
        a = each.assignment
        if not a.workload.exclusive or each.container.phase is not Phase.RUNNING:
            continue
        key = keys.claim(a.stack, a.service, a.slot)
        items = cluster.server.list(exactly(key)).items
        claim = codec.decode(Claim, items[0].value, key) if items else None
        wanted = Claim(node=each.host.name, allocation=a.id, epoch=a.epoch)
        if claim != wanted or not items[0].lease:
            return f"{a.id} runs on {each.host.name} and its claim is {claim}"
    return ""


def _is_calm(cluster: SimCluster) -> str:
    suspects = [item.key for item in cluster.server.list(under(keys.SUSPECTS)).items]
    if suspects:
        return f"suspected: {suspects}"
    sessions = {
        item.key
        for item in cluster.server.list(under(keys.NODES)).items
        if item.key.endswith("/alive")
    }
    absent = [h.name for h in cluster.hosts if keys.node_alive(h.name) not in sessions]
    return f"no session: {absent}" if absent else ""


def _is_seen(cluster: SimCluster) -> str:
    """Compare what every scheduler knows with what is: it would decide by it, and show it."""
    items = {item.key: item for item in cluster.server.list(under(keys.ROOT)).items}
    for host in cluster.hosts:
        if host.is_on and host.view.items != items:
            wrong = {*items.items()} ^ {*host.view.items.items()}
            return f"{host.name} does not see {sorted({key for key, _ in wrong})}"
    return ""
