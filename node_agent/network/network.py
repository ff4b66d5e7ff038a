"""What a runtime needs of the node's network: a namespace with an address for each container."""

from typing import Protocol

import msgspec

from shared.model import AllocId


class Attachment(msgspec.Struct, frozen=True):
    """Where a container is on the network. `namespace` is a path that a runtime can join."""

    address: str
    namespace: str


class ContainerNetwork(Protocol):
    """Gives containers their network; what it made outlives the agent."""

    async def attach(self, id_: AllocId) -> Attachment:
        """Return the container's attachment, made now if it has none; idempotent.

        Raises:
            RuntimeFailureError: no address is free (says how many there are), or the kernel
                refused.
        """
        ...

    async def find(self, id_: AllocId) -> Attachment | None:
        """Return the attachment that the container has, or None."""
        ...

    async def detach(self, id_: AllocId) -> None:
        """Remove the container's namespace and free its address; idempotent."""
        ...
