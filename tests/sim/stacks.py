"""What is deployed in a simulated run: drawn from the seed, and small enough for three nodes."""

import random
from typing import Final

import msgspec

from shared.model import ServiceSpec, Stack
from tests.build import MIB, service, stack

IMAGES: Final = ("app:1", "app:2")


def draw_stack(rng: random.Random, generation: int) -> Stack:
    """Return a stack of ordinary and exclusive services, with and without standbys."""
    web = service(
        "web",
        replicas=rng.randint(1, 4),
        image=rng.choice(IMAGES),
        memory_bytes=64 * MIB,
        port=8080,
    )
    lone = service("lone", replicas=1, memory_bytes=512 * MIB, port=8081)
    return stack(
        "shop",
        web,
        standing_by(lone, rng.randint(0, 1)),
        standing_by(exclusive("ledger", rng.choice(IMAGES)), rng.randint(0, 1)),
        generation=generation,
    )


def exclusive(name: str, image: str = "app:1") -> ServiceSpec:
    """Return a service of which at most one copy may run."""
    spec = service(name, image=image, memory_bytes=64 * MIB, port=8082)
    return msgspec.structs.replace(
        spec, workload=msgspec.structs.replace(spec.workload, exclusive=True)
    )


def standing_by(spec: ServiceSpec, standby: int) -> ServiceSpec:
    """Return the service with so many standbys."""
    return msgspec.structs.replace(spec, standby=standby)
