"""How the agent tells the name server a snapshot: by pieces, of which most are there already.

Pure but for what it remembers. A message always describes the whole, and leaves out only what is
in pieces that the other side has; one that lacks any of them says so by not being told.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import msgspec

from node_agent.each import OfEach
from node_agent.names.build import digest_of
from node_agent.names.snapshot import Local, Snapshot
from shared import codec
from shared.errors import CodecError
from shared.model import Record, Routes

NONE: Final[AbstractSet[str]] = frozenset()


class _Containers(Record, frozen=True, kw_only=True):
    """The containers of a snapshot."""

    containers: tuple[Local, ...] = ()


class _Message(Record, frozen=True, kw_only=True):
    """A snapshot whose pieces are named by digests of what is in them.

    Attributes:
        pool, vips, pool6: as in Snapshot.
        routes: the pieces with those of each stack.
        containers: the piece with this node's.
        pieces: by their names, those that may not be known yet.
    """

    pool: str = ""
    vips: str = ""
    pool6: str = ""
    routes: tuple[str, ...] = ()
    containers: str = ""
    pieces: Mapping[str, msgspec.Raw] = {}


_Piece = tuple[str, msgspec.Raw]


class Telling(NamedTuple):
    """A snapshot that is to be told.

    Attributes:
        digest: of all that is in it.
        head: it without its pieces.
        pieces: by their names.
    """

    digest: str
    head: _Message
    pieces: Mapping[str, msgspec.Raw]

    def wire(self, known: AbstractSet[str] = NONE) -> bytes:
        """Return what to send to one who knows some pieces."""
        pieces = {name: each for name, each in self.pieces.items() if name not in known}
        return codec.encode(msgspec.structs.replace(self.head, pieces=pieces))


class Teller:
    """The agent's side: encodes each stack's routes once."""

    def __init__(self) -> None:
        self._routes, self._containers = OfEach(_piece_of), OfEach(_piece_of_containers)

    def of(self, snapshot: Snapshot) -> Telling:
        """Return the telling of a snapshot."""
        stacks = self._routes.of(snapshot.routes)
        (containers,) = self._containers.of((snapshot.containers,))
        head = _Message(
            pool=snapshot.pool,
            vips=snapshot.vips,
            pool6=snapshot.pool6,
            routes=tuple(name for name, _ in stacks),
            containers=containers[0],
        )
        return Telling(digest_of(codec.encode(head)), head, dict((*stacks, containers)))


class Listener:
    """The name server's side: remembers the pieces of what it was told last."""

    def __init__(self) -> None:
        self._routes: dict[str, Routes] = {}
        self._containers: dict[str, tuple[Local, ...]] = {}

    def hear(self, wire: bytes, where: str) -> tuple[str, Snapshot] | None:
        """Return a message's digest and snapshot; None: it leaves out what is not known here.

        What was there before is the same object.

        Raises:
            CodecError: it cannot be read; nothing is remembered of it.
        """
        message = codec.decode(_Message, wire, where)
        lacking = (
            {*message.routes, message.containers} - self._routes.keys() - self._containers.keys()
        )
        if not lacking <= message.pieces.keys():
            return None
        new = {name: bytes(message.pieces[name]) for name in lacking}
        if any(digest_of(piece) != name for name, piece in new.items()):
            raise CodecError(where, "a piece is not what its name says")
        routes = {
            name: self._routes[name]
            if name in self._routes
            else codec.decode(Routes, new[name], where)
            for name in message.routes
        }
        containers = (
            self._containers[message.containers]
            if message.containers in self._containers
            else codec.decode(_Containers, new[message.containers], where).containers
        )
        self._routes, self._containers = routes, {message.containers: containers}
        snapshot = Snapshot(
            pool=message.pool,
            vips=message.vips,
            pool6=message.pool6,
            routes=tuple(routes[name] for name in message.routes),
            containers=containers,
        )
        head = msgspec.structs.replace(message, pieces={})
        return digest_of(codec.encode(head)), snapshot


def _piece_of(record: Record) -> _Piece:
    piece = codec.encode(record)
    return digest_of(piece), msgspec.Raw(piece)


def _piece_of_containers(containers: tuple[Local, ...]) -> _Piece:
    return _piece_of(_Containers(containers=containers))
