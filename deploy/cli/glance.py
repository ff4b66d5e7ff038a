"""Asking for the cluster at a glance, within a second of the person's key press.

The API's own client takes half of that second to import; the standard library's is there at once.
"""

import asyncio
import http.client
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared import codec
from shared.api import STATUS, ClusterView, ErrorBody
from shared.errors import CodecError, DeniedError, UnavailableError

# The scheduler gives etcd 0.2 s; a seventh of the second starts Python, and as much is left for
# what this host knows by itself.
ANSWER_S_MAX: Final = 0.45
_BODY_BYTES_MAX: Final = 16 * 1024 * 1024


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_S_MAX)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


async def glance(talk: http.client.HTTPConnection, where: str) -> ClusterView:
    """Return the cluster at a glance.

    Args:
        talk: not connected yet.
        where: names the server in an error.

    Raises:
        UnavailableError: nobody answers, or not in time, or not as a scheduler does.
        DeniedError: the socket's mode or the certificates forbid it.
    """
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            status, body = await asyncio.to_thread(_ask, talk)
        if status != http.client.OK:
            raise UnavailableError(codec.decode(ErrorBody, body, where).message)
        return codec.decode(ClusterView, body, where)
    except TimeoutError as error:
        problem = f"the scheduler at {where} did not answer within {ANSWER_S_MAX:g} s"
        raise UnavailableError(problem) from error
    except PermissionError as error:
        raise DeniedError(f"{where}: {error.strerror}: only root may talk to it") from error
    except ssl.SSLError as error:
        raise DeniedError(f"{where}: no common certificates: {error.reason}") from error
    except (OSError, http.client.HTTPException, CodecError) as error:
        is_silent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        why = "" if is_silent else f" ({error})"
        raise UnavailableError(
            f"nothing answers at {where}{why}: is `hafen serve` running there? "
            "--host and --lab name another one"
        ) from error


async def first_glance(paths: Sequence[Path]) -> ClusterView | None:
    """Return the answer of the first scheduler that knows, else of the first that answers.

    All are asked at once: a host that was cut off, or lost its power, may hang.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_or_none(path)) for path in paths]
    views = [view for task in tasks if (view := task.result()) is not None]
    return next((view for view in views if knows(view)), views[0] if views else None)


def knows(view: ClusterView) -> bool:
    """Say whether a scheduler reaches etcd and has read it: one that only began shows nothing."""
    return view.etcd_reachable and view.revision > 0


async def _or_none(path: Path) -> ClusterView | None:
    try:
        return await glance(UnixConnection(path), str(path))
    except (UnavailableError, DeniedError):
        return None


def _ask(talk: http.client.HTTPConnection) -> tuple[int, bytes]:
    try:
        talk.request("GET", STATUS)
        answer = talk.getresponse()
        return answer.status, answer.read(_BODY_BYTES_MAX)
    finally:
        talk.close()
