"""How a node's agent is asked for what it tells, and why another's cannot be."""

import ssl

from scheduler.nodes import Verdict
from shared.model import NodeName
from shared.remote import Target
from shared.settings import AGENT_PORT


def agent_of(
    node: NodeName, address: str, verdict: Verdict, agents: ssl.SSLContext | None
) -> tuple[Target | None, str]:
    """Return where a node's agent is asked; or None, and why it cannot be.

    Args:
        node: the node.
        address: where it is.
        verdict: what is known of it.
        agents: how agents are spoken to; None: without TLS none can be asked.
    """
    if not verdict.is_sound:
        return None, f"{node} does not answer: it is {verdict}"
    if agents is None:
        return None, f"{node} cannot be asked: its settings have no [tls]"
    return Target.https(address, AGENT_PORT, agents, name=str(node)), ""
