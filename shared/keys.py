"""The layout of etcd: how every key is built and read, and who writes what.

Pure. One writer per key. `<...>` parts never contain a slash.

    /hafen/v1/                     record      writer                leased
      nodes/<node>/spec            NodeSpec    node once, then API   its address: the node, while
                                                                     it has no session
      nodes/<node>/alive           Session     agent                 yes, never revoked: its
                                                                     absence is the truth
      suspects/<node>/<peer>       Suspicion   the peer's agent      yes, by the peer's session
      claims/<stack>.<svc>.<slot>  Claim       the agent that has it yes, by its session
      claims/<s.>.<s.>.<s.>/epoch  Epoch       who takes the claim   no, and it stays for good
      desired/<node>               Manifest    leader                a node's whole desired state
      routes/<stack>               Routes      leader                what gateways serve
      observed/<node>              Report      agent                 on change only
      gateways/<node>              GatewayWord agent                 whether its gateway serves
      stacks/<stack>               Stack       API
      history/<stack>/<generation> Stack       API                   the newest generations
      contents/<stack>/<n>/<dig.>  Content     API                   configs and secrets, sealed
      rollouts/<stack>/<service>   Rollout     leader                how far an update is
      volumes/<name>               Volume      leader                which node has its data
      removals/<name>              Removal     API; the leader ends  a volume that is to go
      networks/<name>              Network     API                   one that is no stack's own
      floating/<address>           FloatingAddress API
      vips/<address>               FloatingClaim the first, let go:  yes, by its session; not once
                                               API; then the agent   it is let go
                                               that has it
      certificates/<name>          Certificate API                   brought, or wanted
      issued/<name>                Certificate leader                what it had issued
      authorities/<name>           Authority   leader                who issues
      challenges/<token>           Challenge   leader                yes: proof for who issues
      closed/<stack>[.<svc>]       Closed      API                   answers with a page of excuses
      leader                       Leader      scheduler             yes: create_revision is the
                                                                     fence
      events/<id>                  Event       leader                yes: ends by itself
"""

from typing import Final

from shared.model import NodeName, ServiceName, StackName

ROOT: Final = "/hafen/v1/"
NODES: Final = ROOT + "nodes/"
DESIRED: Final = ROOT + "desired/"
ROUTES: Final = ROOT + "routes/"
OBSERVED: Final = ROOT + "observed/"
GATEWAYS: Final = ROOT + "gateways/"
STACKS: Final = ROOT + "stacks/"
EVENTS: Final = ROOT + "events/"
SUSPECTS: Final = ROOT + "suspects/"
CLAIMS: Final = ROOT + "claims/"
HISTORY: Final = ROOT + "history/"
CONTENTS: Final = ROOT + "contents/"
ROLLOUTS: Final = ROOT + "rollouts/"
VOLUMES: Final = ROOT + "volumes/"
REMOVALS: Final = ROOT + "removals/"
NETWORKS: Final = ROOT + "networks/"
FLOATING: Final = ROOT + "floating/"
VIPS: Final = ROOT + "vips/"
CERTIFICATES: Final = ROOT + "certificates/"
ISSUED: Final = ROOT + "issued/"
AUTHORITIES: Final = ROOT + "authorities/"
CHALLENGES: Final = ROOT + "challenges/"
CLOSED: Final = ROOT + "closed/"
LEADER: Final = ROOT + "leader"
_EPOCH: Final = "/epoch"


def range_of(key: str) -> str:
    """Return which of the ranges above a key lies in; the leader's key is alone."""
    return LEADER if key == LEADER else key[: key.find("/", len(ROOT)) + 1]


def node_spec(node: NodeName) -> str:
    """Return the key of a node's NodeSpec."""
    return f"{NODES}{node}/spec"


def node_alive(node: NodeName) -> str:
    """Return the key of a node's Session."""
    return f"{NODES}{node}/alive"


def desired(node: NodeName) -> str:
    """Return the key of a node's Manifest."""
    return DESIRED + node


def observed(node: NodeName) -> str:
    """Return the key of a node's Report."""
    return OBSERVED + node


def gateway(node: NodeName) -> str:
    """Return the key of a node's GatewayWord."""
    return GATEWAYS + node


def routes(stack: StackName) -> str:
    """Return the key of a stack's Routes."""
    return ROUTES + stack


def stack(name: StackName) -> str:
    """Return the key of a Stack."""
    return STACKS + name


def event(id_: str) -> str:
    """Return the key of an Event; ids sort by time."""
    return EVENTS + id_


def suspect(node: NodeName, peer: NodeName) -> str:
    """Return the key of a peer's Suspicion of a node."""
    return f"{SUSPECTS}{node}/{peer}"


def claim(stack: StackName, service: ServiceName, slot: int) -> str:
    """Return the key of the Claim of an exclusive slot."""
    return f"{CLAIMS}{stack}.{service}.{slot}"


def epoch_of(claim: str) -> str:
    """Return the key of the Epoch beside a claim's key."""
    return claim + _EPOCH


def claim_of(epoch: str) -> str:
    """Return the key of the claim that an Epoch's key is beside."""
    return epoch.removesuffix(_EPOCH)


def is_epoch(key: str) -> bool:
    """Say whether a key is that of an Epoch."""
    return key.startswith(CLAIMS) and key.endswith(_EPOCH)


def history(name: StackName, generation: int) -> str:
    """Return the key of a Stack as it was deployed; keys sort by generation."""
    return f"{HISTORY}{name}/{generation:010d}"


def content(name: str) -> str:
    """Return the key of a Content; `name` is <stack>/<name>/<digest>."""
    return CONTENTS + name


def rollout(stack: StackName, service: ServiceName) -> str:
    """Return the key of a service's Rollout."""
    return f"{ROLLOUTS}{stack}/{service}"


def volume(name: str) -> str:
    """Return the key of a Volume."""
    return VOLUMES + name


def removal(name: str) -> str:
    """Return the key of the Removal of a volume."""
    return REMOVALS + name


def network(name: str) -> str:
    """Return the key of a Network that no stack makes."""
    return NETWORKS + name


def floating(address: str) -> str:
    """Return the key of a FloatingAddress."""
    return FLOATING + address


def vip(address: str) -> str:
    """Return the key of the FloatingClaim of an address."""
    return VIPS + address


def certificate(name: str) -> str:
    """Return the key of a Certificate that the API writes."""
    return CERTIFICATES + name


def issued(name: str) -> str:
    """Return the key of a Certificate that the leader had issued."""
    return ISSUED + name


def authority(name: str) -> str:
    """Return the key of an Authority."""
    return AUTHORITIES + name


def challenge(token: str) -> str:
    """Return the key of a Challenge."""
    return CHALLENGES + token


def closed(name: str) -> str:
    """Return the key that says that a stack, or "<stack>.<service>", is closed."""
    return CLOSED + name
