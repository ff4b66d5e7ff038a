"""What a runtime needs of the node's network: a namespace with addresses for each container."""

from typing import Final, Protocol

import msgspec

from shared.model import AllocId, Assignment

HOST: Final = "host"
NONE: Final = "none"


class Attachment(msgspec.Struct, frozen=True):
    """Where a container is on the network.

    Attributes:
        address: empty: it has none.
        namespace: a path that a runtime can join; empty: the node's own.
    """

    address: str
    namespace: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a container should have.

    Attributes:
        address: of the node's subnet; empty: the node chooses.
        fixed: those it has besides.
        networks: what it may reach.
        mode: "host", "none" or empty, as in Workload.
    """

    address: str = ""
    fixed: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    mode: str = ""


NOTHING: Final = Asked()


def asked_of(assignment: Assignment) -> Asked:
    """Return what an allocation should have; a standby has no fixed addresses until it has a slot.

    Pure.
    """
    joined = assignment.workload.networks
    return Asked(
        address=assignment.address,
        fixed=tuple(each.address for each in joined if each.address and assignment.slot),
        networks=tuple(each.network for each in joined),
        mode=assignment.workload.network_mode,
    )


class ContainerNetwork(Protocol):
    """Gives containers their network; what it made outlives the agent."""

    async def attach(self, id_: AllocId, asked: Asked = NOTHING) -> Attachment:
        """Return the container's attachment, made now if it has none; idempotent.

        It need not be let in by others yet, see `admit`.

        Raises:
            RuntimeFailureError: no address is free (says how many there are), the one asked for is
                still another container's (says whose), or the kernel refused.
        """
        ...

    async def admit(self, id_: AllocId) -> None:
        """Return when a container that is attached is on its networks.

        Apart from attaching, so that its process can be made meanwhile.

        Raises:
            RuntimeFailureError: the kernel refused.
        """
        ...

    async def find(self, id_: AllocId) -> Attachment | None:
        """Return the attachment that the container has, or None."""
        ...

    async def detach(self, id_: AllocId) -> None:
        """Remove the container's namespace and free its addresses; idempotent."""
        ...
