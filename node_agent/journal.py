"""What an agent must still know after it was killed while etcd was away.

One file on the node's disk.

The manifest, so that containers that die are started again without etcd; and what is remembered of
each allocation, so that a healthy one stays healthy over an agent's restart and a failed one
failed.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from node_agent.track import Track, Tracks, adopted, durable
from shared import codec
from shared.errors import CodecError
from shared.files import write_atomically
from shared.model import AllocId, Manifest, Record

_log = structlog.get_logger()

_FILE: Final = "agent.json"


class Page(Record, frozen=True, kw_only=True):
    """The file's content."""

    manifest: Manifest | None = None
    tracks: Mapping[AllocId, Track] = {}


class Journal:
    """Reads the page once, writes it when it differs; a write is atomic, a torn file impossible."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / _FILE
        self._written: Page | None = None
        # What is kept of each track: most are the same from one pass to the next.
        self._kept: dict[AllocId, tuple[Track, Track]] = {}

    def read(self, now: float) -> Page:
        """Return the page as of `now`; an empty one if there is none or it cannot be read.

        A file that cannot be read is kept beside the new one for a person to look at.
        """
        try:
            page = codec.decode(Page, self._path.read_bytes(), str(self._path))
        except FileNotFoundError:
            return Page()
        except (CodecError, OSError) as error:
            _log.error("journal_unreadable", reason=str(error), kept=f"{self._path}.bad")
            # On a disk that takes no change it stays where it is, and is read as often as tried.
            with contextlib.suppress(OSError):
                self._path.replace(f"{self._path}.bad")
            return Page()
        tracks = {id_: adopted(track, now) for id_, track in page.tracks.items()}
        return msgspec.structs.replace(page, tracks=tracks)

    def write(self, manifest: Manifest | None, tracks: Tracks) -> None:
        """Make the page durable if it differs from the one written last.

        Raises:
            OSError: the disk is full or broken. What runs goes on; the caller says so and retries.
        """
        self._kept = {id_: self._durable(id_, track) for id_, track in tracks.items()}
        page = Page(manifest=manifest, tracks={id_: kept for id_, (_, kept) in self._kept.items()})
        if page == self._written:
            return
        write_atomically(self._path, codec.encode(page))
        self._written = page

    def _durable(self, id_: AllocId, track: Track) -> tuple[Track, Track]:
        known = self._kept.get(id_)
        return known if known is not None and known[0] is track else (track, durable(track))
