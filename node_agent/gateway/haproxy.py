"""The gateway of a node on HAProxy.

Makes published ports and HTTP routes lead to replicas, says what is in force.
"""

import asyncio
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import structlog

from node_agent.gateway import edge
from node_agent.gateway.access import AccessLog
from node_agent.gateway.asking import HaproxyError
from node_agent.gateway.certificates import Certificates
from node_agent.gateway.commands import ask_busy, busy, commands, complaint, draining, lines
from node_agent.gateway.config import CLOSED_MAP, Place, Served, render
from node_agent.gateway.extras import NO_EXTRAS, Extras
from node_agent.gateway.gateway import GatewayStatus
from node_agent.gateway.known import Known
from node_agent.gateway.late import Outcome, held_s, late
from node_agent.gateway.maps import Map, Maps, closed_map
from node_agent.gateway.metrics import named
from node_agent.gateway.opening import openable, speaks_six
from node_agent.gateway.process import Condition, Haproxy, cut_connections
from node_agent.gateway.refusal import Accepted, Refusals
from node_agent.gateway.saved import Saved, SavedFile
from node_agent.gateway.slots import Steps, Table, is_holding, steps
from node_agent.gateway.tls import Loaded
from node_agent.gateway.wanted import EDGE, AllRoutes, gone, slots_in
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.model import AllocId, Protocol
from shared.settings import GatewaySettings

_log = structlog.get_logger()

_DESCRIPTORS_MAX: Final = 65536
# 2000 backends take half a second.
_METRICS_TIMEOUT: Final = aiohttp.ClientTimeout(5)
_DEFAULTS: Final = GatewaySettings()
_NO_TABLE: Final = Table()
_TROUBLES: Final = {
    Condition.GONE: "HAProxy does not run",
    Condition.SILENT: "HAProxy runs and does not answer",
    Condition.FROZEN: "HAProxy runs and does not answer",
}


