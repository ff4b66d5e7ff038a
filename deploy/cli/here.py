"""What can be known of this host when its scheduler does not answer: its etcd and its agent.

Both are asked at once and briefly: whoever asks has waited for the scheduler already.
"""

import asyncio
import http.client
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shared.errors import SettingsError
from shared.settings import AGENT_PORT, DEFAULT_PATH, ETCD_CLIENT_PORT, Settings, load
from shared.tls import client_context

# Both answer within milliseconds where they are well.
_ANSWER_S_MAX: Final = 0.15


async def this_host(config: Path = DEFAULT_PATH) -> tuple[str, ...]:
    """Return one line each for the etcd member and the agent of this host."""
    try:
        settings = load(config)
    except SettingsError as error:
        is_missing = isinstance(error.__cause__, FileNotFoundError)
        why = f"there is no {config}" if is_missing else str(error)
        return (f"nothing more is known of this machine: {why}",)
    asked = (("etcd member", _etcd), ("agent", _agent))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(asyncio.to_thread(_said, name, settings, ask)) for name, ask in asked
        ]
    return tuple(task.result() for task in tasks)


def _said(name: str, settings: Settings, ask: Callable[[Settings], str]) -> str:
    try:
        answer = ask(settings)
    except ConnectionRefusedError:
        answer = "does not run"
    except TimeoutError:
        answer = "runs and does not answer: it stands still, or waits for others"
    except (OSError, SettingsError, http.client.HTTPException) as error:
        answer = f"cannot be asked: {error}"
    return f"this host's {name} {answer}"


def _etcd(settings: Settings) -> str:
    """Ask whether most members agree with this one: that is what its /health means."""
    if settings.member is None:
        return "is on other hosts"
    host, port, wait_s = settings.address, ETCD_CLIENT_PORT, _ANSWER_S_MAX
    talk = http.client.HTTPConnection(host, port, timeout=wait_s)
    if settings.tls is not None:
        context = client_context(settings.tls)
        talk = http.client.HTTPSConnection(host, port, context=context, timeout=wait_s)
    try:
        talk.request("GET", "/health")
        is_well = talk.getresponse().status == http.client.OK
    finally:
        talk.close()
    return "answers" if is_well else "answers that it has no leader: most members are gone"


def _agent(settings: Settings) -> str:
    """Greet it: only its own loop can answer, the kernel no more than takes the connection."""
    if settings.tls is None:
        return "cannot be asked: the settings have no [tls]"
    context = client_context(settings.tls)
    address = (settings.address, AGENT_PORT)
    with (
        socket.create_connection(address, timeout=_ANSWER_S_MAX) as plain,
        context.wrap_socket(plain, server_hostname=settings.address),
    ):
        return "answers"
