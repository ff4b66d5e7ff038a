"""What a person asked for of the way that HTTP requests take into a service.

Pure.
"""

import enum
from collections.abc import Iterable

from shared.model.base import Record


class RouteTls(enum.StrEnum):
    """Which of the gateways' two ports serve a route."""

    OFF = "off"  # the plain one
    ON = "on"  # both
    REDIRECT = "redirect"  # the one with TLS; the plain one sends people there
    ACME = "acme"  # as REDIRECT, and its certificate is asked for and renewed by the leader

    @property
    def is_on(self) -> bool:
        """Say whether a certificate is needed."""
        return self is not RouteTls.OFF

    @property
    def redirects(self) -> bool:
        """Say whether a plain request is sent to the port with TLS."""
        return self in {RouteTls.REDIRECT, RouteTls.ACME}


class HttpRoute(Record, frozen=True, kw_only=True):
    """Requests for a host and everything below a path go to the service.

    Attributes:
        host: a DNS name in lower case; *.example.org stands for every name one label longer.
        path: begins with a slash; /api takes /api and /api/x, not /apix.
        port: inside the container.
        hsts_s: how long browsers shall come with TLS only; 0: nothing is said.
    """

    host: str
    path: str = "/"
    port: int = 80
    tls: RouteTls = RouteTls.OFF
    hsts_s: int = 0

    @property
    def place(self) -> str:
        """Return what no two routes of a cluster share: host and path without an ending slash."""
        return self.host + self.path.rstrip("/")


class SendProxy(enum.StrEnum):
    """Whether replicas are told the client's address by the PROXY protocol."""

    NO = "no"
    V1 = "v1"
    V2 = "v2"


class Traffic(Record, frozen=True, kw_only=True):
    """How gateways treat what goes to a service's ports and routes.

    Attributes:
        hold_s: how long a request waits for a replica, when there is none, until it fails.
        timeout_s: the longest legitimate answer.
        idempotency_header: a request that has it may be sent twice, whatever its method.
        resend: a request that may be repeated is sent again when a replica ends under it.
        max_body_bytes: a longer request body is refused; 0: any.
        send_proxy: replicas must expect it.
        access_log: one line for each request.
    """

    hold_s: float = 10.0
    timeout_s: float = 60.0
    idempotency_header: str = "idempotency-key"
    resend: bool = True
    max_body_bytes: int = 0
    send_proxy: SendProxy = SendProxy.NO
    access_log: bool = False


def choose(routes: Iterable[HttpRoute], host: str, path: str) -> HttpRoute | None:
    """Return the route of a request: the longest path of its host, else of its wildcard."""
    _, dot, rest = host.lower().partition(".")
    below = f"{path.rstrip('/')}/"
    for name in (host.lower(), f"*.{rest}" if dot else ""):
        fits = [
            one
            for one in routes
            if one.host == name and below.startswith(f"{one.path.rstrip('/')}/")
        ]
        if fits:
            return max(fits, key=lambda one: len(one.path.rstrip("/")))
    return None
