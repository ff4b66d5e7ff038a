"""The paths of certificates and of what is closed for a while."""

from collections.abc import Sequence
from typing import Final

import structlog
from aiohttp import web

from scheduler.api import certificates
from scheduler.api.archive import Seal
from scheduler.api.cluster import Cluster
from scheduler.api.unread import check_read
from scheduler.world import World
from shared import api, codec, keys
from shared.certificates import check_dates, read_pair
from shared.errors import NotFoundError
from shared.http import body_of, reply
from shared.model import Authority, Certificate, Closed, Origin, Record, Revision
from shared.store import Compare, Delete, Put
from shared.view import View

_log = structlog.get_logger()
_BODY_BYTES_MAX: Final = 128 * 1024
# The one whose certificates `hafen cert issue` asks for.
CLUSTER_AUTHORITY: Final = "cluster"


class EdgeHandlers:
    """Takes certificates and shows them without their keys; closes services and opens them.

    Args:
        cluster: as this replica sees it.
        view: everything under keys.ROOT.
        seal: for certificates' keys.
    """

    def __init__(self, cluster: Cluster, view: View, seal: Seal) -> None:
        self._cluster, self._view, self._seal = cluster, view, seal

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [
            web.get(api.CERTIFICATES, self.certificates),
            web.put(api.CERTIFICATE, self.add),
            web.delete(api.CERTIFICATE, self.remove),
            web.get(api.AUTHORITY, self.authority),
            web.put(api.CLOSED, self.close),
            web.delete(api.CLOSED, self.open),
        ]

    async def certificates(self, _request: web.Request) -> web.Response:
        """Answer with all certificates."""
        self._cluster.need_view()
        return reply(certificates.certificates(self._cluster.world(), self._cluster.now_s()))

    async def add(self, request: web.Request) -> web.Response:
        """Store a certificate, or the wish for one; an older one of the name is replaced."""
        name = request.match_info["certificate"]
        certificates.check_name(name)
        upload = await body_of(request, api.CertificateUpload, bytes_max=_BODY_BYTES_MAX)
        await self._cluster.current()
        record = self._record(name, upload)
        await self._put(keys.certificate(name), record)
        _log.info("certificate_stored", certificate=name, origin=record.origin.value)
        return reply(certificates.view(record, self._cluster.now_s()))

    def _record(self, name: str, upload: api.CertificateUpload) -> Certificate:
        if not upload.chain and not upload.key:
            hosts = certificates.check_hosts(upload.hosts)
            return Certificate(name=name, origin=Origin.CLUSTER, hosts=hosts)
        pair = read_pair(upload.chain.encode(), upload.key.encode())
        check_dates(pair, self._cluster.now_s())
        sealed = self._seal(keys.certificate(name), pair.key.encode())
        return Certificate(
            name=name,
            origin=Origin.FILE,
            hosts=pair.hosts,
            chain=pair.chain,
            sealed=sealed,
            not_before_s=pair.not_before_s,
            not_after_s=pair.not_after_s,
        )

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a certificate, or the wish for one."""
        name = request.match_info["certificate"]
        world = await self._cluster.current()
        key = keys.certificate(name)
        found = world.certificates.get(key)
        if found is None:
            raise certificates.none_such(world, name)
        await self._delete(key)
        _log.info("certificate_removed", certificate=name)
        return reply(certificates.view(found, self._cluster.now_s()))

    async def authority(self, _request: web.Request) -> web.Response:
        """Answer with what clients have to trust."""
        self._cluster.need_view()
        item = self._view.items.get(keys.authority(CLUSTER_AUTHORITY))
        found = codec.decode(Authority, item.value, item.key) if item is not None else None
        return reply(api.AuthorityView(chain=found.chain if found is not None else ""))

    async def close(self, request: web.Request) -> web.Response:
        """Let a stack or a service answer with a page of excuses."""
        name = request.match_info["name"]
        _check_closable(await self._cluster.current(), name)
        await self._put(keys.closed(name), Closed(name=name, since_s=self._cluster.now_s()))
        _log.info("closed", name=name)
        return reply(api.ClosedView(name=name, is_closed=True))

    async def open(self, request: web.Request) -> web.Response:
        """Let a stack or a service answer by itself again."""
        name = request.match_info["name"]
        world = await self._cluster.current()
        if name not in world.closed:
            there = ", ".join(sorted(world.closed)) or "none"
            raise NotFoundError(f"{name[:80]!r} is not closed; closed are: {there}")
        await self._delete(keys.closed(name))
        _log.info("opened", name=name)
        return reply(api.ClosedView(name=name, is_closed=False))

    async def _put(self, key: str, record: Record) -> None:
        conditions = [Compare(key, self._revision(key))]
        await self._cluster.commit(key, conditions, [Put(key, codec.encode(record))])

    async def _delete(self, key: str) -> None:
        await self._cluster.commit(key, [Compare(key, self._revision(key))], [Delete(key)])

    def _revision(self, key: str) -> Revision:
        item = self._view.items.get(key)
        return item.mod_revision if item is not None else Revision(0)


def _check_closable(world: World, name: str) -> None:
    stack, dot, service = name.partition(".")
    found = next((one for key, one in world.stacks.items() if key == stack), None)
    if found is None:
        check_read(world, stack)
        raise NotFoundError(f"there is no stack {stack[:80]!r}")
    names = [spec.name for spec in found.stack.services]
    if dot and service not in names:
        raise NotFoundError(
            f"stack {stack} has no service {service[:80]!r}; it has: {', '.join(names)}"
        )
