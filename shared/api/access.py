"""What the API says of requests that gateways carried.

Pure.
"""

from shared.model import NodeName, Record


class AccessEntry(Record, frozen=True, kw_only=True):
    """One request that a gateway carried, or a remark of ours.

    Attributes:
        node: whose gateway.
        at_ms: when it was over, in milliseconds of that host's clock since 1970.
        client: who asked.
        request: its name, which replicas find in X-Request-ID.
        service: stack.service.
        path: without what follows a question mark.
        replica: HAProxy's name of the slot that answered; `<NOSRV>` if none did.
        address: of that replica.
        status: that the client was sent; -1: none.
        bytes: that the client was sent.
        wait_ms, connect_ms, answer_ms, all_ms: waiting for a replica, for a connection to it, for
            the head of its answer, and from the first byte to the last; -1: it did not get so far.
        end: HAProxy's two letters for how it ended.
        retries: how often it was tried again; with + on another replica.
        remark: why a node's requests are not among these.
    """

    node: NodeName = NodeName("")
    at_ms: int = 0
    client: str = ""
    request: str = ""
    service: str = ""
    method: str = ""
    host: str = ""
    path: str = ""
    replica: str = ""
    address: str = ""
    status: int = 0
    bytes: int = 0
    wait_ms: int = 0
    connect_ms: int = 0
    answer_ms: int = 0
    all_ms: int = 0
    end: str = ""
    retries: str = ""
    remark: str = ""