class HaproxyGateway:
    """Implements Gateway.

    Args:
        run_dir: a folder that a reboot empties, as it ends HAProxy.
        settings: of this host.
    """

    def __init__(self, run_dir: Path, settings: GatewaySettings = _DEFAULTS) -> None:
        self.run_dir = run_dir
        self._folder, self._settings = run_dir / "haproxy", settings
        self.haproxy = Haproxy(self._folder)
        self._maps = Maps(self._folder, self.haproxy)
        self._certificates = Certificates(self._folder / edge.CERTIFICATES, self.haproxy)
        self._saved = SavedFile(self._folder / "slots.json")
        self._refusals = Refusals(self.haproxy, self._saved.now.in_place)
        self._known = Known()
        # An agent that starts cannot know how far the one before it came: it says all of it again.
        self._is_certain = False
        self._applied: tuple[AllRoutes, Extras] | None = None
        self._served: tuple[Served, ...] = ()
        self._status = GatewayStatus()
        self.trouble: str | None = None
        self._taken: tuple[str, ...] = ()
        # When services lost their last replica, on the event loop's clock.
        self._lost_at: dict[str, float] = {}

    async def apply(self, routes: AllRoutes, extras: Extras = NO_EXTRAS) -> GatewayStatus:
        """Make the whole of `routes` and `extras` true and say what is in force."""
        condition = await self.haproxy.look()
        is_running = condition is Condition.RUNS
        if not is_running and self._saved.now.opened and not self.trouble:
            # Said before it is mended: a start that fails takes long.
            self.trouble = _TROUBLES[condition]
        self._rotate()
        if condition is Condition.SILENT:
            # Another one beside it would get half of the connections, and it the other half.
            self._is_certain = False
            return self._with_problem(f"{_TROUBLES[condition]}; it is ended if it stays so")
        is_known = self._applied == (routes, extras)
        is_settled = self._is_certain and not self._status.problems and is_known
        if not is_settled or (self._served and not is_running):
            try:
                outcome = await self._make_true(routes, extras, is_running=is_running)
            except (HaproxyError, OSError) as error:
                self._is_certain = False
                self._maps.forget()
                self._certificates.forget()
                self.trouble = str(error)
                _log.error("gateway_failed", reason=str(error))
                return self._with_problem(str(error))
            self._is_certain, self._applied = True, (dict(routes), extras)
            self.trouble = "; ".join(self._taken)
            acked = {
                stack: self._status.acked[stack] if stack in outcome.late else revision
                for stack, (revision, _) in routes.items()
                if stack not in outcome.late or stack in self._status.acked
            }
            self._status = GatewayStatus(acked=acked, problems=outcome.problems)
        self._status = msgspec.structs.replace(self._status, busy=await self._busy())
        return self._status

    def _with_problem(self, problem: str) -> GatewayStatus:
        # What was acknowledged before is still in force, or nothing is.
        self._status = msgspec.structs.replace(self._status, problems=(problem,))
        return self._status

    async def _make_true(self, routes: AllRoutes, extras: Extras, *, is_running: bool) -> Outcome:
        before = self._saved.now.tables
        after = self._known.tables(routes, before)
        were_open = self._saved.now.opened if is_running else {}
        place = self._place()
        # One that runs, and that nobody can speak to any more, has its ports until it is replaced.
        ours = self._saved.now.opened if not is_running and self.haproxy.left() else were_open
        opening = openable(self._known.served(routes, after), ours, place)
        found, problems = opening.served, (*opening.rivals, *opening.taken)
        self._taken = opening.taken
        shapes = self._known.shapes(found, place)
        accepted = self._refusals.known(found, shapes, were_open, after, place)
        # First what a worker can be told, also one that a reload is about to replace: requests
        # that it holds must learn of their new replica, and a refused reload must hold up nothing.
        await self._say(accepted.served, before, were_open)
        await cut_connections(gone(before, after))
        self._save(after, were_open)
        self._served = accepted.served
        held = self._held(before, after, accepted.served)
        if accepted.shapes == were_open:
            refused = await self._tell(accepted.served, extras, were_open)
            return Outcome((*problems, *accepted.problems, *refused), accepted.left_out)
        if held and is_running:
            refused = await self._tell(accepted.served, extras, were_open)
            waiting = late(accepted.served, accepted.shapes, were_open, held)
            return Outcome(
                (*problems, *accepted.problems, *refused, *waiting.problems),
                accepted.left_out | waiting.late,
            )
        accepted = await self._load(accepted, extras, were_open, after, place)
        return Outcome((*problems, *accepted.problems), accepted.left_out)

    async def _load(
        self,
        accepted: Accepted,
        extras: Extras,
        were_open: Mapping[str, str],
        after: Mapping[str, Table],
        place: Place,
    ) -> Accepted:
        """Start or reload HAProxy with what it reads; return that.

        Also when nothing is served any more: the ports must close.
        """
        maps, certificates = self._write(accepted.served, extras, anew=True)
        fitting = await self._refusals.fitting(accepted, were_open, after, place)
        if fitting != accepted:
            maps, certificates = self._write(fitting.served, extras, anew=True)
        accepted = fitting
        self._served = accepted.served
        if accepted.shapes != were_open:
            text = render(accepted.served, place, edge.render(accepted.served, place))
            await self.haproxy.load(text)
            self._save(after, accepted.shapes)
            self._maps.loaded(maps)
            self._certificates.loaded(certificates)
        return accepted

    # ------------------------------------------------------------ what HAProxy is told

    def _write(
        self, all_: tuple[Served, ...], extras: Extras, *, anew: bool = False
    ) -> tuple[dict[str, Map], Mapping[str, Loaded]]:
        """Write the files that a worker reads when it begins; return what is in them.

        Those that are known to be there are looked at only `anew`, when a worker is about to begin.
        """
        maps = self._maps_of(all_, extras)
        self._maps.write(maps, anew=anew)
        return maps, self._certificates.write(extras.certificates, anew=anew)

    async def _tell(
        self, all_: tuple[Served, ...], extras: Extras, were_open: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Bring maps and certificates of a running worker up to date, as far as it has them.

        Returns a sentence for each certificate that it refuses.

        Raises:
            HaproxyError: HAProxy refused a command.
        """
        maps, certificates = self._write(all_, extras)
        refused: tuple[str, ...] = ()
        if not any(shape.startswith((EDGE, Protocol.HTTP)) for shape in were_open.values()):
            return refused
        if EDGE in were_open:
            known = {
                key: value
                for key, value in maps[edge.ROUTES_MAP].items()
                if edge.backend_of(value) in were_open
            }
            await self._maps.tell(edge.ROUTES_MAP, known)
            await self._maps.tell(edge.CHALLENGES_MAP, maps[edge.CHALLENGES_MAP])
            refused = await self._certificates.tell(certificates)
        await self._maps.tell(CLOSED_MAP, maps[CLOSED_MAP])
        return refused

    def _held(
        self, before: Mapping[str, Table], after: Mapping[str, Table], all_: Iterable[Served]
    ) -> list[str]:
        """Return the services whose held requests a reload would lose.

        The worker that holds them cannot be told their new replica once it is replaced: HAProxy
        refuses to change a slot of a worker that stops.
        """
        now = asyncio.get_running_loop().time()
        for key, table in after.items():
            had = before.get(key)
            if had is table:
                continue
            if not is_holding(table):
                self._lost_at.pop(key, None)
            elif had is not None and not is_holding(had):
                self._lost_at.setdefault(key, now)
        lost = self._lost_at.keys()
        longest_s = {each.service_id: held_s(each) for each in all_ if each.service_id in lost}
        self._lost_at = {
            key: at
            for key, at in self._lost_at.items()
            if key in after and now - at < longest_s.get(key, 0.0)
        }
        return sorted(self._lost_at)

    async def _say(
        self, all_: Iterable[Served], before: Mapping[str, Table], were_open: Mapping[str, str]
    ) -> None:
        """Take the slots that HAProxy has to their new contents over the runtime socket.

        Raises:
            HaproxyError: HAProxy refused a command: it is not what we think it is.
        """
        wanted: list[str] = []
        for each in all_:
            told = before.get(each.service_id, _NO_TABLE)
            if told is each.table and self._is_certain:
                continue
            if not were_open.get(each.backend, "").startswith(each.port.protocol):
                continue
            count = min(slots_in(were_open[each.backend]), len(told.slots))
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

    async def metrics(self) -> str:
        """Return HAProxy's figures in Prometheus' format, with stacks, services and replicas.

        Raises:
            UnavailableError: HAProxy does not answer; it does not run while nothing is served.
        """
        path = str(self.haproxy.metrics_socket)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(path), timeout=_METRICS_TIMEOUT
                ) as session,
                session.get("http://haproxy/metrics?scope=*&no-maint") as answer,
            ):
                return named(await answer.text(), self._saved.now.tables)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"HAProxy shows no figures: {error}") from error

    def access_log(self, clock: Clock) -> AccessLog:
        """Return what reads back what HAProxy writes of requests."""
        return AccessLog(self.haproxy.output, self.haproxy.older_output, clock)

    def _rotate(self) -> None:
        try:
            self.haproxy.rotate()
        except OSError as error:
            _log.warning("output_not_rotated", reason=str(error))

    def _place(self) -> Place:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return Place(
            admin_socket=str(self.haproxy.admin_socket),
            metrics_socket=str(self.haproxy.metrics_socket),
            descriptors=min(hard, _DESCRIPTORS_MAX) if hard > 0 else _DESCRIPTORS_MAX,
            folder=str(self._folder),
            http_port=self._settings.http_port,
            https_port=self._settings.https_port,
            trusted_proxies=self._settings.trusted_proxies,
            proxy_protocol_from=self._settings.proxy_protocol_from,
            has_six=speaks_six(),
        )

    def _save(self, after: Mapping[str, Table], opened: Mapping[str, str]) -> None:
        saved = Saved(tables=after, opened=opened, in_place=self._refusals.in_place)
        self._saved.write(saved)

    def _maps_of(self, all_: Iterable[Served], extras: Extras) -> dict[str, Map]:
        return {
            edge.ROUTES_MAP: self._known.entries(all_),
            edge.CHALLENGES_MAP: dict(extras.challenges),
            CLOSED_MAP: closed_map(extras.closed),
        }
