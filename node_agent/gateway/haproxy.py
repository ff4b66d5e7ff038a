"""The gateway of a node on HAProxy.

Makes published ports lead to replicas, says what is in force.
"""

import resource
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from node_agent.gateway.commands import busy, commands, complaint, draining, lines
from node_agent.gateway.config import Place, Served, render
from node_agent.gateway.gateway import GatewayStatus
from node_agent.gateway.process import Haproxy, HaproxyError, cut_connections
from node_agent.gateway.slots import Steps, Table, gone_addresses, next_table, steps
from shared import codec
from shared.errors import CodecError
from shared.files import write_atomically
from shared.model import AllocId, Record, Revision, Routes, StackName

_log = structlog.get_logger()

_DESCRIPTORS_MAX: Final = 65536
AllRoutes = Mapping[StackName, tuple[Revision, Routes]]


class _Saved(Record, frozen=True, kw_only=True):
    """What HAProxy was told last, kept beside it: an agent that starts goes on from there.

    Attributes:
        tables: per "<stack>.<service>", its slots.
        opened: per backend, what it was rendered from besides the slots' contents.
    """

    tables: Mapping[str, Table] = {}
    opened: Mapping[str, str] = {}


class HaproxyGateway:
    """Implements Gateway.

    Args:
        run_dir: a folder that a reboot empties, as it ends HAProxy.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._folder = run_dir / "haproxy"
        self._state = self._folder / "slots.json"
        self.haproxy = Haproxy(self._folder)
        self._saved = self._read()
        # An agent that starts cannot know how far the one before it came: it says all of it again.
        self._is_certain = False
        self._applied: AllRoutes | None = None
        self._served: tuple[Served, ...] = ()
        self._status = GatewayStatus()

    async def apply(self, routes: AllRoutes) -> GatewayStatus:
        """Make the whole of `routes` true and say what is in force."""
        is_running = await self.haproxy.is_running()
        is_settled = self._is_certain and not self._status.problems and routes == self._applied
        if not is_settled or (self._served and not is_running):
            try:
                problems = await self._make_true(routes, is_running=is_running)
            except HaproxyError as error:
                self._is_certain = False
                _log.error("gateway_failed", reason=str(error))
                # What was acknowledged before is still in force, or nothing is.
                self._status = msgspec.structs.replace(self._status, problems=(str(error),))
                return self._status
            self._is_certain, self._applied = True, dict(routes)
            acked = {stack: revision for stack, (revision, _) in routes.items()}
            self._status = GatewayStatus(acked=acked, problems=problems)
        self._status = msgspec.structs.replace(self._status, busy=await self._busy())
        return self._status

    async def _make_true(self, routes: AllRoutes, *, is_running: bool) -> tuple[str, ...]:
        before = self._saved.tables
        after = _tables(routes, before)
        served = _served(routes, after)
        were_open = self._saved.opened if is_running else {}
        kept, problems = _openable(served, were_open)
        opened = {each.backend: _shape(each) for each in kept}
        if opened != were_open:
            # Also when nothing is served any more: the ports must close.
            await self.haproxy.load(render(kept, self._place()))
        else:
            await self._say(kept, before)
        for address in _gone(before, after):
            await cut_connections(address)
        self._save(_Saved(tables=after, opened=opened))
        self._served = kept
        return problems

    async def _say(self, served: Iterable[Served], before: Mapping[str, Table]) -> None:
        """Take the slots to their new contents over the runtime socket.

        Raises:
            HaproxyError: HAProxy refused a command: it is not what we think it is.
        """
        wanted: list[str] = []
        for each in served:
            table = each.table
            change = (
                steps(before[each.service_id], table)
                if self._is_certain
                else Steps(lead=table.slots)
            )
            wanted += commands([each], change)
        for line in lines(wanted):
            refused = complaint(await self.haproxy.command(line))
            if refused:
                raise HaproxyError(f"HAProxy refuses a change of a slot: {refused}")

    async def _busy(self) -> tuple[AllocId, ...]:
        slots = draining(self._served)
        if not slots:
            return ()
        try:
            return busy(await self.haproxy.command("show stat"), slots)
        except HaproxyError:
            return ()  # It is gone, and with it what was in flight.

    def _place(self) -> Place:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return Place(
            admin_socket=str(self.haproxy.admin_socket),
            metrics_socket=str(self.haproxy.metrics_socket),
            descriptors=min(hard, _DESCRIPTORS_MAX) if hard > 0 else _DESCRIPTORS_MAX,
        )

    def _read(self) -> _Saved:
        try:
            return codec.decode(_Saved, self._state.read_bytes(), str(self._state))
        except FileNotFoundError:
            return _Saved()
        except CodecError as error:
            _log.error("slots_unreadable", reason=str(error))
            return _Saved()

    def _save(self, saved: _Saved) -> None:
        if saved != self._saved:
            write_atomically(self._state, codec.encode(saved))
            self._saved = saved


def _tables(routes: AllRoutes, before: Mapping[str, Table]) -> Mapping[str, Table]:
    found: dict[str, Table] = {}
    for stack, (_, stack_routes) in sorted(routes.items()):
        for service in stack_routes.services:
            key = f"{stack}.{service.service}"
            found[key] = next_table(before.get(key, Table()), service)
    return found


def _served(routes: AllRoutes, tables: Mapping[str, Table]) -> tuple[Served, ...]:
    return tuple(
        Served(
            stack=stack,
            service=service.service,
            port=port,
            table=tables[f"{stack}.{service.service}"],
        )
        for stack, (_, stack_routes) in sorted(routes.items())
        for service in stack_routes.services
        for port in service.ports
    )


def _openable(
    served: Iterable[Served], were_open: Mapping[str, str]
) -> tuple[tuple[Served, ...], tuple[str, ...]]:
    """Return what can be opened, and a sentence for each port that cannot."""
    kept: list[Served] = []
    problems: list[str] = []
    ours = {backend.rpartition(".")[2] for backend in were_open}
    for each in served:
        port = each.port.published
        if str(port) in ours or _is_free(port):
            kept.append(each)
        else:
            problems.append(
                f"port {port} of {each.service_id} is taken by another program on this node"
            )
    return tuple(kept), tuple(problems)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _shape(served: Served) -> str:
    """Return what of a backend only a reload can change."""
    return f"{served.port.protocol} {len(served.table.slots)}"


def _gone(before: Mapping[str, Table], after: Mapping[str, Table]) -> tuple[str, ...]:
    found = {
        address
        for key, table in before.items()
        for address in gone_addresses(table, after.get(key, Table()))
    }
    return tuple(sorted(found))
