"""What the API's client asks of nodes."""

from urllib.parse import quote

from shared import api
from shared.remote import Remote


class NodeClient:
    """The part of a client that asks about nodes and changes them."""

    _remote: Remote

    async def nodes(self) -> api.NodeList:
        """Return all nodes."""
        return await self._remote.ask("GET", api.NODES, api.NodeList)

    async def node(self, name: str) -> api.NodeDetail:
        """Return one node with what it has; while it is being drained, with what that waits for.

        Raises:
            NotFoundError: there is no such node.
        """
        return await self._remote.ask("GET", _node(name), api.NodeDetail)

    async def change_node(self, name: str, change: api.NodeChange) -> api.NodeDetail:
        """Change what a node may do, or its labels; the scheduler goes on with it by itself.

        Raises:
            NotFoundError: there is no such node.
            SpecError: a label cannot be one.
            OvertakenError: somebody else changed the node at that moment; nothing was changed.
            UnavailableError: etcd is away; nothing was changed.
            AmbiguousError: whether it is stored is not known.
        """
        return await self._remote.ask("PUT", _node(name), api.NodeDetail, body=change)

    async def remove_node(self, name: str) -> api.NodeDetail:
        """Remove a node that is gone; return what it had.

        Raises:
            NotFoundError: there is no such node.
            SpecError: it lives, or what it runs is not given up yet.
            OvertakenError: it came back, or something of it changed, at that moment.
            UnavailableError: etcd is away; nothing was changed.
            AmbiguousError: whether it is stored is not known.
        """
        return await self._remote.ask("DELETE", _node(name), api.NodeDetail)


def _node(name: str) -> str:
    return api.NODE.format(node=quote(name, safe=""))
