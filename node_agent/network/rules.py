"""The node's nftables table: what containers may send out, and how fast a gateway tries again.

Pure. The table is replaced whole in one transaction, so there is no moment with half of the rules.
"""

from node_agent.gateway.slots import NOWHERE

TABLE = "hafen"


def render(pool: str) -> str:
    """Return the input of `nft -f -` that makes the table what it should be.

    `pace`: a replica that refuses a connection is answered by silence, so that every attempt of
    HAProxy costs its `timeout connect` and a request that is held does not use up its retries at
    once. Only the answer to a SYN is meant: RST and ACK with sequence number 0.

    Args:
        pool: the network that all nodes' container subnets are cut from.
    """
    return f"""\
table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
    chain pace {{
        type filter hook input priority -10; policy accept;
        iif lo ip daddr {NOWHERE} tcp dport 1 drop
        ip saddr {pool} tcp flags & (rst|ack) == (rst|ack) @th,32,32 0 drop
    }}
    chain outbound {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {pool} ip daddr != {pool} masquerade
    }}
}}
"""


def remove() -> str:
    """Return the input of `nft -f -` after which the table is gone, whether it was there or not."""
    return f"table ip {TABLE}\ndelete table ip {TABLE}\n"
