"""What HAProxy was told last, in a file beside it: an agent that starts goes on from there."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from node_agent.each import OfEach
from node_agent.gateway.config import Served
from node_agent.gateway.slots import Table
from shared import codec
from shared.errors import CodecError
from shared.files import replace
from shared.model import Record, StackName

_log = structlog.get_logger()


class Saved(Record, frozen=True, kw_only=True):
    """What HAProxy was told last.

    Attributes:
        tables: per "<stack>.<service>", its slots.
        opened: per backend, what it was rendered from besides the slots' contents.
        in_place: of stacks that it refuses, what it serves instead.
    """

    tables: Mapping[str, Table] = {}
    opened: Mapping[str, str] = {}
    in_place: Mapping[StackName, tuple[Served, ...]] = {}


class _Pieces(Record, frozen=True, kw_only=True):
    """The same, each table encoded already."""

    tables: Mapping[str, msgspec.Raw] = {}
    opened: Mapping[str, str] = {}


class SavedFile:
    """Keeps the file; of what is the same as before only the bytes are written again.

    Args:
        path: in a folder that a reboot empties.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces = OfEach(_piece)
        self.now = self._read()

    def write(self, saved: Saved) -> None:
        """Make `saved` what the next agent goes on from.

        Raises:
            OSError: the folder is full.
        """
        if saved == self.now:
            return
        replace(self._path, self.encoded(saved))
        self.now = saved

    def encoded(self, saved: Saved) -> bytes:
        """Return what codec.encode does."""
        if saved.in_place:  # A refused stack is an exception, and this no more than faster.
            return codec.encode(saved)
        pieces = zip(saved.tables, self._pieces.of(saved.tables.values()), strict=True)
        return codec.encode(_Pieces(tables=dict(pieces), opened=saved.opened))

    def _read(self) -> Saved:
        try:
            return codec.decode(Saved, self._path.read_bytes(), str(self._path))
        except FileNotFoundError:
            return Saved()
        except CodecError as error:
            _log.error("slots_unreadable", reason=str(error))
            return Saved()


def _piece(table: Table) -> msgspec.Raw:
    return msgspec.Raw(codec.encode(table))
