"""A cluster of 500 services of 10 replicas on 3 nodes, as records.

Pure. Half of the services have a published port, the others an HTTP route; all have a virtual
address, and the services of each stack a network of their own.
"""

from typing import Final

from node_agent.membership import VERSION
from shared import codec, keys
from shared.model import (
    AllocId,
    Assignment,
    Endpoint,
    HttpRoute,
    Joined,
    Manifest,
    Network,
    NodeName,
    NodeSpec,
    Protocol,
    PublishedPort,
    Routes,
    ServiceName,
    ServiceRoutes,
    Session,
    StackName,
    Workload,
)
from shared.store import Put

STACKS: Final = 50
SERVICES: Final = 10
REPLICAS: Final = 10
NODES: Final = 3
# Where etcd is.
STORE: Final = "198.18.0.100"
POOL: Final = "198.19.0.0/16"
VIPS: Final = "198.18.192.0/20"
# Beside the cluster's own: 253 containers of a /24 are too few.
_SUBNET_ADDRESSES: Final = 2048
_FIRST_PORT: Final = 20_000
TARGET: Final = 80
# Of each subnet the highest ones: those of replicas that come while something is measured.
_SPARE: Final = 2000


def address(number: int) -> str:
    """Return the address of a node, numbered from 1."""
    return f"198.18.0.{number}"


def subnet(number: int) -> str:
    """Return the network of a node's containers."""
    return f"{_inside(number, 0)}/21"


def node_name(number: int) -> NodeName:
    """Return the name of a node, numbered from 1."""
    return NodeName(f"node-{number}")


def specs() -> tuple[NodeSpec, ...]:
    """Return the nodes."""
    return tuple(
        NodeSpec(name=node_name(number), address=address(number), subnet=subnet(number))
        for number in range(1, NODES + 1)
    )


def service_name(service: int) -> ServiceName:
    """Return the name of a service of any stack."""
    return ServiceName(f"v{service}")


def stack_name(stack: int) -> StackName:
    """Return the name of a stack."""
    return StackName(f"s{stack}")


def routes(stack: int, moved: int = -1, life: int = 0) -> Routes:
    """Return where the traffic of a stack leads.

    Args:
        stack: which.
        moved: the service whose first replica another one has taken the place of.
        life: which one.
    """
    services = tuple(
        _service(stack, service, life if service == moved else 0) for service in range(SERVICES)
    )
    network = Network(name=f"{stack_name(stack)}_default")
    return Routes(stack=stack_name(stack), services=services, networks=(network,))


def replica(stack: int, service: int, slot: int, life: int = 0) -> Endpoint:
    """Return one replica; `life` counts those that were in its slot before."""
    number = (stack * SERVICES + service) * REPLICAS + slot - 1
    # A replica that takes another's slot is on the next node.
    node = (number + life) % NODES + 1
    host = _SPARE + life if life else number // NODES + 2
    return Endpoint(
        allocation=AllocId(f"{stack_name(stack)}.{service_name(service)}.{slot}.{life}"),
        node=node_name(node),
        address=_inside(node, host),
        slot=slot,
    )


def manifest(number: int, generation: int, more: int = 0) -> Manifest:
    """Return what a node should run; with `more` containers than at first."""
    node = node_name(number)
    workload = Workload(
        image="shop/web:1", ports=(PublishedPort(published=80, target=TARGET),), environment=_ENV
    )
    here = [
        each
        for stack in range(STACKS)
        for service in range(SERVICES)
        for slot in range(1, REPLICAS + 1)
        if (each := replica(stack, service, slot)).node == node
    ]
    # Slots that are NODES apart are on the same node.
    here += [
        replica(0, 0, number + REPLICAS * NODES * each, life=NODES * each)
        for each in range(1, more + 1)
    ]
    assignments = tuple(
        Assignment(
            id=each.allocation,
            stack=StackName(each.allocation.partition(".")[0]),
            service=ServiceName(each.allocation.split(".")[1]),
            slot=each.slot,
            generation=1,
            workload=workload,
            reason="placed: of all nodes it has the most left",
            address=each.address,
        )
        for each in here
    )
    return Manifest(node=node, generation=generation, assignments=assignments)


def all_records(real: int) -> list[Put]:
    """Return what the store holds before the agents of the first `real` nodes begin."""
    found = [Put(keys.node_spec(each.name), codec.encode(each)) for each in specs()]
    for number in range(1, NODES + 1):
        name = node_name(number)
        if number > real:
            found.append(Put(keys.node_alive(name), codec.encode(_session(name))))
        else:
            found.append(Put(keys.desired(name), codec.encode(manifest(number, 1))))
    return [*found, *(put(routes(stack)) for stack in range(STACKS))]


def put(one: Routes) -> Put:
    """Return what writes a stack's routes."""
    return Put(keys.routes(one.stack), codec.encode(one))


def _service(stack: int, service: int, life: int) -> ServiceRoutes:
    number = stack * SERVICES + service
    port = PublishedPort(published=_FIRST_PORT + number, target=TARGET, protocol=Protocol.TCP)
    route = HttpRoute(host=f"{service_name(service)}.{stack_name(stack)}.example", port=TARGET)
    return ServiceRoutes(
        service=service_name(service),
        ports=(port,) if is_published(service) else (),
        routes=() if is_published(service) else (route,),
        endpoints=tuple(
            replica(stack, service, slot, life if slot == 1 else 0)
            for slot in range(1, REPLICAS + 1)
        ),
        replicas=REPLICAS,
        networks=(Joined(network=f"{stack_name(stack)}_default"),),
        vip=f"198.18.{192 + number // 250}.{number % 250 + 1}",
    )


def is_published(service: int) -> bool:
    """Say whether a service has a port of the nodes; else it has an HTTP route."""
    return service % 2 == 0


def backend(stack: int, service: int) -> str:
    """Return what HAProxy calls a service."""
    number = stack * SERVICES + service
    own = str(_FIRST_PORT + number) if is_published(service) else f"to{TARGET}"
    return f"{stack_name(stack)}.{service_name(service)}.{own}"


def _session(node: NodeName) -> Session:
    return Session(node=node, boot_id="other", version=VERSION)


def _inside(number: int, host: int) -> str:
    at = (number - 1) * _SUBNET_ADDRESSES + host
    return f"198.19.{at // 256}.{at % 256}"


_ENV: Final = {"DATABASE_URL": "postgres://db:5432/shop", "LOG_LEVEL": "info"}
