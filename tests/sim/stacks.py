"""What is deployed in a simulated run: drawn from the seed, and small enough for three nodes."""

import random
from typing import Final

import msgspec

from shared.model import (
    HealthCheck,
    Joined,
    Network,
    Order,
    PublishedPort,
    ServiceSpec,
    Stack,
    UpdatePolicy,
)
from tests.build import MIB, service, stack
from tests.fakes.runtime import Behaviour

IMAGES: Final = ("app:1", "app:2")
# Versions that are never well, and what their program does; the first version is a good one.
BAD: Final = {
    "sick:1": Behaviour(exec_code=1, exec_output="no"),
    "crash:1": Behaviour(ends_after_s=3.0, exit_code=1),
}
# Longer than a bad version takes to show itself, and so long that slow starts are no failure.
MONITOR_S: Final = 5.0
DEADLINE_S: Final = 40.0
NETWORK: Final = "shop_default"
# None: start-first, unless no node has room beside its host port.
ORDERS: Final = (None, Order.STOP_FIRST)
_HOST_PORT_SHARE: Final = 0.5
_CHECK: Final = HealthCheck(test=("check",), interval_s=1.0, retries=2)


def draw_stack(rng: random.Random, generation: int) -> Stack:
    """Return a stack of ordinary and exclusive services, with and without standbys.

    Of some the old copy goes first: by their update's order, or because of a port of the node.
    """
    images = IMAGES if generation == 1 else (*IMAGES, *BAD)
    web = service(
        "web",
        replicas=rng.randint(1, 4),
        image=rng.choice(images),
        memory_bytes=64 * MIB,
        port=8080,
    )
    web = watched(web, parallelism=rng.randint(0, 2), order=rng.choice(ORDERS))
    lone = service("lone", replicas=1, memory_bytes=512 * MIB, port=8081)
    shop = stack(
        "shop",
        joined(web),
        joined(standing_by(lone, rng.randint(0, 1))),
        joined(standing_by(exclusive("ledger", rng.choice(IMAGES)), rng.randint(0, 1))),
        joined(_door(rng, rng.choice(images))),
        generation=generation,
    )
    return msgspec.structs.replace(shop, networks=(Network(name=NETWORK),))


def _door(rng: random.Random, image: str) -> ServiceSpec:
    """Return a service with a port that all nodes have, or one of each node that has a copy."""
    spec = service("door", replicas=rng.randint(1, 3), image=image, memory_bytes=32 * MIB)
    port = PublishedPort(published=8083, target=80, is_host=rng.random() < _HOST_PORT_SHARE)
    workload = msgspec.structs.replace(spec.workload, ports=(port,))
    spec = msgspec.structs.replace(spec, workload=workload)
    return watched(spec, parallelism=rng.randint(0, 2), order=rng.choice(ORDERS))


def joined(spec: ServiceSpec) -> ServiceSpec:
    """Return the service on the stack's network."""
    workload = msgspec.structs.replace(spec.workload, networks=(Joined(network=NETWORK),))
    return msgspec.structs.replace(spec, workload=workload)


def good_again(bad: Stack) -> Stack:
    """Return what a person deploys when nothing that was deployed works."""
    services = tuple(
        msgspec.structs.replace(
            each, workload=msgspec.structs.replace(each.workload, image=IMAGES[0])
        )
        if each.workload.image in BAD
        else each
        for each in bad.services
    )
    return msgspec.structs.replace(bad, generation=bad.generation + 1, services=services)


def watched(spec: ServiceSpec, parallelism: int, order: Order | None = None) -> ServiceSpec:
    """Return the service with a healthcheck, and new versions watched before they take over."""
    policy = UpdatePolicy(
        monitor_s=MONITOR_S,
        progress_deadline_s=DEADLINE_S,
        parallelism=parallelism,
        order=order,
    )
    workload = msgspec.structs.replace(spec.workload, healthcheck=_CHECK)
    return msgspec.structs.replace(spec, workload=workload, update=policy, rollback=policy)


def exclusive(name: str, image: str = "app:1") -> ServiceSpec:
    """Return a service of which at most one copy may run."""
    spec = service(name, image=image, memory_bytes=64 * MIB, port=8082)
    return msgspec.structs.replace(
        spec, workload=msgspec.structs.replace(spec.workload, exclusive=True)
    )


def standing_by(spec: ServiceSpec, standby: int) -> ServiceSpec:
    """Return the service with so many standbys."""
    return msgspec.structs.replace(spec, standby=standby)
