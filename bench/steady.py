"""What a quiet cluster costs: memory, CPU, and what is written to etcd in a minute."""

import asyncio
from typing import Any

from bench.labs import inside, lab
from deploy.client import ApiClient
from shared.api import StackUpload
from shared.model import (
    Protocol,
    PublishedPort,
    ServiceName,
    ServiceSpec,
    StackName,
    Workload,
)

SECONDS = 60
NODES = 3


async def run() -> dict[str, Any]:
    """Return the figures of every node after 60 quiet seconds with 4 containers deployed."""
    async with lab(NODES) as one:
        async with ApiClient.unix(one.api_socket("node-1")) as api:
            accepted = await api.deploy(StackName("whoami"), StackUpload(services=_services()))
            async for progress in api.progress(accepted.stack, accepted.revision):
                if progress.done:
                    break
        # What follows a deploy, such as the last reports, is over well within this.
        await asyncio.sleep(15)
        before = [await inside(one, node, "steady_inside.py") for node in one.nodes]
        await asyncio.sleep(SECONDS)
        after = [await inside(one, node, "steady_inside.py") for node in one.nodes]
    return {
        "runs": 1,
        "seconds": SECONDS,
        "figures": {
            node: _difference(first, last)
            for node, first, last in zip(one_names(NODES), before, after, strict=True)
        },
    }


def one_names(count: int) -> list[str]:
    return [f"node-{number}" for number in range(1, count + 1)]


def _services() -> tuple[ServiceSpec, ...]:
    def web(name: str, port: int, replicas: int) -> ServiceSpec:
        published = PublishedPort(published=port, target=80, protocol=Protocol.HTTP)
        return ServiceSpec(
            name=ServiceName(name),
            workload=Workload(image="hafen.local/whoami:1", ports=(published,)),
            replicas=replicas,
        )

    return (web("web", 8080, 3), web("single", 8081, 1))


def _difference(first: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    took_s = last["at_s"] - first["at_s"]
    return {
        "counted by etcd": {
            name: {"before": value, "after": last["counted"][name]}
            for name, value in first["counted"].items()
        },
        **{
            part: {
                "rss_mb": round(last["parts"][part]["rss_bytes"] / 1e6, 1),
                "cpu_percent_of_a_core": round(
                    100 * (last["parts"][part]["cpu_s"] - first["parts"][part]["cpu_s"]) / took_s,
                    2,
                ),
            }
            for part in first["parts"]
        },
    }
