"""The gateway of a node on HAProxy.

Makes published ports lead to replicas, says what is in force.
"""

import asyncio
import resource
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from node_agent.gateway.commands import ask_busy, busy, commands, complaint, draining, lines
from node_agent.gateway.config import PACE_MS, RETRIES, Place, Served, render
from node_agent.gateway.gateway import GatewayStatus
from node_agent.gateway.process import Haproxy, HaproxyError, cut_connections
from node_agent.gateway.slots import Steps, Table, gone_addresses, is_holding, next_table, steps
from shared import codec
from shared.errors import CodecError
from shared.files import write_atomically
from shared.model import AllocId, Protocol, Record, Revision, Routes, StackName

_log = structlog.get_logger()

_DESCRIPTORS_MAX: Final = 65536
# So long is a request held at most: what waits longer has failed already.
_HELD_S: Final = RETRIES * PACE_MS / 1000
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
        # When services lost their last replica, on the event loop's clock.
        self._lost_at: dict[str, float] = {}

    async def apply(self, routes: AllRoutes) -> GatewayStatus:
        """Make the whole of `routes` true and say what is in force."""
        is_running = await self.haproxy.is_running()
        is_settled = self._is_certain and not self._status.problems and routes == self._applied
        if not is_settled or (self._served and not is_running):
            try:
                problems, late = await self._make_true(routes, is_running=is_running)
            except HaproxyError as error:
                self._is_certain = False
                _log.error("gateway_failed", reason=str(error))
                # What was acknowledged before is still in force, or nothing is.
                self._status = msgspec.structs.replace(self._status, problems=(str(error),))
                return self._status
            self._is_certain, self._applied = True, dict(routes)
            acked = {
                stack: self._status.acked[stack] if stack in late else revision
                for stack, (revision, _) in routes.items()
                if stack not in late or stack in self._status.acked
            }
            self._status = GatewayStatus(acked=acked, problems=problems)
        self._status = msgspec.structs.replace(self._status, busy=await self._busy())
        return self._status

    async def _make_true(
        self, routes: AllRoutes, *, is_running: bool
    ) -> tuple[tuple[str, ...], frozenset[StackName]]:
        """Return the problems, and the stacks whose routes are not all in force yet."""
        before = self._saved.tables
        after = _tables(routes, before)
        were_open = self._saved.opened if is_running else {}
        kept, problems = _openable(_served(routes, after), were_open)
        opened = {each.backend: _shape(each) for each in kept}
        # First what a worker can be told, also one that a reload is about to replace: requests
        # that it holds must learn of their new replica, and a refused reload must hold up nothing.
        await self._say(kept, before, were_open)
        await cut_connections(_gone(before, after))
        self._save(_Saved(tables=after, opened=were_open))
        self._served = kept
        held = self._held(before, after)
        late = [each for each in kept if were_open.get(each.backend) != opened[each.backend]]
        if opened != were_open and held and is_running:
            why = f"waits up to {_HELD_S:g} s, since requests are held for {', '.join(held)}"
            problems += tuple(
                f"port {each.port.published} of {each.service_id} {why}" for each in late
            )
            return problems, frozenset(each.stack for each in late)
        if opened != were_open:
            # Also when nothing is served any more: the ports must close.
            await self.haproxy.load(render(kept, self._place()))
            self._save(_Saved(tables=after, opened=opened))
        return problems, frozenset()

    def _held(self, before: Mapping[str, Table], after: Mapping[str, Table]) -> list[str]:
        """Return the services whose held requests a reload would lose.

        The worker that holds them cannot be told their new replica once it is replaced: HAProxy
        refuses to change a slot of a worker that stops.
        """
        now = asyncio.get_running_loop().time()
        for key, table in after.items():
            if not is_holding(table):
                self._lost_at.pop(key, None)
            elif key in before and not is_holding(before[key]):
                self._lost_at.setdefault(key, now)
        self._lost_at = {
            key: at for key, at in self._lost_at.items() if key in after and now - at < _HELD_S
        }
        return sorted(self._lost_at)

    async def _say(
        self, served: Iterable[Served], before: Mapping[str, Table], were_open: Mapping[str, str]
    ) -> None:
        """Take the slots that HAProxy has to their new contents over the runtime socket.

        Raises:
            HaproxyError: HAProxy refused a command: it is not what we think it is.
        """
        wanted: list[str] = []
        for each in served:
            if not were_open.get(each.backend, "").startswith(each.port.protocol):
                continue
            told = before.get(each.service_id, Table())
            count = min(_slots_in(were_open[each.backend]), len(told.slots))
            known = Table(slots=each.table.slots[:count])
            change = (
                steps(Table(slots=told.slots[:count]), known)
                if self._is_certain
                else Steps(lead=known.slots)
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
        found: set[AllocId] = set()
        try:
            old = await self.haproxy.old_workers()
            for line in ask_busy(slots):
                found.update(busy(await self.haproxy.command(line), slots))
                for worker in old:
                    found.update(busy(await self.haproxy.command_to(worker, line), slots))
        except HaproxyError:
            if not await self.haproxy.is_running():
                return ()  # It is gone, and with it what was in flight.
            # A worker that did not say may have some: better to wait than to cut one off.
            found.update(slots.values())
        return tuple(sorted(found))

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
        # The kernel carries the others, see node_agent/balance.
        if port.protocol is not Protocol.UDP and not port.is_host
    )


def _openable(
    served: Iterable[Served], were_open: Mapping[str, str]
) -> tuple[tuple[Served, ...], tuple[str, ...]]:
    """Return what can be opened, and a sentence for each port that cannot.

    Two services on one port would share it between them: HAProxy binds it twice. The one that is
    served already keeps it, else the first by name.
    """
    kept: dict[int, Served] = {}
    problems: list[str] = []
    ours = {backend.rpartition(".")[2] for backend in were_open}
    for each in sorted(served, key=lambda one: one.backend not in were_open):
        port = each.port.published
        if port in kept:
            problems.append(f"port {port} of {each.service_id} belongs to {kept[port].service_id}")
        elif str(port) in ours or _is_free(port):
            kept[port] = each
        else:
            problems.append(
                f"port {port} of {each.service_id} is taken by another program on this node"
            )
    return tuple(kept[port] for port in sorted(kept)), tuple(problems)


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


def _slots_in(shape: str) -> int:
    return int(shape.rpartition(" ")[2])


def _gone(before: Mapping[str, Table], after: Mapping[str, Table]) -> tuple[str, ...]:
    found = {
        address
        for key, table in before.items()
        for address in gone_addresses(table, after.get(key, Table()))
    }
    return tuple(sorted(found))
