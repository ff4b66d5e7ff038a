"""The HTTP API as Python methods, for the command line, the lab and other programs.

Errors are those of shared.errors, as the server raised them.
"""

from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from deploy.node_client import NodeClient
from shared import api
from shared.model import Event, Network, NodeName, Revision, Stack, StackName
from shared.remote import Remote, Target
from shared.settings import TlsSettings
from shared.tls import client_context

_ADVICE_HERE: Final = ": is `hafen serve` running on this host? --host and --lab name another one"
_ADVICE_THERE: Final = ": is `hafen serve` running there, and does nothing filter the port?"


class ApiClient(NodeClient):
    """A scheduler's API; use it inside `async with`. Any scheduler of the cluster answers alike.

    Streams are async generators: close them (contextlib.aclosing) when leaving them early.
    """

    def __init__(self, target: Target) -> None:
        self._remote = Remote(target)

    @classmethod
    def unix(cls, path: Path | str) -> Self:
        """Return the client of the scheduler behind a unix socket on this host."""
        return cls(Target.unix(Path(path), _ADVICE_HERE))

    @classmethod
    def https(cls, host: str, port: int, tls: TlsSettings) -> Self:
        """Return the client of a scheduler elsewhere.

        Raises:
            SettingsError: a TLS file is missing or wrong.
        """
        return cls(Target.https(host, port, client_context(tls), advice=_ADVICE_THERE))

    async def __aenter__(self) -> Self:
        """Open nothing yet: the first call connects."""
        await self._remote.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self._remote.__aexit__(kind, error, trace)

    async def status(self) -> api.ClusterView:
        """Return the cluster at a glance; answers while etcd is away too."""
        return await self._remote.ask("GET", api.STATUS, api.ClusterView)

    async def doctor(self) -> api.Diagnosis:
        """Return what cannot hold what the cluster's profile promises."""
        return await self._remote.ask("GET", api.DOCTOR, api.Diagnosis)

    async def net_doctor(self) -> api.NetDiagnosis:
        """Return what passes between nodes and containers, tried now; it takes some seconds.

        Raises:
            UnavailableError: no agent can be asked, or none answers.
        """
        return await self._remote.ask("GET", api.NET_DOCTOR, api.NetDiagnosis)

    async def net(self) -> api.NetView:
        """Return who may talk to whom."""
        return await self._remote.ask("GET", api.NET_SHOW, api.NetView)

    async def services(self, stack: str | None = None) -> api.ServiceList:
        """Return the services of all stacks, or of one.

        Raises:
            NotFoundError: there is no such stack.
        """
        return await self._remote.ask(
            "GET", api.SERVICES, api.ServiceList, query=_query(stack=stack)
        )

    async def allocations(
        self, stack: str | None = None, service: str | None = None, node: str | None = None
    ) -> api.AllocationList:
        """Return the allocations that match.

        Raises:
            NotFoundError: there is no such stack.
        """
        query = _query(stack=stack, service=service, node=node)
        return await self._remote.ask("GET", api.ALLOCATIONS, api.AllocationList, query=query)

    async def deploy(self, stack: StackName, upload: api.StackUpload) -> api.Accepted:
        """Store a stack; `progress` tells when it is up.

        Raises:
            SpecError: it cannot run as it is, one line for each thing that is wrong.
            OvertakenError: it is not what the upload's author has seen any more.
            UnplaceableError: it needs a place, and a slot has none; nothing was changed.
            UnavailableError: etcd is away; nothing was changed.
            AmbiguousError: whether it is stored is not known.
        """
        path = api.STACK.format(stack=stack)
        return await self._remote.ask("PUT", path, api.Accepted, body=upload)

    async def plan(self, stack: StackName, upload: api.StackUpload) -> api.PlanView:
        """Return what deploying a stack would do now; nothing is changed.

        Raises:
            SpecError: it cannot run as it is, one line for each thing that is wrong.
        """
        path = api.PLAN.format(stack=stack)
        return await self._remote.ask("POST", path, api.PlanView, body=upload)

    async def change(
        self, stack: StackName, change: api.Change, *, after_generation: int | None = None
    ) -> api.Accepted:
        """Change a stack that is deployed; `progress` tells when it has come true.

        Raises:
            NotFoundError: there is no such stack, service or generation; says which there are.
            SpecError: it cannot be.
            OvertakenError: it is not at `after_generation` any more.
            UnavailableError, AmbiguousError: as `deploy`.
        """
        asked = api.ChangeRequest(change=change, after_generation=after_generation)
        path = api.CHANGES.format(stack=stack)
        return await self._remote.ask("POST", path, api.Accepted, body=asked)

    async def history(self, stack: StackName) -> api.HistoryView:
        """Return what was asked of a stack over time, the newest first.

        Raises:
            NotFoundError: there is no such stack; says which there are.
        """
        return await self._remote.ask("GET", api.HISTORY.format(stack=stack), api.HistoryView)

    async def generation(self, stack: StackName, generation: int) -> Stack:
        """Return a stack as one generation had it.

        Raises:
            NotFoundError: there is no such stack or generation; says which there are.
        """
        path = api.GENERATION.format(stack=stack, generation=generation)
        return await self._remote.ask("GET", path, Stack)

    async def remove(self, stack: StackName) -> api.Accepted:
        """Remove a stack; `progress` tells when it is gone.

        Raises:
            NotFoundError: there is no such stack; says which there are.
        """
        return await self._remote.ask("DELETE", api.STACK.format(stack=stack), api.Accepted)

    async def volumes(self) -> api.VolumeList:
        """Return all named volumes."""
        return await self._remote.ask("GET", api.VOLUMES, api.VolumeList)

    async def remove_volume(self, name: str, *, force: bool = False) -> api.VolumeView:
        """Have a volume removed; `volumes` lists it until its node has removed the data.

        Args:
            name: the volume's in the cluster.
            force: forget it without its node, which keeps what it has on its disk.

        Raises:
            NotFoundError: no record knows such a volume; says which there are.
            SpecError: it is in use; says by what.
            OvertakenError: something was deployed meanwhile; nothing was changed.
            UnavailableError, AmbiguousError: as `deploy`.
        """
        path = api.VOLUME.format(volume=quote(name, safe=""))
        query = {"force": "1" if force else "0"}
        return await self._remote.ask("DELETE", path, api.VolumeView, query=query)

    async def networks(self) -> api.NetworkList:
        """Return all networks, and how many addresses are left."""
        return await self._remote.ask("GET", api.NETWORKS, api.NetworkList)

    async def create_network(self, network: Network) -> api.NetworkView:
        """Make a network that no stack makes; the same again changes nothing.

        Raises:
            SpecError: it cannot be; says what is in its way.
            OvertakenError: something was deployed meanwhile; nothing was changed.
            UnavailableError, AmbiguousError: as `deploy`.
        """
        return await self._remote.ask("POST", api.NETWORKS, api.NetworkView, body=network)

    async def remove_network(self, name: str) -> api.NetworkView:
        """Remove a network that nobody uses.

        Raises:
            NotFoundError: no command made it; says who else did, or which there are.
            SpecError: it is in use; says by what.
            OvertakenError, UnavailableError, AmbiguousError: as `create_network`.
        """
        path = api.NETWORK.format(network=quote(name, safe=""))
        return await self._remote.ask("DELETE", path, api.NetworkView)

    async def floating(self) -> api.FloatingList:
        """Return all floating addresses."""
        return await self._remote.ask("GET", api.FLOATING, api.FloatingList)

    async def add_floating(self, address: str, asked: api.FloatingAsked) -> api.FloatingView:
        """Have a floating address; the same again changes nothing.

        Raises:
            SpecError: it cannot be one; says why.
            OvertakenError: it has changed meanwhile; nothing was changed.
        """
        path = api.FLOATING_ADDRESS.format(address=quote(address, safe=""))
        return await self._remote.ask("PUT", path, api.FloatingView, body=asked)

    async def remove_floating(self, address: str) -> api.FloatingView:
        """Have a floating address no more; return what it was.

        Raises:
            NotFoundError: there is no such one; says which there are.
            OvertakenError: as `add_floating`.
        """
        path = api.FLOATING_ADDRESS.format(address=quote(address, safe=""))
        return await self._remote.ask("DELETE", path, api.FloatingView)

    async def move_floating(self, address: str, node: NodeName) -> api.FloatingView:
        """Have a floating address go to a node.

        Raises:
            NotFoundError: there is no such address or node.
            SpecError: the node may not have it; says why.
            OvertakenError: as `add_floating`.
        """
        path = api.FLOATING_MOVE.format(address=quote(address, safe=""))
        return await self._remote.ask(
            "POST", path, api.FloatingView, body=api.FloatingMove(node=node)
        )

    async def certificates(self) -> api.CertificateList:
        """Return all certificates, without their keys."""
        return await self._remote.ask("GET", api.CERTIFICATES, api.CertificateList)

    async def authority(self) -> api.AuthorityView:
        """Return the cluster's own authority."""
        return await self._remote.ask("GET", api.AUTHORITY, api.AuthorityView)

    async def add_certificate(
        self, name: str, upload: api.CertificateUpload
    ) -> api.CertificateView:
        """Give gateways a certificate, or have the cluster issue one.

        Raises:
            SpecError: it is none, has expired, or does not belong to its key.
            HostError: the scheduler's host has no key to seal with.
            OvertakenError, UnavailableError, AmbiguousError: as `deploy`.
        """
        path = api.CERTIFICATE.format(certificate=quote(name, safe=""))
        return await self._remote.ask("PUT", path, api.CertificateView, body=upload)

    async def remove_certificate(self, name: str) -> api.CertificateView:
        """Take a certificate from the gateways.

        Raises:
            NotFoundError: there is none of the name; says which there are.
            OvertakenError, UnavailableError, AmbiguousError: as `deploy`.
        """
        path = api.CERTIFICATE.format(certificate=quote(name, safe=""))
        return await self._remote.ask("DELETE", path, api.CertificateView)

    async def close(self, name: str, *, is_closed: bool) -> api.ClosedView:
        """Let gateways answer for "<stack>[.<service>]" with a page of excuses, or no longer.

        Raises:
            NotFoundError: there is no such stack or service, or it is not closed.
            OvertakenError, UnavailableError, AmbiguousError: as `deploy`.
        """
        path = api.CLOSED.format(name=quote(name, safe=""))
        return await self._remote.ask("PUT" if is_closed else "DELETE", path, api.ClosedView)

    def progress(
        self, stack: StackName, after: Revision
    ) -> AsyncGenerator[api.StackProgress, None]:
        """Yield how far a change is, on every change of that, until it is done.

        Args:
            stack: which.
            after: the revision that the change was accepted at; 0 for as it is now.
        """
        path = api.PROGRESS.format(stack=stack)
        return self._remote.stream(path, api.StackProgress, query={"after": str(after)})

    async def why(
        self,
        *,
        stack: str | None = None,
        service: str | None = None,
        allocation: str | None = None,
    ) -> api.WhyView:
        """Return why an allocation or a service is as it is.

        Raises:
            NotFoundError: nothing matches; says what there is.
            SpecError: several stacks have a service of that name.
        """
        query = _query(stack=stack, service=service, allocation=allocation)
        return await self._remote.ask("GET", api.WHY, api.WhyView, query=query)

    def logs(
        self,
        *,
        stack: str | None = None,
        service: str | None = None,
        allocation: str | None = None,
        follow: bool = False,
        tail: int | None = None,
    ) -> AsyncGenerator[api.LogEntry, None]:
        """Yield the lines of all allocations that match, as they come.

        Args:
            stack: of this stack.
            service: of this service; without `stack` no two stacks may have one of that name.
            allocation: of this one only.
            follow: go on with new lines, and with allocations that come later.
            tail: only the last lines of each; None: all.

        Raises:
            NotFoundError: nothing matches; says what there is.
        """
        query = _query(stack=stack, service=service, allocation=allocation)
        query |= {"follow": "1" if follow else "0"} | _query(
            tail=None if tail is None else str(tail)
        )
        return self._remote.stream(api.LOGS, api.LogEntry, query=query)

    def access(
        self,
        *,
        stack: str | None = None,
        service: str | None = None,
        ago_s: int | None = None,
        follow: bool = False,
        tail: int | None = None,
    ) -> AsyncGenerator[api.AccessEntry, None]:
        """Yield the requests that gateways carried to services that match, in order of time.

        Raises:
            NotFoundError: nothing matches; says what there is.
            SpecError: gateways write of none of them.
        """
        numbers = {"ago": ago_s, "tail": tail}
        query = _query(stack=stack, service=service, follow="1" if follow else "0")
        query |= {name: str(value) for name, value in numbers.items() if value is not None}
        return self._remote.stream(api.ACCESS, api.AccessEntry, query=query)

    def push_image(self, archive: Path, name: str = "") -> AsyncGenerator[api.ImagePush, None]:
        """Bring an image to all sound nodes; yield how each of them took it, at last the sum.

        Args:
            archive: a docker-archive or oci-archive file. Sending it again does no harm.
            name: what the image is called there; empty: as the archive says.

        Raises:
            SpecError: it is larger than archives may be.
            HostError: the scheduler's host has no room for it.
            UnavailableError: no node is well, nobody answers, or the connection broke.
        """
        query = _query(name=name or None)
        return self._remote.send(api.IMAGES, archive, api.ImagePush, query=query)

    async def image_holders(self, name: str) -> api.ImageHolders:
        """Return which sound nodes have an image.

        Raises:
            UnavailableError: no node is well, or nobody answers.
        """
        return await self._remote.ask("GET", api.IMAGES, api.ImageHolders, query={"name": name})

    def events(self, *, follow: bool = False) -> AsyncGenerator[Event, None]:
        """Yield the cluster's story, oldest first; with `follow` go on with it."""
        query = {"follow": "1" if follow else "0"}
        return self._remote.stream(api.EVENTS, Event, query=query)


def _query(**given: str | None) -> dict[str, str]:
    return {name: value for name, value in given.items() if value is not None}
