"""The paths that say how the cluster is: they answer within a second whatever is broken."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from scheduler.api import views
from scheduler.api.cluster import GLANCE_S_MAX, Cluster
from scheduler.api.doctor import Facts, diagnose
from scheduler.api.gather import Gatherer
from scheduler.api.members import Members
from scheduler.api.outage import outages
from shared import api
from shared.http import reply
from shared.settings import Settings


class HealthHandlers:
    """Status and doctor."""

    def __init__(
        self, cluster: Cluster, members: Members, gatherer: Gatherer, settings: Settings
    ) -> None:
        """Take over what is asked.

        Args:
            cluster: as this replica sees it.
            members: of etcd.
            gatherer: asks for what nobody remembers.
            settings: of this scheduler's host.
        """
        self._cluster, self._members = cluster, members
        self._gatherer, self._settings = gatherer, settings

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [web.get(api.STATUS, self.status), web.get(api.DOCTOR, self.doctor)]

    async def status(self, _request: web.Request) -> web.Response:
        """Answer with the cluster at a glance, etcd or not."""
        cluster = self._cluster
        is_reachable = await cluster.reaches_etcd(GLANCE_S_MAX)
        found = cluster.placed()
        view = views.cluster(
            cluster.world(),
            cluster.judged(),
            found,
            cluster.waiting_quickly(found),
            revision=cluster.revision,
            is_reachable=is_reachable,
        )
        view = msgspec.structs.replace(
            view,
            members=self._members.seen,
            age_s=0.0 if is_reachable else self._members.age_s(),
            leaderless_s=cluster.leaderless_s(),
        )
        return reply(msgspec.structs.replace(view, outages=outages(view)))

    async def doctor(self, _request: web.Request) -> web.Response:
        """Answer with what cannot hold what the profile promises."""
        facts = Facts(
            world=self._cluster.world(),
            members=self._members.seen,
            profile=self._settings.profile,
            common=self._settings.common,
            now_s=self._cluster.now_s(),
        )
        return reply(diagnose(await self._gatherer.complete(facts)))
