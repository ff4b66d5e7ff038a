"""What is remembered of stacks' routes gives the cluster that would be found anew."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.network.cluster import Cluster, Writer, cluster_of, decode
from node_agent.network.fabric import Topology
from node_agent.network.parts import Parts
from shared.model import (
    AllocId,
    Endpoint,
    HttpRoute,
    Joined,
    Network,
    NodeName,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from tests.build import node_spec

EDGE = (80, 443)


def routes(stack: str, addresses: set[str], port: int, routed: int) -> Routes:
    ends = tuple(
        Endpoint(allocation=AllocId(f"{stack}.web.1.{each}"), node=NodeName("node-1"), address=each)
        for each in sorted(addresses)
    )
    protocol = Protocol.UDP if port % 2 else Protocol.TCP
    service = ServiceRoutes(
        service=ServiceName("web"),
        ports=(PublishedPort(published=port, target=80, protocol=protocol),),
        endpoints=ends,
        networks=(Joined(network=f"{stack}_default"),),
        vip=f"198.18.200.{port + 1}" if port else "",
        routes=(HttpRoute(host="shop.example"),) if routed else (),
    )
    network = Network(name=f"{stack}_default", internal=bool(routed))
    return Routes(stack=StackName(stack), services=(service,), networks=(network,))


# Each is one object, as it is for an agent while its record is the same. An address of a node is
# none of a container's, and something else is no address at all.
ROUTES = st.builds(
    routes,
    st.sampled_from(("blog", "shop")),
    st.sets(st.sampled_from(("198.19.1.2", "198.19.1.3", "198.18.0.1", "198.18.0.2", "none"))),
    st.integers(0, 3),
    st.integers(0, 1),
)
NODES = st.integers(0, 2).map(lambda count: tuple(node_spec(f"node-{n + 1}") for n in range(count)))


@given(st.lists(ROUTES, max_size=5), st.data())
def test_what_is_remembered_is_what_would_be_found(pool: list[Routes], data: st.DataObject) -> None:
    parts, cluster, writer = Parts(), Cluster(), Writer()
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.lists(st.sampled_from(pool), max_size=3)) if pool else []
        topology = Topology(data.draw(NODES), {each.stack: (Revision(1), each) for each in chosen})
        found = cluster_of(topology, cluster, ("shop_default",), EDGE, parts.of(topology))
        assert found == cluster_of(topology, cluster, ("shop_default",), EDGE, Parts().of(topology))
        written = writer.encode(found)
        assert written == Writer().encode(found)
        read = decode(written)
        assert read is not None
        assert tuple(read.members) == tuple(found.members)
        assert msgspec.structs.replace(read, by_stack=found.by_stack) == found
        cluster = found
