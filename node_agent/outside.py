"""What an agent acts on; the simulation hands in its own."""

import msgspec

from node_agent.gateway.gateway import Gateway
from node_agent.journal import Journal
from node_agent.names.names import Names, NoNames
from node_agent.network.fabric import Fabric
from node_agent.peers.net import Net
from node_agent.peers.promise import Promise
from node_agent.probe import Answers
from node_agent.runtime import Runtime


class Outside(msgspec.Struct, frozen=True):
    """Everything of a host that its agent touches, but the store.

    Attributes:
        answers: says whether ports of an address accept connections.
        net: the way to the other agents and their kernels.
        promise: keeps what was promised to them.
        names: answers containers' questions for names.
    """

    runtime: Runtime
    gateway: Gateway
    fabric: Fabric
    answers: Answers
    journal: Journal
    net: Net
    promise: Promise
    names: Names = NoNames()
